"""A custom store: in memory, and in a SQLite database that several processes share."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from memory_store import MemoryStore
from sandbox import Sandbox
from test_session import calls

import paymentsgate_auth
from paymentsgate_auth import (
    AsyncSession,
    ConfigurationError,
    DeadlineExceeded,
    InvalidCall,
    Session,
    Status,
    StoreError,
    check_store,
)

EXAMPLES = Path(__file__).parents[3] / "examples" / "python"
sys.path.append(str(EXAMPLES))

from sqlite_store import SqliteStore  # noqa: E402

Config = dict[str, str]


def test_the_contract() -> None:
    store = MemoryStore()
    check_store(store)
    store.ignores_versions = True
    with pytest.raises(InvalidCall, match="`save`"):
        check_store(store)


@pytest.mark.parametrize("error", [OSError("the disk is full"), SystemExit("the disk is full")])
def test_exceptions_of_a_store_are_failures(settings: Config, error: BaseException) -> None:
    store = MemoryStore()
    store.error = error
    with pytest.raises(StoreError, match=f"{type(error).__name__}: the disk is full"):
        check_store(store)
    with Session(settings, store=store, on_store_down="fail") as session:
        with pytest.raises(DeadlineExceeded):
            session.token(timeout=0)
        deadline = time.monotonic() + 10
        while "the disk is full" not in str(session.health()["last_error"]):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        store.error = None
    with Session(settings, store=store) as session:
        assert session.token().generation == 1


def test_blocking_and_async_sessions_share_a_store(sandbox: Sandbox, settings: Config) -> None:
    store = MemoryStore()
    with Session(settings, store=store) as session:
        first = session.token()

    async def second() -> str:
        async with AsyncSession(settings, store=store) as session:
            return (await session.token()).fingerprint

    assert asyncio.run(second()) == first.fingerprint
    assert calls(sandbox) == (1, 0)


def test_a_store_lives_as_long_as_its_session(settings: Config) -> None:
    store = MemoryStore()
    gone = weakref.ref(store)
    session = Session(settings, store=store)
    del store
    gc.collect()
    assert session.token()
    assert gone()
    session.close()
    del session
    deadline = time.monotonic() + 10
    while gone() and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    assert gone() is None


def test_an_object_that_is_no_store_is_refused(settings: Config) -> None:
    with pytest.raises(TypeError, match="the setting store must be a str, a path or a Store, not object"):
        Session(settings, store=object())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError) as raised:
        Session(settings, store=MemoryStore(), access_token="a", refresh_token="r")
    assert raised.value.status is Status.CONFLICTING_SETTINGS


WORKER = """
import json, sys
from paymentsgate_auth import Session
from sqlite_store import SqliteStore
with Session(json.loads(sys.argv[2]), store=SqliteStore(sys.argv[1])) as session:
    print("ready", flush=True)
    for line in sys.stdin:
        token = session.token(timeout=60, min_remaining=float(line))
        print(token.generation, token.fingerprint, flush=True)
"""


class Worker:
    """A process with a session on a database. It asks for a token when the test tells it to."""

    def __init__(self, database: Path, settings: Config) -> None:
        path = f"{Path(paymentsgate_auth.__file__).parents[1]}:{EXAMPLES}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(database), json.dumps(settings)],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.answer() == ["ready"]

    def ask(self, min_remaining: float = 0) -> None:
        assert self.process.stdin
        print(min_remaining, file=self.process.stdin, flush=True)

    def answer(self) -> list[str]:
        assert self.process.stdout
        return self.process.stdout.readline().split()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def workers(tmp_path: Path, settings: Config) -> Iterator[list[Worker]]:
    SqliteStore(tmp_path / "store.db")
    with ExitStack() as ends:
        started: list[Worker] = []
        for _ in range(8):
            started.append(Worker(tmp_path / "store.db", settings))
            ends.callback(started[-1].end)
        yield started


def test_sqlite_keeps_the_contract(tmp_path: Path) -> None:
    check_store(SqliteStore(tmp_path / "store.db"))


def test_eight_processes_make_one_call_each_round(sandbox: Sandbox, workers: list[Worker]) -> None:
    # A token of 20 s is renewed after 7.5 s at the earliest, so a slow process cannot get two in one round.
    sandbox.switch(access_lifetime_s=20, date_header="off")
    for round_ in range(3):
        for worker in workers:
            worker.ask(min_remaining=12)
        answers = {tuple(worker.answer()) for worker in workers}
        assert len(answers) == 1
        assert answers.pop()[0] == str(round_ + 1)
        assert calls(sandbox) == (1, round_)
        if round_ < 2:
            time.sleep(8.2)
    assert sandbox.counters()["most_presentations"] == 1


def test_another_process_continues_after_the_lock_owner_is_killed(
    sandbox: Sandbox, workers: list[Worker], tmp_path: Path
) -> None:
    sandbox.switch(access_lifetime_s=10, date_header="off")
    holder, heir = workers[:2]
    for worker in (holder, heir):
        worker.ask()
        assert worker.answer()[0] == "1"
    sandbox.fault(route="refresh", action={"kind": "hang"})
    time.sleep(2.6)
    holder.ask(min_remaining=9)
    deadline = time.monotonic() + 20
    while calls(sandbox)[1] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    holder.process.send_signal(signal.SIGKILL)
    holder.process.wait()
    heir.ask(min_remaining=9)
    with closing(sqlite3.connect(tmp_path / "store.db", timeout=10)) as database, database:
        # Replaces the time until the lease ends.
        assert database.execute("DELETE FROM paymentsgate_lock").rowcount == 1
    assert heir.answer()[0] == "2"
    assert calls(sandbox) == (2, 1)
    assert sandbox.counters()["most_presentations"] == 1


ENDS = {
    "at work in the store": """
session = Session(settings, store=Slow(0.3))
threading.Thread(target=session.token, daemon=True).start()
begun.wait()
sys.exit(7)
""",
    "with sessions left open": """
sessions = [Session(settings, store=Slow(0)) for _ in range(3)]
tokens = [session.token() for session in sessions]
cycle = [sessions]; cycle.append(cycle)
sys.exit(7)
""",
}


@pytest.mark.parametrize("end", ENDS)
def test_interpreters_exit_after_the_calls_in_progress(settings: Config, end: str) -> None:
    prelude = """
import json, sys, threading, time
from paymentsgate_auth import Session
from test_store import MemoryStore
settings, begun = json.loads(sys.argv[1]), threading.Event()
threading.excepthook = lambda _: None
class Slow(MemoryStore):
    def __init__(self, pause):
        super().__init__()
        self.pause = pause
    def lock(self, *call):
        begun.set()
        time.sleep(self.pause)
        print("the call has ended", flush=True)
        return super().lock(*call)
"""
    tests = Path(__file__).parent
    path = [Path(paymentsgate_auth.__file__).parents[1], tests, tests.parents[2] / "tests" / "support"]
    environment = {**os.environ, "PYTHONPATH": ":".join(map(str, path))}
    for _ in range(3):
        command = [sys.executable, "-c", prelude + ENDS[end], json.dumps(settings)]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (7, "")
        assert set(done.stdout.splitlines()) == {"the call has ended"}
