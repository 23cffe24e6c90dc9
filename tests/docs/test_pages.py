"""Every block of code in the documents works, and every link has a target."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import postgresql
import pytest
import yaml
from commands import DEPLOY, TEXTS, commands_of, play, run
from pages import COMMAND_LINE, PAGES, ROOT, Block, blocks, broken_links
from sandbox import Sandbox, started

from paymentsgate_auth import Session, Store, check_store

BLOCKS = list(blocks())
MONITORING = ROOT / "examples/monitoring"
# Run by tests/packages, with an installed library.
INSTALLED = {f"docs/{page}.md" for page in ("c", "cpp", "go")}
SERVERS = [block for block in BLOCKS if "FastAPI(" in block.code]
# A server in Go, which runs until a signal.
[GO_SERVER] = [block for block in BLOCKS if "ListenAndServe()" in block.code]
# A script, which is run as a whole.
[BESIDE] = [block for block in BLOCKS if "pg-sandbox --keep" in block.code]
# The variables with the authorities that programs trust.
TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PAYMENTSGATE_TLS_CA_FILE")
# A worker of a server: it starts the application, asks it once, and ends it.
WORKER = """
import asyncio, httpx, json, logging, shop
logging.basicConfig(level=logging.INFO)
async def work():
    async with shop.app.router.lifespan_context(shop.app):
        transport = httpx.ASGITransport(shop.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            answer = await client.get("/balance")
    print(json.dumps([answer.status_code, answer.headers.get("Retry-After"), answer.json()]))
asyncio.run(work())
"""
GO_MODULE = f"""module outside
go 1.24.0
require github.com/paymentsgate-auth/paymentsgate-auth/bindings/go v0.1.0
require github.com/paymentsgate-auth/paymentsgate-auth/bindings/go/pgoauth2 v0.1.0
require golang.org/x/oauth2 v0.34.0
replace github.com/paymentsgate-auth/paymentsgate-auth/bindings/go => {ROOT}/bindings/go
replace github.com/paymentsgate-auth/paymentsgate-auth/bindings/go/pgoauth2 => {ROOT}/bindings/go/pgoauth2
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with started() as sandbox:
        yield sandbox


@pytest.fixture
def environment(running: Sandbox) -> dict[str, str]:
    """The environment of a program, with the emulator and the authority that HTTP clients trust."""
    running.reset()
    address = running.address
    return {
        **os.environ,
        **dict.fromkeys(TRUST, address["ca_file"]),
        "NO_PROXY": "127.0.0.1",
        "PAYMENTSGATE_BASE_URL": address["https"],
        "PAYMENTSGATE_CREDENTIALS_FILE": address["credentials_file"],
    }


def of(*languages: str) -> pytest.MarkDecorator:
    alone = [*SERVERS, GO_SERVER, BESIDE]
    chosen = [block for block in BLOCKS if block.language in languages and block not in alone]
    return pytest.mark.parametrize("block", chosen, ids=[block.name for block in chosen])


def program_of(block: Block, environment: dict[str, str]) -> str:
    """The program as it is printed, with the emulator's address."""
    url = environment["PAYMENTSGATE_BASE_URL"]
    program = re.sub(r"https://secure\.(example|sandbox\.paymentsgate\.io)", url, block.code)
    for file, variable in (("credentials.json", "CREDENTIALS_FILE"), ("ca.pem", "TLS_CA_FILE")):
        program = program.replace(f'"{file}"', json.dumps(environment[f"PAYMENTSGATE_{variable}"]))
    return program


@of("python")
def test_python(block: Block, environment: dict[str, str], tmp_path: Path) -> None:
    program = program_of(block, environment)
    if "def test_" in block.code:
        (tmp_path / "test_shop.py").write_text(program)
        command = [sys.executable, "-W", "error", "-m", "pytest", "-p", "paymentsgate_auth.testing"]
        assert " passed" in run([*command, "test_shop.py"], environment, tmp_path).stdout
        return
    if '"ca.pem"' in block.code:
        # The program alone says whom it trusts.
        environment = {name: value for name, value in environment.items() if name not in TRUST}
    done = run([sys.executable, "-W", "error", "-c", program], environment, tmp_path)
    if re.search("^(    )?print", block.code, re.M):
        assert done.stdout
    if "basicConfig" in block.code:
        assert "paymentsgate_auth" in done.stderr


@pytest.mark.parametrize("block", SERVERS, ids=[block.name for block in SERVERS])
def test_a_server(block: Block, running: Sandbox, environment: dict[str, str], tmp_path: Path) -> None:
    program = program_of(block, environment)
    (tmp_path / "shop.py").write_text(program.replace("file:/var/lib/shop/pg", f"file:{tmp_path}/pg"))

    def worker() -> Any:
        done = run([sys.executable, "-W", "error", "-c", WORKER], environment, tmp_path)
        assert "the session is closed" in done.stderr
        return json.loads(done.stdout)

    for _ in range(2):
        status, _, balance = worker()
        assert status == 200
        assert "assets" in balance
    assert running.counters()["routes"]["issue"]["calls"] == 1, "the workers share one pair"
    running.fault(route="wallet", action={"kind": "status", "status": 503})
    assert worker()[0] == 502
    shutil.rmtree(tmp_path / "pg")
    running.fault(route="issue", action={"kind": "status", "status": 403}, times=None)
    status, retry_after, _ = worker()
    assert status == 503
    assert retry_after is None or retry_after.isdigit()


@of("c", "cpp")
def test_c_and_cpp(block: Block, environment: dict[str, str], tmp_path: Path) -> None:
    compiler = [os.environ.get("CC", "cc"), "-std=c99"]
    if block.language == "cpp":
        compiler = [os.environ.get("CXX", "c++"), "-std=c++17"]
    source = tmp_path / f"shop.{block.language}"
    source.write_text(program_of(block, environment))
    flags = run(
        ["pkg-config", "--cflags", "--libs", "paymentsgate_auth"], environment, tmp_path
    ).stdout.split()
    warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    run([*compiler, *warnings, str(source), *flags, "-o", "shop"], environment, tmp_path)
    assert re.search("Bearer|a token:", run(["./shop"], environment, tmp_path).stdout)


def test_a_server_in_go_ends_after_its_requests(
    running: Sandbox, environment: dict[str, str], tmp_path: Path
) -> None:
    """A request is in progress at the signal: it gets its answer, and then the session is closed."""
    go_module(GO_SERVER, environment, tmp_path)
    place = f"127.0.0.1:{free_port()}"
    program = tmp_path / "main.go"
    program.write_text(program.read_text().replace("127.0.0.1:8080", place))
    run(["go", "build", "-o", "shop", "."], environment, tmp_path)
    running.fault(route="wallet", action={"kind": "delay", "ms": 1500})
    with subprocess.Popen(["./shop"], env=environment, cwd=tmp_path, stderr=subprocess.PIPE) as server:
        curl = ["curl", "-sS", "--fail", "--retry", "50", "--retry-connrefused", "--retry-delay", "1"]
        asked = subprocess.Popen(
            [*curl, "--noproxy", "*", f"http://{place}/balance"], stdout=subprocess.PIPE, text=True
        )
        while asked.poll() is None and "wallet" not in running.counters()["routes"]:
            time.sleep(0.05)
        server.send_signal(signal.SIGTERM)
        answer, _ = asked.communicate(timeout=60)
        _, log = server.communicate(timeout=60)
    assert "assets" in answer
    assert server.returncode == 0, log
    assert b"the session is closed" in log.splitlines()[-1], log


def go_module(block: Block, environment: dict[str, str], folder: Path) -> bool:
    """A module with the block, whose format is checked. Whether it is a test."""
    (folder / "go.mod").write_text(GO_MODULE)
    shutil.copy(ROOT / "bindings/go/pgoauth2/go.sum", folder)
    is_test = "func Test" in block.code
    (folder / ("shop_test.go" if is_test else "main.go")).write_text(program_of(block, environment))
    run(["go", "vet", "."], environment, folder)
    assert run(["gofmt", "-l", "."], environment, folder).stdout == ""
    return is_test


@of("go")
def test_go(block: Block, environment: dict[str, str], tmp_path: Path) -> None:
    is_test = go_module(block, environment, tmp_path)
    run(["go", "test" if is_test else "run", "."], environment, tmp_path)


@of("sql")
def test_sql(block: Block, running: Sandbox) -> None:
    """SQLite prepares each statement; on PostgreSQL a session uses them as its store."""
    if "PRAGMA" not in block.code:
        with postgresql.server() as where:
            keeps_a_session(postgresql.PostgresqlStore(where, block.code), running)
        return
    database = sqlite3.connect(":memory:")
    for statement in re.sub("--.*", "", block.code).split(";"):
        values = {"1": "key", "2": "owner", "3": 1000}
        database.execute(statement, values if "?" in statement else {})


def keeps_a_session(store: Store, running: Sandbox) -> None:
    check_store(store)
    running.reset()
    settings = {
        "base_url": running.address["https"],
        "tls.ca_file": running.address["ca_file"],
        "credentials_file": running.address["credentials_file"],
    }
    with Session(settings, store=store) as first, Session(settings, store=store) as second:
        tokens = [first.token().fingerprint, second.token().fingerprint]
        first.reject(first.token())
        tokens += [first.token().fingerprint, second.token().fingerprint]
    assert tokens[0] == tokens[1] != tokens[2]
    # A token that is refused young is replaced by an Issue, not by a refresh.
    assert running.counters()["routes"]["issue"]["calls"] == 2


@of("toml")
def test_profiles(block: Block, environment: dict[str, str], tmp_path: Path) -> None:
    """A login with the profile, whose places are those of the emulator."""
    text = re.sub("https://secure.sandbox.paymentsgate.io", environment["PAYMENTSGATE_BASE_URL"], block.code)
    for place, variable in (("credentials.json", "CREDENTIALS_FILE"), ("ca.pem", "TLS_CA_FILE")):
        text = re.sub(f'"[^"]*{place}"', json.dumps(environment[f"PAYMENTSGATE_{variable}"]), text)
    profiles = tmp_path / "paymentsgate-auth/profiles"
    profiles.mkdir(parents=True)
    (profiles / "page.toml").write_text(text)
    own = {name: value for name, value in environment.items() if not name.startswith("PAYMENTSGATE_")}
    own |= dict.fromkeys(("XDG_CONFIG_HOME", "XDG_STATE_HOME"), str(tmp_path))
    run([str(COMMAND_LINE), "--profile", "page", "login"], own, tmp_path)


@of("sh", "cmake")
def test_blocks_that_need_an_installed_library_are_run_by_tests_packages(block: Block) -> None:
    page = str(block.page.relative_to(ROOT))
    assert page in INSTALLED
    assert block.page.name in (ROOT / "tests/packages/run.sh").read_text()


def test_the_emulator_runs_beside_a_program(environment: dict[str, str], tmp_path: Path) -> None:
    """As it is printed, in a shell without settings; only the files are in a folder of the test's own."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / COMMAND_LINE.name).symlink_to(COMMAND_LINE)
    # A machine may be so slow that the next lines come before the emulator.
    slow = tmp_path / "bin/pg-sandbox"
    slow.write_text(f'#!/bin/sh\nsleep 2\nexec {shlex.quote(os.environ["PG_SANDBOX"])} "$@"\n')
    slow.chmod(0o755)
    own = {"PATH": f"{tmp_path}/bin:{environment['PATH']}", "HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}
    # What an earlier run has left.
    (tmp_path / "sandbox.json").write_text('{"https": "https://127.0.0.1:1", "pid": 0}')
    script, said = BESIDE.code.replace("/tmp/", f"{tmp_path}/"), tmp_path / "said"
    with said.open("wb") as output:
        shell = subprocess.Popen(
            ["sh", "-euc", script], env=own, cwd=tmp_path, stdout=output, start_new_session=True
        )
    try:
        assert shell.wait(60) == 0
    finally:
        # The emulator is still there if the script has failed.
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
    token, answers = said.read_text().split("\n", 1)
    assert token.startswith("eyJ")
    assert re.fullmatch(r'\{"access_token":"eyJ.+"\}\{"route":"issue",.+\}', answers)


@of("")
def test_command_lines(block: Block, environment: dict[str, str], tmp_path: Path) -> None:
    """An indented block has command lines, JSON, or plain text."""
    if block.code.lstrip().startswith("{") and block.code.rstrip().endswith("}") and "$" not in block.code:
        json.loads(block.code)
        return
    for line in commands_of(block.code):
        play(line, environment, tmp_path)


def test_each_text_that_is_no_command_line_is_on_a_page() -> None:
    indented = [block.code for block in BLOCKS if block.language == ""]
    assert [text for text in TEXTS if not any(code.lstrip().startswith(text) for code in indented)] == []


def test_a_command_line_that_nothing_checks_is_an_error(tmp_path: Path) -> None:
    for line in ("rm -rf build", "docker stop shop", "export PAYMENTSGATE_BASEURL=x", "make instal"):
        with pytest.raises(AssertionError):
            play(line, {}, tmp_path)


def test_the_commands_for_systemd_leave_what_the_units_need(
    environment: dict[str, str], tmp_path: Path
) -> None:
    [block] = [block for block in BLOCKS if "systemctl daemon-reload" in block.code]
    for line in commands_of(block.code):
        play(line, environment, tmp_path)
    units = [file for file in (DEPLOY / "systemd").rglob("*") if file.is_file()]
    for unit in units:
        copy = tmp_path / "etc/systemd/system" / unit.relative_to(DEPLOY / "systemd")
        assert copy.read_text() == unit.read_text()
        for place in re.findall("^LoadCredential=[^:]+:(.+)$", unit.read_text(), re.M):
            assert (tmp_path / place.lstrip("/")).stat().st_mode & 0o777 == 0o600


def test_every_block_is_run_by_a_test() -> None:
    known = {"python", "c", "cpp", "go", "sql", "sh", "toml", "cmake", "js", "php", ""}
    unknown = [block.name for block in BLOCKS if block.language not in known]
    assert unknown == []


def test_there_is_a_server() -> None:
    assert len(SERVERS) == 1


def test_the_lines_for_ctest_are_those_of_the_example() -> None:
    [lines] = [block.code for block in BLOCKS if "add_test(" in block.code]
    example = (ROOT / "examples/ctest/CMakeLists.txt").read_text()
    assert [line for line in lines.splitlines() if line not in example] == []


def test_the_alert_rules_are_complete() -> None:
    [group] = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}


def test_every_link_has_a_target() -> None:
    assert broken_links(ROOT, PAGES) == []


def test_every_page_is_in_the_summary() -> None:
    summary = (ROOT / "docs/SUMMARY.md").read_text()
    pages = {page.name for page in PAGES if page.parent.name == "docs" and page.parent.parent == ROOT}
    missing = [page for page in pages - {"SUMMARY.md"} if f"({page})" not in summary]
    assert missing == []


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


AGENTS = [block for block in BLOCKS if re.search(r"^paymentsgate-auth agent.*\n+curl ", block.code, re.M)]


def test_there_are_agents() -> None:
    assert len(AGENTS) == 5


@contextmanager
def running_agent(command: str, environment: dict[str, str], folder: Path) -> Iterator[None]:
    """The agent of a command line, which must end in order."""
    agent = subprocess.Popen(
        ["sh", "-c", f"exec {command}"], env=environment, cwd=folder, stderr=subprocess.PIPE
    )
    try:
        assert agent.stderr is not None
        line = agent.stderr.readline()
        assert b" on " in line, line + agent.stderr.read()
        yield
        agent.send_signal(signal.SIGTERM)
        agent.stderr.read()
        assert agent.wait(60) == 0
    finally:
        agent.kill()
        agent.wait()


def as_reader(block: Block, environment: dict[str, str], folder: Path) -> dict[str, str]:
    """The environment of a reader who has followed the page down to the block. The service is the emulator.

    The store is the test's own, since the emulator refuses the tokens of the test before it.
    """
    above = [other for other in BLOCKS if other.page == block.page and other.language == ""]
    if block in above:
        above = above[: above.index(block) + 1]
    lines = [line for other in above for line in commands_of(other.code) if line.startswith("export ")]
    exported = dict(word.split("=", 1) for line in lines for word in shlex.split(line)[1:])
    assert exported["PAYMENTSGATE_BASE_URL"] == "https://secure.sandbox.paymentsgate.io"
    exported["PAYMENTSGATE_BASE_URL"] = environment["PAYMENTSGATE_BASE_URL"]
    shutil.copy(environment["PAYMENTSGATE_CREDENTIALS_FILE"], folder / "credentials.json")
    own = {name: value for name, value in environment.items() if not name.startswith("PAYMENTSGATE_")}
    own |= dict.fromkeys(("XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"), str(folder))
    return own | exported | {"PATH": f"{COMMAND_LINE.parent}:{environment['PATH']}"}


@pytest.mark.parametrize("block", AGENTS, ids=[block.name for block in AGENTS])
def test_an_agent_answers(block: Block, environment: dict[str, str], tmp_path: Path) -> None:
    """Only the port is another one, since any port may be in use here."""
    code = block.code
    for port in sorted(set(re.findall(r"127\.0\.0\.1:(\d+)", code))):
        code = code.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}")
    agent, curl = [line for line in code.splitlines() if line][-2:]
    own = as_reader(block, environment, tmp_path)
    with running_agent(agent, own, tmp_path):
        asked = subprocess.run(["sh", "-c", curl], env=own, cwd=tmp_path, capture_output=True, timeout=60)
        answer = json.loads(asked.stdout)
        assert "assets" in answer or answer["access_token"].startswith("eyJ")


@of("js", "php")
def test_a_program_calls_the_agent(block: Block, environment: dict[str, str], tmp_path: Path) -> None:
    here = f"127.0.0.1:{free_port()}"
    [started_by] = [other for other in AGENTS if other.page == block.page]
    [agent] = [line for line in commands_of(started_by.code) if " agent " in line]
    file, interpreter = {"js": ("shop.mjs", "node"), "php": ("shop.php", "php")}[block.language]
    program = tmp_path / file
    program.write_text(block.code.replace("127.0.0.1:8080", here))
    own = as_reader(started_by, environment, tmp_path)
    with running_agent(agent.replace("127.0.0.1:8080", here), own, tmp_path):
        assert re.fullmatch(r"\d+ assets\n", run([interpreter, str(program)], own, tmp_path).stdout)
    alone = subprocess.run([interpreter, program], env=own, capture_output=True, timeout=60, check=False)
    assert alone.returncode != 0, "an agent that cannot be reached is an error"
