"""No refusal of the system ends a session or delays a caller past its deadline, and every call is listed."""

from __future__ import annotations

import os
import queue
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import plays
import pytest
from sandbox import closed_port, started

# The programs mostly wait, but each begins with twelve threads that compute, and is judged by 50 ms.
AT_ONCE = int(os.environ.get("PG_PLAYS_AT_ONCE", "2"))

CASES = plays.cases()


class Plays:
    """The cases of this run, several at once."""

    def __init__(self, cases: list[plays.Case], stage: ThreadPoolExecutor) -> None:
        self._services: queue.SimpleQueue[plays.Services] = queue.SimpleQueue()
        self._outcomes: dict[plays.Case, Future[dict[plays.Case, plays.Outcome]]] = {}
        for chunk in plays.chunks(cases):
            future = stage.submit(self._play, chunk)
            self._outcomes.update(dict.fromkeys(chunk, future))

    def add(self, services: plays.Services) -> None:
        self._services.put(services)

    def outcome(self, case: plays.Case) -> plays.Outcome:
        return self._outcomes[case].result()[case]

    def _play(self, cases: list[plays.Case]) -> dict[plays.Case, plays.Outcome]:
        services = self._services.get()
        try:
            return plays.play(cases, services)
        finally:
            self._services.put(services)


def chosen_cases(request: pytest.FixtureRequest) -> list[plays.Case]:
    """The cases of this run."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    calls = [item.callspec for item in items if hasattr(item, "callspec")]
    return [call.params["case"] for call in calls if "case" in call.params]


@pytest.fixture(scope="session")
def stage(request: pytest.FixtureRequest) -> Iterator[Plays]:
    chosen = chosen_cases(request)
    with ExitStack() as ends:
        port = ends.enter_context(redis())
        emulators = [ends.enter_context(started()) for _ in range(AT_ONCE)]
        pool = ends.enter_context(ThreadPoolExecutor(AT_ONCE))
        ends.callback(pool.shutdown, cancel_futures=True)
        made = Plays(chosen, pool)
        for database, emulator in enumerate(emulators):
            made.add(plays.Services(emulator, port, database))
        yield made


@contextmanager
def redis() -> Iterator[int]:
    """A server without a disk, on the returned port."""
    port = int(closed_port().split(":")[1])
    options = {"port": port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "databases": AT_ONCE}
    arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    with subprocess.Popen(["redis-server", *arguments], stdout=subprocess.DEVNULL) as server:
        try:
            until = time.monotonic() + 20
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert time.monotonic() < until, "redis-server does not answer"
                    time.sleep(0.05)
            yield port
        finally:
            server.terminate()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_caller_is_answered_and_the_session_stays_usable(case: plays.Case, stage: Plays) -> None:
    outcome = stage.outcome(case)
    assert not outcome.complaints, "\n".join(outcome.complaints)


def test_every_refusal_happens(stage: Plays, request: pytest.FixtureRequest) -> None:
    chosen = chosen_cases(request)
    assert {case.name for case in chosen} == {case.name for case in chosen if stage.outcome(case).met}


def test_a_harmless_refusal_delays_nobody(stage: Plays, request: pytest.FixtureRequest) -> None:
    """Not in its fastest play, at least: in one play, this machine may be busy."""
    fastest: dict[str, float] = {}
    for case in chosen_cases(request):
        if case.serves_all:
            took_ms = stage.outcome(case).took_ms
            fastest[case.name] = min(took_ms, fastest.get(case.name, took_ms))
    assert {name: took_ms for name, took_ms in fastest.items() if took_ms > plays.IN_TIME_MS} == {}


def test_every_import_is_named() -> None:
    library = os.environ["PAYMENTSGATE_AUTH_LIB"]
    command = ["nm", "-D", "--undefined-only", library]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {re.sub("@.*", "", line.split()[-1]) for line in listed.stdout.splitlines()}
    rows = plays.table()
    named = {name.split()[0] for name in plays.names()}
    named |= {name for names in rows["imported"] for name in names.split()}
    assert imported - named == set()
