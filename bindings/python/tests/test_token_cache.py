"""The cached token: when it is returned without calling the library, and when not."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sandbox import Sandbox
from test_session import calls
from waiting import eventually

from paymentsgate_auth import (
    AsyncSession,
    Closed,
    DeadlineExceeded,
    InvalidCall,
    Session,
    Token,
    _queue,
    _session,
)

Config = dict[str, str]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows by one whenever a session asks the library for a token."""
    asked: list[object] = []

    def perform(*arguments: object) -> object:
        asked.append(arguments)
        return _queue.perform(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(_session, "perform", perform)
    return asked


def warm(session: Session) -> Token:
    """Fills the cache and returns the cached token."""
    session.token()
    return session.token()


def test_a_fresh_token_costs_no_call(sandbox: Sandbox, settings: Config, asked: list[object]) -> None:
    session = Session(settings)
    token = warm(session)
    before = len(asked)
    for _ in range(100):
        assert session.token() is token
        assert session.token(timeout=0) is token
        assert session.token(min_remaining=60) is token
        assert session.access_token() is session.access_token()
    assert session.access_token() == token.access_token
    assert len(asked) == before
    assert before <= 2


def test_the_cache_does_not_hide_an_invalid_time(settings: Config) -> None:
    session = Session(settings)
    warm(session)
    for times in ({"timeout": -1}, {"min_remaining": -0.001}):
        with pytest.raises(InvalidCall):
            session.token(**times)


def test_a_token_that_does_not_last_is_asked_for(settings: Config, asked: list[object]) -> None:
    session = Session(settings)
    warm(session)
    before = len(asked)
    assert session.token(min_remaining=7200).generation == 1
    assert len(asked) == before + 1


def test_a_rejected_token_is_not_cached(sandbox: Sandbox, settings: Config) -> None:
    session = Session(settings)
    first = warm(session)
    session.reject(first, http_status=403)
    assert session.token() is first
    session.reject(first)
    assert session.access_token() != first.access_token
    assert warm(session).generation == 2
    assert session.access_token() == session.token().access_token


@pytest.mark.parametrize("end", [Session.close, lambda session: session.__exit__(None, None, None)])
def test_close_empties_the_cache(settings: Config, end: Callable[[Session], None]) -> None:
    session = Session(settings)
    warm(session)
    end(session)
    for ask in (session.token, session.access_token):
        with pytest.raises(Closed):
            ask()


def test_a_token_is_not_cached_too_long(sandbox: Sandbox, settings: Config) -> None:
    # One second after issue, five seconds are left.
    sandbox.switch(access_lifetime_s=6, date_header="off")
    session = Session(settings)
    first = warm(session)
    sandbox.fault(route="refresh", action={"kind": "hang"}, times=None)
    sandbox.fault(route="issue", action={"kind": "hang"}, times=None)

    def is_over() -> bool:
        left = first.remaining
        try:
            assert session.access_token(timeout=0) == first.access_token
        except DeadlineExceeded:
            return True
        assert left > 4, "a token was returned in its last seconds"
        return False

    eventually(is_over)


def test_the_next_token_replaces_it(sandbox: Sandbox, settings: Config) -> None:
    sandbox.switch(access_lifetime_s=6, date_header="off")
    session = Session(settings)
    generations = [warm(session).generation]

    def is_renewed() -> bool:
        token = session.token()
        assert token.remaining > 0
        assert session.access_token() in (token.access_token, session.token().access_token)
        generations.append(token.generation)
        return token.generation >= 3

    eventually(is_renewed, timeout=20)
    assert generations == sorted(generations)


def test_many_threads_see_generations_in_order(sandbox: Sandbox, settings: Config) -> None:
    session, over = Session(settings), threading.Event()
    warm(session)

    def watch(_: int) -> bool:
        last = 0
        while not over.is_set():
            now = session.token().generation
            assert now >= last
            last = now
        return session.token().generation == 2

    with ThreadPoolExecutor(4) as pool:
        watchers = [pool.submit(watch, number) for number in range(4)]
        session.reject(session.token())
        assert session.token().generation == 2
        eventually(lambda: session.token() is session.token())
        over.set()
        assert all(watcher.result() for watcher in watchers)


def test_a_forked_child_has_its_own_generation_word(sandbox: Sandbox, settings: Config) -> None:
    session = Session(settings)
    inherited = warm(session)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        said = "failed"
        try:
            assert session._cache.word.value == 0
            assert session.access_token() == inherited.access_token
            assert warm(session) is warm(session)
            session.reject(inherited)
            own = warm(session)
            assert session.access_token() == own.access_token != inherited.access_token
            session.close(timeout=5)
            said = "fine"
        finally:
            os.write(write, said.encode())
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"fine"
    os.close(read)
    assert session.token() is inherited
    assert calls(sandbox) == (2, 0)


def test_an_async_session_caches_the_token_too(settings: Config) -> None:
    async def work() -> None:
        async with AsyncSession(settings) as session:
            await session.token()
            token = await session.token()
            assert await session.token() is token
            assert await session.access_token() == token.access_token
            session.reject(token)
            assert (await session.token()).generation == 2
        with pytest.raises(Closed):
            await session.access_token()

    asyncio.run(work())


def test_garbage_in_any_order_reads_no_freed_memory(settings: Config) -> None:
    seen: list[object] = []

    class Last:
        def __init__(self) -> None:
            self.session, self.cycle = Session(settings), self
            warm(self.session)

        def __del__(self) -> None:
            try:
                seen.append(self.session.access_token(timeout=0))
            except Exception as error:
                seen.append(type(error))

    for _ in range(5):
        Last()
        gc.collect()
    assert len(seen) == 5
