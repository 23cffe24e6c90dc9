"""Many threads use everything at once until the session is closed, also where CPython has no global lock."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from memory_store import MemoryStore
from sandbox import Sandbox
from test_session import key
from waiting import eventually

from paymentsgate_auth import Client, Closed, RejectedFresh, Session, _store

Config = dict[str, str]
# How many calls each thread makes at least before the session is closed.
CALLS = int(os.environ.get("PG_CALLS", "10"))


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("test.threads")
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.setLevel(logging.NOTSET)


def test_the_import_does_not_turn_on_the_global_lock() -> None:
    has_lock: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
    assert has_lock is not bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def test_every_call_at_once_until_close(sandbox: Sandbox, settings: Config, logger: logging.Logger) -> None:
    client = Client(settings)
    session, parallel = client.session(), client.async_session()
    account, public_key = sandbox.address["account_id"], key(settings)
    closing, closed = threading.Event(), threading.Event()

    def read_in_a_loop() -> None:
        async def read() -> None:
            answers = await asyncio.gather(*(parallel.request("GET", "/wallet") for _ in range(3)))
            assert {answer.status for answer in answers} == {200}

        asyncio.run(read())

    def log() -> None:
        with client.session() as own:
            own.log_to(logger)
            own.token(timeout=30)

    def follow() -> None:
        with session.subscribe(4) as events:
            events.poll(timeout=0.01)

    def reject() -> None:
        token = session.token(timeout=30)
        session.reject(token)

    jobs: list[Callable[[], object]] = [
        lambda: session.token(timeout=30).access_token,
        lambda: session.access_token(timeout=30),
        lambda: session.request("GET", "/wallet", timeout=30).json(),
        lambda: session.set_credentials(account, public_key),
        lambda: (session.health(), client.metrics(), repr(session)),
        lambda: session.refresh(timeout=30),
        *(reject, follow, log, read_in_a_loop),
    ]
    calls = [0] * len(jobs)

    def work(number: int) -> None:
        while not closed.is_set():
            try:
                jobs[number]()
            except RejectedFresh:
                pass
            except Closed:
                assert closing.is_set()
                return
            calls[number] += 1

    with ThreadPoolExecutor(len(jobs)) as pool:
        workers = [pool.submit(work, number) for number in range(len(jobs))]
        try:
            eventually(
                lambda: min(calls) >= CALLS or any(worker.done() for worker in workers), timeout=30 + CALLS
            )
        finally:
            closing.set()
            session.close()
            closed.set()
        for worker in workers:
            worker.result()
    assert min(calls) >= CALLS
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "pg-log"])


def test_sessions_on_stores_made_and_dropped_by_many_threads(settings: Config) -> None:
    store, client = MemoryStore(), Client(settings)
    before = len(_store._stores), len(_store._open_sessions)

    def work(_: int) -> None:
        for _ in range(CALLS):
            session: Session = client.session(store=store)
            assert session.token(timeout=30)
            session.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))

    def are_gone() -> bool:
        gc.collect()
        return (len(_store._stores), len(_store._open_sessions)) <= before

    eventually(are_gone)
