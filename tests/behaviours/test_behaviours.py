"""Runs the table of behaviours through every language. README.md explains the table and the drivers."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from operator import mul
from pathlib import Path
from typing import Any

import pytest
import yaml
from sandbox import Sandbox, closed_port, started

VARIABLES = {
    "c": "PG_DRIVER_C",
    "cpp": "PG_DRIVER_CPP",
    "py": "PG_DRIVER_PY",
    "pya": "PG_DRIVER_PYA",  # for event loops
    "go": "PG_DRIVER_GO",
}
LANGUAGES = os.environ.get("PG_LANGUAGES", " ".join(VARIABLES)).replace(",", " ").split()
FATES = {"none": 0, "unsent": 1, "not_consumed": 2, "refused": 3, "unknown": 4}
# A driver that takes longer hangs.
PATIENCE_S = 20
# An invented token, presented where no real one is available.
LITERAL_TOKEN = "a-refresh-token-of-another-day"
# The keys of a failure that appear only where the table names them.
ALWAYS_SAID = ("http_status", "server_code", "retry_after_ms", "cause")
# Prefixes of keys whose values are not secret.
SHOWN = ("text", "server_", "health", "metrics", "log")
# Their texts quote the system, which can report one event in different ways.
SYSTEM_WORDED = {"PG_ERR_CONNECT", "PG_ERR_CONNECTION_LOST", "PG_ERR_PROXY", "PG_ERR_TLS"}

MANIFEST = Path(__file__).parents[2] / "Cargo.toml"
VERSION = re.findall(r'^version = "(.+)"$', MANIFEST.read_text(), re.M)[0]

Answer = dict[str, str]


class Loader(yaml.SafeLoader):
    """YAML with `!bytes "\\xff"`, whose characters are bytes, and `!repeat [text, times]`."""


Loader.add_constructor("!bytes", lambda _, node: node.value.encode("latin-1"))
Loader.add_constructor("!repeat", lambda loader, node: mul(*loader.construct_sequence(node)))  # type: ignore[arg-type]


@dataclass
class Case:
    """One behaviour: the state of the world, the steps, and the expected results."""

    name: str
    steps: list[dict[str, Any]] = field(default_factory=list)
    client: dict[str, Any] = field(default_factory=lambda: {"status": "PG_OK"})
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Any] = field(default_factory=dict)
    switches: dict[str, Any] = field(default_factory=dict)
    faults: list[dict[str, Any]] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    after: dict[str, Any] = field(default_factory=dict)
    presentations: int = 1
    only: list[str] = field(default_factory=lambda: list(VARIABLES))
    because: str = ""

    def __post_init__(self) -> None:
        assert bool(self.because) == (len(self.only) < len(VARIABLES)), f"{self.name}: because of what?"


def cases() -> Iterator[Case]:
    """The table with its short forms expanded."""
    with Path(__file__).with_name("table.yaml").open() as file:
        table = yaml.load(file, Loader)
    for row in table["cases"]:
        yield from _cases_of(row)
    for row in table["bad_values"]:
        for value in row["values"]:
            yield Case(
                name=f"{row['setting']} = {value!r:.40}",
                settings={row["setting"]: value},
                client={"status": row.get("status", "PG_ERR_INVALID_SETTING"), "text": row["text"]},
            )


def _cases_of(row: dict[str, Any]) -> Iterator[Case]:
    """Expands a row with `issue:` or `refresh:` at the top to one case each; `http: both` doubles them."""
    if "issue" not in row and "refresh" not in row:
        yield Case(**row)
        return
    shared = dict(row)
    expected = {call: shared.pop(call) for call in ("issue", "refresh") if call in row}
    world = {"faults": shared.pop("faults", []), "switches": shared.pop("switches", {})}
    timeout = {"timeout_ms": shared.pop("timeout_ms", -1)}
    without_issue = shared.pop("without_issue", False)
    name, calls, after = shared.pop("name"), shared.pop("calls", 1), shared.pop("after", {})
    both = shared.pop("http", "") == "both"
    versions = {" over HTTP/1.1": {"http2": False}, " over HTTP/2": {}} if both else {"": {}}
    for version, protocol in versions.items():
        change = {**world, "switches": {**world["switches"], **protocol}}
        for call, expect in expected.items():
            before: list[dict[str, Any]] = []
            argument = dict(timeout)
            if call == "refresh" and without_issue:
                argument |= {"access": None, "refresh": LITERAL_TOKEN}
            elif call == "refresh":
                # A new client, so that the tested call makes its own connection.
                before = [{"issue": {}}, {"client": {}}]
            yield Case(
                name=f"{name}: {call}{version}",
                steps=[*before, change, {call: argument, "expect": expect}],
                after={**after, "routes": {call: {"calls": calls}}},
                **shared,
            )


class Driver:
    """A program in one of the languages, which runs commands."""

    def __init__(self, command: list[str], environment: dict[str, Any]) -> None:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name == "PAYMENTSGATE_AUTH_LIB"
            or not re.fullmatch(r"PAYMENTSGATE_.*|SSL_CERT_.*|.*_proxy", name, re.IGNORECASE)
        }
        environment = {**inherited, **environment}
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.watchdog = threading.Timer(PATIENCE_S, self.process.kill)
        self.watchdog.start()

    def __call__(self, *words: str) -> Answer:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\t".join(words) + "\n")
        self.process.stdin.flush()
        answer: Answer = {}
        for line in self.process.stdout:
            if line == "\n":
                return answer
            key, value = line.rstrip("\n").split("\t")
            assert key not in answer, f"{words[0]}: the driver gave {key} twice"
            answer[key] = bytes.fromhex(value).decode()
        pytest.fail(f"the driver crashed or took longer than {PATIENCE_S} s at: {words[0]}")

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        code = self.process.wait()
        self.watchdog.cancel()
        assert code == 0, f"the driver ended with {code}"


def command(language: str) -> list[str]:
    """The language's driver."""
    variable = VARIABLES[language]
    if variable not in os.environ:
        pytest.fail(f"set {variable} to the driver's command, or name the languages to test in PG_LANGUAGES")
    return shlex.split(os.environ[variable])


@pytest.fixture(scope="session")
def sandboxes() -> Iterator[dict[str, Sandbox]]:
    """Each language has its own emulator, since all run at the same time."""
    with ExitStack() as stack:
        yield {language: stack.enter_context(started()) for language in LANGUAGES}


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_behaviour(
    case: Case, sandboxes: dict[str, Sandbox], tmp_path: Path, subtests: pytest.Subtests
) -> None:
    languages = [language for language in LANGUAGES if language in case.only]
    if not languages:
        pytest.skip(case.because)
    told: list[list[Answer]] = []
    with ThreadPoolExecutor(len(languages)) as pool:
        plays = {
            language: pool.submit(played, case, sandboxes[language], tmp_path / language, command(language))
            for language in languages
        }
        for language, play in plays.items():
            with subtests.test(language):
                told.append(play.result())
                assert told[0] == told[-1], "another language came to something else"


def played(case: Case, sandbox: Sandbox, folder: Path, command: list[str]) -> list[Answer]:
    """The answers to one case in one language."""
    sandbox.reset()
    folder.mkdir()
    play = Play(case, sandbox, folder, command)
    play.run()
    play.check_the_emulator()
    play.check_secrets()
    return play.told()


class Play:
    """One case, run through one driver."""

    def __init__(self, case: Case, sandbox: Sandbox, folder: Path, command: list[str]) -> None:
        self.case = case
        self.sandbox = sandbox
        credentials = json.loads(Path(sandbox.address["credentials_file"]).read_text())
        self.places = {
            **{name: str(value) for name, value in sandbox.address.items() if name != "pid"},
            "public_key_pem": b64decode(credentials["public_key"]).decode(),
            "private_key_pem": b64decode(credentials["private_key"]).decode(),
            "proxy_address": sandbox.address["proxy"].removeprefix("http://"),
            "http_address": sandbox.address["http"].removeprefix("http://"),
            "closed": closed_port(),
            "version": VERSION,
            "dir": str(folder),
        }
        for name, content in case.files.items():
            content = self.filled(content)
            folder.joinpath(name).write_bytes(content if isinstance(content, bytes) else content.encode())
        usual = {
            "base_url": "{https}",
            "tls.ca_file": "{ca_file}",
            **({} if case.environment else {"credentials_file": "{credentials_file}"}),
        }
        settings = {**usual, **case.settings}
        self.settings = {name: self.filled(value) for name, value in settings.items() if value is not None}
        environment = {name: self.filled(value) for name, value in case.environment.items()}
        self.driver = Driver(command, environment)
        self.started = ""
        self.answers: list[Answer] = []
        # Those that may be another one in the next run.
        self.varying: list[Answer] = []

    def filled(self, value: Any) -> Any:
        """A value with its {places} filled in."""
        if isinstance(value, str):
            return re.sub(r"\{(\w+)\}", lambda found: self.places.get(found[1], found[0]), value)
        if isinstance(value, dict):
            return {key: self.filled(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.filled(each) for each in value]
        return value

    def run(self) -> None:
        try:
            self.take({"switches": self.case.switches, "faults": self.case.faults})
            self.check(self.make_client(), self.case.client)
            for step in self.case.steps:
                self.take(step)
        finally:
            self.driver.end()

    def make_client(self) -> Answer:
        """The settings and the client as one step: languages differ in which of them refuses a setting."""
        commands = [["env"]] if self.case.environment else []
        commands += [["set", word(name), word(value)] for name, value in self.settings.items()]
        return self.first_failure([*commands, ["client"]])

    def first_failure(self, commands: list[list[str]]) -> Answer:
        """The answer to the last command, or to the one that failed."""
        for each in commands:
            answer = self.driver(*each)
            if answer["status"] != "PG_OK":
                break
        return answer

    def take(self, step: dict[str, Any]) -> None:
        expect = step.get("expect", {"status": "PG_OK"})
        match next(iter(step.items())):
            case ("issue" | "refresh" | "renew" | "request" | "token") as name, given:
                self.check(self.driver(*self.call(name, given)), self.expected(name, expect))
            case "start", call:
                ((self.started, given),) = call.items()
                self.check(self.driver("start", *self.call(self.started, given)), expect)
            case "cancel", _:
                self.check(self.driver("cancel"), expect)
            case "end", _:
                self.check(self.driver("end"), self.expected(self.started, expect))
            case "open", settings:
                commands = [["set", word(name), self.word(value)] for name, value in settings.items()]
                self.check(self.first_failure([*commands, ["open"]]), expect)
            case "open_pair", given:
                pair = {"access": "@access", "refresh": "@refresh", "expires_in_s": None, **given}
                texts = [pair["access"], pair["refresh"], pair["expires_in_s"]]
                self.check(self.driver("open_pair", *map(self.word, texts)), expect)
            case "subscribe", level:
                self.check(self.driver("subscribe", str(level)), expect)
            case "events", kinds:
                answer = self.driver("events")
                self.check(answer, expect)
                assert [kind for kind in answer["events"].split(",") if kind] == kinds, answer
                assert int(answer["kept"]) == step.get("kept", 0), answer
                log = self.lasting("log", answer["log"])
                assert [line for line in log.split("\n") if line] == step.get("log", []), answer
            case "reject", http_status:
                self.check(self.driver("reject", str(http_status)), expect)
            case "credentials", given:
                words = (given["account"], given["key"])
                self.check(self.driver("credentials", *map(self.word, words)), expect)
            case "health", _:
                self.check(self.driver("health"), expect)
            case "close", given:
                self.check(self.driver("close", timeout(given)), expect)
            case "store", kind:
                self.check(self.driver("store", kind), expect)
            case "check_store", kind:
                self.check(self.driver("check_store", kind), expect)
            case ("version" | "settings" | "metrics") as command, _:
                self.check(self.driver(command), expect)
            case "until", counters:
                self.wait_for(counters)
            case "wait_s", seconds:
                time.sleep(seconds)
            case "raw", what:
                self.check(self.driver("raw", what), expect)
            case "client", _:
                self.check(self.driver("client"), expect)
            case "advance_s", seconds:
                self.sandbox.advance(seconds)
            case (("faults" | "switches"), _):
                for fault in step.get("faults", []):
                    self.sandbox.fault(**self.filled(fault))
                self.sandbox.switch(**self.filled(step.get("switches", {})))
            case other, _:
                pytest.fail(f"no step is called {other}")

    def call(self, name: str, given: dict[str, Any]) -> list[str]:
        """A waiting call as a command."""
        match name:
            case "token":
                return ["token", timeout(given), str(given.get("min_remaining_ms", 0))]
            case "renew":
                return ["renew", timeout(given)]
            case "issue":
                texts = [given.get("account"), given.get("key")]
            case "refresh":
                texts = [given.get("access", "@access"), given.get("refresh", "@refresh")]
            case "request":
                headers = "\n".join(text for pair in given.get("headers", {}).items() for text in pair)
                texts = [given.get("method", "GET"), given["path"], headers or None, given.get("body")]
            case other:
                pytest.fail(f"no call is called {other}")
        return [name, *map(self.word, texts), timeout(given)]

    def expected(self, call: str, expect: dict[str, Any]) -> dict[str, Any]:
        """A session does not show its refresh token."""
        return {"refresh_token": False, **expect} if call in ("token", "renew") else expect

    def wait_for(self, counters: dict[str, Any]) -> None:
        """Waits until the emulator's counters reach these values."""
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return check_part(self.sandbox.counters(), counters)
            except AssertionError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def word(self, value: str | bytes | None) -> str:
        return value if value in ("@access", "@refresh") else word(self.filled(value))

    def check(self, answer: Answer, expect: dict[str, Any]) -> None:
        self.answers.append(answer)
        if "either" not in expect:
            return self.check_one(answer, expect)
        self.varying.append(answer)
        *others, last = expect["either"]
        for other in others:
            with suppress(AssertionError):
                return self.check_one(answer, other)
        return self.check_one(answer, last)

    def check_one(self, answer: Answer, expect: dict[str, Any]) -> None:
        """A key that is not mentioned must be absent, false or none. Texts contain the named pieces."""
        assert answer["status"] == expect["status"], answer
        if answer["status"] == "PG_OK":
            self.check_token(answer, expect)
            self.check_response(answer, expect)
            check_part(json.loads(answer.get("health", "{}")), expect.get("health", {}), "the health")
            for key in ("version", "settings", "metrics"):
                pieces = expect.get(key, [])
                for piece in [pieces] if isinstance(pieces, str) else pieces:
                    assert self.filled(piece) in answer.get(key, ""), (key, answer)
            return
        for key in (*ALWAYS_SAID, "server_message", "server_details"):
            wanted = self.filled(expect.get(key))
            if isinstance(wanted, list):
                assert wanted[0] <= int(answer[key]) <= wanted[1], (key, answer)
            elif key in expect or key in ALWAYS_SAID:
                assert answer.get(key) == (None if wanted is None else str(wanted)), (key, answer)
        for key in ("retryable", "needs_credentials"):
            assert answer.get(key, "0") == str(int(expect.get(key, False))), (key, answer)
        assert answer.get("fate", "0") == str(FATES[expect.get("fate", "none")]), ("fate", answer)
        pieces = expect.get("text", [])
        for piece in [pieces] if isinstance(pieces, str) else pieces:
            assert self.filled(piece) in answer["text"], answer["text"]

    def check_token(self, answer: Answer, expect: dict[str, Any]) -> None:
        if "fingerprint" not in answer:
            return
        assert re.fullmatch("[0-9a-f]{16}", answer["fingerprint"])
        assert int(answer["access_length"]) > 0
        assert (int(answer["refresh_length"]) > 0) == expect.get("refresh_token", True), answer
        lifetime, remaining = int(answer["lifetime_ms"]), int(answer["remaining_ms"])
        assert lifetime - PATIENCE_S * 1000 <= remaining <= lifetime, answer
        for key, usual in (("lifetime_ms", 3_600_000), ("disagreement_ms", 0)):
            # The service's clock has seconds, and can advance between the token and its Date.
            assert abs(int(answer[key]) - expect.get(key, usual)) <= 2000, (key, answer)
        assert int(answer.get("generation", 0)) == expect.get("generation", 0), answer

    def check_response(self, answer: Answer, expect: dict[str, Any]) -> None:
        if "response_status" not in answer:
            return
        assert int(answer["response_status"]) == expect.get("response_status", 200), answer
        assert answer.get("response_type") == expect.get("response_type", "application/json"), answer
        headers = dict(line.split(": ", 1) for line in answer["response_headers"].split("\n"))
        check_part(headers, expect.get("headers", {}), "the response's headers")
        assert expect.get("body", "") in answer["response_body"], answer

    def check_the_emulator(self) -> None:
        counters = self.sandbox.counters()
        assert counters["foreign"] == 0, "something was sent to another host"
        again = counters["most_presentations"] > self.case.presentations
        assert not again, "a refresh token was presented again"
        check_part(counters, self.filled(self.case.after))

    def check_secrets(self) -> None:
        """Not even the start of a secret is shown."""
        for secret in [LITERAL_TOKEN, *self.sandbox.secrets(), *self.case.secrets]:
            for answer in self.answers:
                shown = [value for key, value in answer.items() if key.startswith(SHOWN)]
                assert not any(secret[:24] in value for value in shown), "a secret is shown"

    def told(self) -> list[Answer]:
        """The answers without parts that differ from run to run."""
        told = []
        for answer in self.answers:
            if answer in self.varying:
                continue
            lasting = {key: value for key, value in answer.items() if not key.endswith(("_ms", "_length"))}
            lasting.pop("fingerprint", None)
            lasting.pop("health", None)
            lasting.pop("metrics", None)
            lasting.pop("response_body", None)
            if SYSTEM_WORDED & {answer["status"], answer.get("cause")}:
                lasting.pop("text")
            told.append({key: self.lasting(key, text) for key, text in lasting.items()})
        return told

    def lasting(self, key: str, text: str) -> str:
        """A value without the parts that differ: addresses, times, fingerprints and names of records."""
        for name, value in sorted(self.places.items(), key=lambda place: -len(place[1])):
            text = text.replace(value, f"{{{name}}}")
        if key not in ("text", "log", "response_headers"):
            return text
        # Python names the exception that a store raised.
        text = text.replace("OSError: ", "")
        return re.sub(r"\b(?:pg-)?[0-9a-f]{16}\b|\d+|^date: .*", "#", text, flags=re.M)


def check_part(seen: Any, wanted: Any, path: str = "the emulator") -> None:
    """Every mentioned value is equal, or between two bounds. A count of zero may be absent."""
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            check_part((seen or {}).get(key), value, f"{path}: {key}")
    elif isinstance(wanted, list):
        assert wanted[0] <= seen <= wanted[1], path
    else:
        assert (seen or 0) == (wanted or 0), path


def word(value: str | bytes | None) -> str:
    """A word of the drivers' protocol."""
    if value is None:
        return "-"
    return "x" + (value if isinstance(value, bytes) else str(value).encode()).hex()


def timeout(given: dict[str, Any]) -> str:
    return str(given.get("timeout_ms", -1))
