"""Runs programs whose callers wait while the system refuses a call, and checks their answers."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from sandbox import Sandbox
from world import World

HERE = Path(__file__).parent
# A file system in memory, if there is one: fsync on a disk waits for all that others write.
MEMORY = Path("/dev/shm")
# Access tokens live for 7 s and are handed out until 5 s are left; a second more, and idle threads are gone.
# With 6 s a token would be too short to use whenever its answer crosses a full second: the service counts in
# seconds.
LIFE_S, MARGIN_MS = 7, 3800
# The time that the library may take beyond a deadline, in addition to the wake-up of a thread.
GRACE_MS = 50
# The time after which a healthy service must be enough (2 s), plus one call.
RECOVERY_MS = 3000
# The time in which a caller has a token although a harmless call is refused.
IN_TIME_MS = 300
# The time that callers have in addition then: a disk or a processor that others use must not end their wait.
# With it, each deadline is below the second after which the library looks again: a lost wake-up fails.
SPARE_MS = 450
# How long the programs try, to distinguish a late token from one that never comes.
PATIENCE_MS = 8000
# Opening a session waits for nothing.
OPENING_MS = 500
# The answer time of a slow service: longer than any caller waits.
SLOW_MS = 1200
# A case that takes longer hangs.
PLAY_S = 120

POSITIONS = "opening", "first", "middle"
# The moments that languages other than C test: only the waiting of the language differs.
ELSEWHERE = ("opening", "always"), ("first", "once"), ("middle", "always")
TIMES = {"once": 1, "always": -1}
DEFECT = re.compile(r"defect|report it|panic", re.I)


@dataclass(frozen=True)
class Case:
    """One refusal: the call, the error, the moment."""

    name: str
    calls: tuple[str, ...]
    error: str
    about: str
    answers: tuple[str, ...]
    harmless: bool
    position: str
    times: str
    language: str
    store: str
    # Whether the service is healthy, or so slow that every deadline passes.
    service: str
    # Whether the system's certificate authorities are read.
    roots: bool
    # Whether the token ages meanwhile.
    ages: bool
    # Whether connections break meanwhile.
    breaks: bool

    @property
    def serves_all(self) -> bool:
        """Whether every caller must get a token."""
        return self.harmless and self.service == "well"

    def __str__(self) -> str:
        service = "" if self.service == "well" else f" {self.service} service"
        text = f"{self.language}-{self.store}-{self.position}-{self.name} {self.error} {self.times}{service}"
        return text.replace(" ", "_")

    def begin(self, world: World) -> None:
        for call in self.calls:
            world.refuse(call, number_of(self.error, call), TIMES[self.times], self.about)

    def refused(self, world: World) -> int:
        return sum(world.counts(call)[1] for call in self.calls)


@dataclass
class Outcome:
    """The problems, whether the refusal happened at all, and how long the last caller waited for a token."""

    complaints: list[str] = field(default_factory=list)
    met: int = 0
    took_ms: float = 0


def number_of(error: str, call: str) -> int:
    """getaddrinfo has its own error numbers."""
    if call == "getaddrinfo":
        return int(getattr(socket, error if error.startswith("EAI_") else "EAI_SYSTEM"))
    return int(getattr(errno, error))


def table() -> dict[str, Any]:
    rows: dict[str, Any] = yaml.safe_load((HERE / "calls.yaml").read_text())
    return rows


def is_unwanted(variable: str) -> bool:
    """Without the proxies of this machine, and without backtraces, which read other files."""
    return variable.lower().endswith("_proxy") or variable.startswith("RUST_")


def names() -> list[str]:
    """All calls with a slot."""
    rows = table()
    found = [row["call"] for row in rows["calls"]] + list(rows["exempt"])
    return list(dict.fromkeys(found))


def cases() -> list[Case]:
    """Each once."""
    return list(dict.fromkeys(_cases()))


def _cases() -> Iterator[Case]:
    rows = table()
    for row in rows["calls"]:
        for language in ("c", "py", "go"):
            # The error numbers change the reaction of the library, not that of the language.
            for error in row["errors"] if language == "c" else row["errors"][:1]:
                played = _chosen(row, language, is_first=error == row["errors"][0])
                name = row.get("name", row["call"])
                yield from _positions(row, played, (row["call"],), name, error, language)
    for row in rows["groups"]:
        for language in ("c", "py", "go"):
            played = _chosen(row, language, is_first=True)
            yield from _positions(row, played, tuple(row["calls"]), row["name"], row["error"], language)


# The store, the moment, the number of refusals, the service.
Played = tuple[str, str, str, str]


def _chosen(row: dict[str, Any], language: str, is_first: bool) -> Iterator[Played]:
    """C tests all of a row with its first error; further errors have the same effect at every moment."""
    # Calls that do not depend on the store are tested with the one in memory.
    stores = row.get("stores", ["memory"])
    positions, times = list(row.get("positions", POSITIONS)), list(row.get("times", TIMES))
    services = row.get("services", ["well"])
    if language != "c":
        moments = [one for one in ELSEWHERE if one[0] in positions and one[1] in times]
        stores, services = [store for store in stores if store != "redis"], services[:1]
    elif is_first:
        moments = list(product(positions, times))
        moments += [("forked", "always")] if row.get("forked") else []
    else:
        moments, services = [(positions[-1], times[-1])], services[:1]
    for store, (position, time), service in product(stores, moments or [(positions[0], times[0])], services):
        yield store, position, time, service


def _positions(
    row: dict[str, Any],
    played: Iterator[Played],
    calls: tuple[str, ...],
    name: str,
    error: str,
    language: str,
) -> Iterator[Case]:
    for store, position, times, service in played:
        # A call is not interrupted every time.
        if error == "EINTR":
            times = "once"
        yield Case(
            name=name,
            calls=calls,
            error=error,
            about=row.get("about", ""),
            answers=tuple(row.get("answers", ())),
            harmless=row.get("harmless", row.get("harmless_once", False) and times == "once"),
            position=position,
            times=times,
            language=language,
            store=store,
            service=service,
            roots=row.get("roots", False),
            ages=row.get("ages", False),
            breaks=row.get("breaks", False),
        )


def chunks(cases: list[Case], most: int = 5) -> Iterator[list[Case]]:
    """The cases of one program: a session starts with one refusal, and has many later."""
    middles: dict[tuple[str, str, bool], list[Case]] = {}
    for case in cases:
        if case.position == "middle":
            middles.setdefault((case.language, case.store, case.roots), []).append(case)
        else:
            yield [case]
    for some in middles.values():
        for start in range(0, len(some), most):
            yield some[start : start + most]


@dataclass(frozen=True)
class Services:
    """The world of a program: its own emulator, and its own database on a Redis server."""

    emulator: Sandbox
    redis_port: int
    database: int

    def reset(self) -> None:
        self.emulator.reset()
        self.emulator.switch(access_lifetime_s=LIFE_S)
        with socket.create_connection(("127.0.0.1", self.redis_port), timeout=10) as redis:
            redis.sendall(f"SELECT {self.database}\r\nFLUSHDB\r\nQUIT\r\n".encode())
            while redis.recv(100):
                pass

    def place(self, store: str, folder: Path) -> str:
        """The value of the setting for this store. It has a host name, so that it must be resolved."""
        places = {
            "memory": "memory:",
            "file": f"file:{folder}/pg-store",
            "redis": f"redis://localhost:{self.redis_port}/{self.database}",
        }
        return places[store]


class Ended(Exception):
    """The program has ended."""


class Program:
    """A program with the shim, in its own world."""

    def __init__(self, case: Case, services: Services, folder: Path) -> None:
        self.world = World(folder / "world", names())
        self.emulator = services.emulator
        address = self.emulator.address
        environment = {
            **{name: value for name, value in os.environ.items() if not is_unwanted(name)},
            "LD_PRELOAD": os.environ["PG_SHIM"],
            "PG_REFUSALS": str(self.world.path),
            # A host name, so that it must be resolved.
            "PAYMENTSGATE_BASE_URL": address["https"].replace("127.0.0.1", "localhost"),
            "PAYMENTSGATE_CREDENTIALS_FILE": address["credentials_file"],
            "PAYMENTSGATE_TLS_CA_FILE": address["ca_file"],
            "PAYMENTSGATE_STORE": services.place(case.store, folder),
            # Reading them takes 20 ms of a processor that many programs share here.
            "PAYMENTSGATE_TLS_SYSTEM_ROOTS": str(case.roots).lower(),
        }
        self._errors = (folder / "errors").open("w+")
        self._process = subprocess.Popen(
            os.environ[f"PG_WAITERS_{case.language.upper()}"].split(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            text=True,
            bufsize=1,
            # Including a child that it may fork.
            start_new_session=True,
        )
        self._watch = threading.Timer(PLAY_S, os.killpg, (self._process.pid, signal.SIGKILL))
        self._watch.start()

    def do(self, command: str) -> list[list[str]]:
        """The lines of its answer to a command."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Ended from None
        lines = []
        for line in self._process.stdout:
            if line == "done\n":
                return lines
            lines.append([*line.rstrip("\n").split("\t"), "", "", "", ""][:5])
        raise Ended

    def starved_ms(self) -> float:
        """How long the library's thread was ready while no processor was free."""
        starved = 0.0
        pids = [self._process.pid, *self._children()]
        for task in (task for pid in pids for task in Path(f"/proc/{pid}/task").glob("*")):
            # Others come and go.
            with suppress(FileNotFoundError, ProcessLookupError):
                if (task / "comm").read_text().strip() == "pg-auth":
                    starved += int((task / "schedstat").read_text().split()[1]) / 1e6
        return starved

    def _children(self) -> list[int]:
        pid = self._process.pid
        try:
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except FileNotFoundError:
            return []

    def end(self) -> list[str]:
        """Problems with its end."""
        assert self._process.stdin
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        code = self._process.wait()
        self._watch.cancel()
        self._errors.seek(0)
        printed, strangers = self._errors.read().strip(), self.world.strangers()
        self._errors.close()
        self._process.stdout.close()  # type: ignore[union-attr]
        self.world.close()
        complaints = []
        if code not in (0, 9):
            complaints.append(f"the program ends with {code}")
        if printed:
            complaints.append(f"printed on the standard error: {printed[:600]}")
        if strangers:
            complaints.append(f"calls that calls.yaml does not name: {', '.join(strangers)}")
        return complaints


@contextmanager
def program(case: Case, services: Services) -> Iterator[Program]:
    services.reset()
    parent = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="pg-refusals-", dir=parent) as folder:
        yield Program(case, services, Path(folder))


def play(cases: list[Case], services: Services) -> dict[Case, Outcome]:
    """Runs cases one after the other, in one program as long as its session lives."""
    outcomes: dict[Case, Outcome] = {}
    left = list(cases)
    while left:
        with program(left[0], services) as running:
            begun = list[Case]()
            try:
                prepare(left[0], running)
                while left:
                    case = left.pop(0)
                    begun.append(case)
                    outcome = outcomes[case] = Outcome()
                    play_one(case, running, outcome)
                    if outcome.complaints:
                        break
                if not outcomes[begun[-1]].complaints:
                    outcomes[begun[-1]].complaints += judged_close(running.do("close 2000"))
            except Ended:
                if not begun:
                    begun.append(left.pop(0))
                    outcomes[begun[0]] = Outcome()
                outcome = outcomes[begun[-1]]
                if not outcome.complaints:
                    outcome.complaints.append("the program ended in the middle")
            running.world.lift()
            outcomes[begun[-1]].complaints += running.end()
    return outcomes


def prepare(case: Case, running: Program) -> None:
    if case.position != "opening":
        running.do("open")
    if case.position in ("middle", "forked"):
        running.do(f"recover {PATIENCE_MS}")
    if case.position == "forked":
        running.do("fork")


def play_one(case: Case, running: Program, outcome: Outcome) -> None:
    before = case.refused(running.world)
    if case.position == "middle":
        running.do(f"recover {PATIENCE_MS}")
        break_connections(running)
    if case.position in ("middle", "forked"):
        running.do(f"age {MARGIN_MS}")
    case.begin(running.world)
    is_open = case.position != "opening"
    if not is_open:
        opened = running.do("open")
        outcome.complaints += judged(case, opened, 0)
        is_open = opened[0][3] == "PG_OK"
    if is_open:
        wait(case, running, outcome)
    running.world.lift()
    outcome.met = case.refused(running.world) - before
    if not is_open:
        [(_, _, _, status, text)] = running.do("open")
        if status != "PG_OK":
            outcome.complaints.append(f"it cannot be opened afterwards: {status} {text}")
            return
    [(_, _, took, status, text)] = running.do(f"recover {PATIENCE_MS}")
    if status != "PG_OK":
        outcome.complaints.append(f"no token in {PATIENCE_MS} ms after it: {status} {text}")
    elif float(took) > RECOVERY_MS:
        outcome.complaints.append(f"the first token {took} ms after it")


def wait(case: Case, running: Program, outcome: Outcome) -> None:
    """Lets all callers wait."""
    if case.service == "slow":
        running.emulator.fault(times=None, action={"kind": "delay", "ms": SLOW_MS})
    before = running.starved_ms()
    lines = running.do(f"wait {SPARE_MS if case.serves_all else 0}")
    lag = sum(float(line[2]) for line in lines if line[0] == "lag") + running.starved_ms() - before
    running.emulator.ask("DELETE", "/faults")
    lines = [line for line in lines if line[0] != "lag"]
    outcome.complaints += judged(case, lines, lag)
    tokens = [float(took) for who, _, took, status, _ in lines if "token" in who and status == "PG_OK"]
    outcome.took_ms = max(tokens, default=0)
    if case.ages and not outcome.complaints:
        for command in (f"recover {PATIENCE_MS}", f"age {MARGIN_MS}"):
            [(_, _, _, status, text)] = running.do(command)
            if status != "PG_OK":
                outcome.complaints.append(f"{command}: {text}")
    if case.breaks:
        break_connections(running)


def break_connections(running: Program) -> None:
    """The next call needs a new connection."""
    running.emulator.fault(route="wallet", point="before", times=None, action={"kind": "close"})
    running.do("request 1000")
    running.emulator.ask("DELETE", "/faults")


def judged(case: Case, lines: list[list[str]], lag: float) -> list[str]:
    """The problems with the answers."""
    complaints = []
    for who, deadline, took, status, text in lines:
        about = f"{who}, {deadline} ms: "
        if took == "hangs":
            complaints.append(about + "hangs")
            continue
        most = (OPENING_MS if who == "open" else float(deadline)) + GRACE_MS + lag
        if float(took) > most:
            complaints.append(f"{about}answered after {took} ms (lag {lag:.0f}): {status} {text}")
        fine = {"PG_OK", "PG_ERR_TIMEOUT", *case.answers}
        if case.serves_all:
            fine = {"PG_OK"}
        if who == "token at once":
            fine.add("PG_ERR_TIMEOUT")
        if who.endswith("canceled"):
            fine.add("PG_ERR_CANCELED")
        if who == "health":
            fine = {"PG_OK"}
        if status not in fine or DEFECT.search(text):
            complaints.append(f"{about}{status} {text}")
    return complaints


def judged_close(lines: list[list[str]]) -> list[str]:
    [(_, _, took, status, text)] = lines
    return [] if status == "PG_OK" else [f"close: {status} after {took} ms {text}"]
