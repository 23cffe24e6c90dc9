"""Sessions under trio: the calls, deadlines, cancellation, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import anyio
import httpx
import pytest
import trio
from sandbox import Sandbox
from test_async_session import hang
from test_request import PAYIN, calls

import paymentsgate_auth
from paymentsgate_auth import (
    AsyncClient,
    AsyncSession,
    Closed,
    DeadlineExceeded,
    EventKind,
    Fate,
    NetworkError,
    Status,
)
from paymentsgate_auth._library import library
from paymentsgate_auth._loop import Operations, operations, running_loop
from paymentsgate_auth.httpx import SessionAuth

Config = dict[str, str]
Result = TypeVar("Result")


def run(work: Callable[[], Awaitable[Result]]) -> Result:
    """Runs in trio, and checks that no watch and no operation is left."""
    seen: list[weakref.ref[Operations]] = []

    async def checked() -> Result:
        with trio.fail_after(20):
            result = await work()
            seen.append(weakref.ref(operations()))
            assert operations()._pending == {}
            while trio.lowlevel.current_statistics().io_statistics.tasks_waiting_read > 1:
                await trio.sleep(0.005)
        return result

    result = trio.run(checked)
    gc.collect()
    assert [reference() for reference in seen] == [None]
    return result


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await trio.sleep(0.005)


def test_the_calls_of_a_session(sandbox: Sandbox, settings: Config) -> None:
    async def work() -> None:
        async with AsyncSession(settings) as session:
            with session.subscribe() as subscription:
                token = await session.token()
                assert (await session.token()).fingerprint == token.fingerprint
                event = await subscription.poll(timeout=10)
                assert event
                assert event.kind is EventKind.ROTATED
                assert await subscription.poll(timeout=0) is None
                assert await subscription.poll(timeout=0.02) is None
            assert [event.kind async for event in subscription] == []
            assert (await session.request("POST", "/deals/payin", json=PAYIN)).status < 300
            session.reject(token)
            assert (await session.token()).generation == 2
            assert (await session.refresh()).generation == 3
            await session.close()
        with pytest.raises(Closed):
            await session.token()

    run(work)


def test_the_calls_of_a_client(sandbox: Sandbox, settings: Config) -> None:
    async def work() -> None:
        async with AsyncClient(settings) as client:
            first = await client.issue()
            assert (await client.refresh(first)).fingerprint != first.fingerprint
            sandbox.fault(route="refresh", action={"kind": "reset"}, point="after")
            with pytest.raises(NetworkError) as failure:
                await client.refresh("token")
            assert failure.value.fate is Fate.UNKNOWN

    run(work)


def test_many_tasks_share_one_call_and_other_tasks_continue(sandbox: Sandbox, settings: Config) -> None:
    sandbox.fault(action={"kind": "delay", "ms": 300})
    generations, turns = [], 0

    async def work() -> None:
        nonlocal turns
        session = AsyncSession(settings)

        async def ask() -> None:
            generations.append((await session.token()).generation)

        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(ask)
            while len(generations) < 200:
                turns += 1
                await trio.sleep(0)  # A turn of the loop, however short.

    run(work)
    assert generations == [1] * 200
    assert turns > 20
    assert calls(sandbox, "issue") == 1


def test_answers_go_to_the_tasks_that_asked(settings: Config) -> None:
    async def work() -> None:
        session = AsyncSession(settings)

        async def ask(amount: int) -> None:
            answer = await session.request("GET", f"/fx/calculation?amount={amount}")
            assert float(answer.json()["finalAmount"]) == (amount - 2) * 1.08

        for _ in range(10):
            async with trio.open_nursery() as nursery:
                for amount in range(100, 120):
                    nursery.start_soon(ask, amount)

    run(work)


def test_deadlines_of_the_call_and_of_trio(sandbox: Sandbox, settings: Config) -> None:
    hang(sandbox)

    async def work() -> None:
        session = AsyncSession(settings)
        with pytest.raises(DeadlineExceeded):
            await session.token(timeout=0.05)
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.05):
            await session.token()
        with trio.move_on_after(0.05) as scope:
            await session.subscribe().poll()
        assert scope.cancelled_caught
        with pytest.raises(DeadlineExceeded):
            await session.close(timeout=0.05)

    run(work)


def test_a_canceled_request_is_abandoned(sandbox: Sandbox, settings: Config) -> None:
    hang(sandbox, "payin")

    async def work() -> None:
        session = AsyncSession(settings)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.request, "POST", "/deals/payin")
            await until(lambda: calls(sandbox, "payin"))
            nursery.cancel_scope.cancel()
        canceled = operations()._queue.take()
        assert canceled
        assert library.pg_event_status(canceled) == Status.CANCELED

    run(work)


def test_cancellation_at_every_moment(settings: Config) -> None:
    """Half of the tasks are canceled; the others get their answers."""

    async def work() -> None:
        session, answered = AsyncSession(settings), 0

        async def ask(scope: trio.CancelScope) -> None:
            nonlocal answered
            with scope:
                answer = await session.request("GET", "/wallet")
                answered += answer.status == 200

        for turn in range(40):
            async with trio.open_nursery() as nursery:
                scopes = [trio.CancelScope() for _ in range(8)]
                for scope in scopes:
                    nursery.start_soon(ask, scope)
                for _ in range(turn):
                    await trio.sleep(0)
                for scope in scopes[::2]:
                    scope.cancel()
        assert answered >= 40 * 4

    run(work)


def test_a_watch_that_is_canceled_before_it_starts(settings: Config) -> None:
    async def work() -> None:
        session = AsyncSession(settings)
        await session.token()
        for _ in range(20):
            with trio.CancelScope() as scope:
                scope.cancel()
                await session.request("GET", "/wallet")
            assert (await session.request("GET", "/wallet")).status == 200

    run(work)


def test_a_watch_that_follows_one_that_is_canceled() -> None:
    """Trio starts the two in any order."""

    async def work() -> None:
        loop = running_loop()
        seen: list[int] = []
        reader, writer = os.pipe()
        os.write(writer, b"x")
        for turn in range(50):
            for _ in range(3):
                loop.add_reader(reader, seen.append, turn)
                loop.remove_reader(reader)
            loop.add_reader(reader, seen.append, turn)
            while turn not in seen:
                await trio.sleep(0)
            loop.remove_reader(reader)
        os.close(reader)
        os.close(writer)

    run(work)


def test_an_answer_is_not_lost_to_a_later_cancellation(settings: Config) -> None:
    async def work() -> None:
        session = AsyncSession(settings)
        await session.token()
        with trio.CancelScope() as scope:
            scope.cancel()
            # Not from the cache, and without a wait.
            token = await session.token(timeout=0, min_remaining=1e6)
            assert token.generation == 1
        assert not scope.cancelled_caught

    run(work)


def test_one_session_for_trio_and_asyncio(sandbox: Sandbox, settings: Config) -> None:
    session = AsyncSession(settings)

    async def work() -> str:
        assert (await session.request("GET", "/wallet")).status == 200
        return (await session.token()).fingerprint

    assert len({run(work), asyncio.run(work()), anyio.run(work, backend="trio"), run(work)}) == 1
    assert calls(sandbox, "issue") == 1


def test_trio_as_a_guest_of_asyncio(settings: Config) -> None:
    session = AsyncSession(settings)

    async def guest() -> int:
        return (await session.request("GET", "/wallet")).status

    async def host() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        trio.lowlevel.start_guest_run(
            guest, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=ended.set_result
        )
        own = (await session.request("GET", "/wallet")).status
        return own, (await ended).unwrap()

    assert asyncio.run(host()) == (200, 200)


def test_httpx_under_trio(sandbox: Sandbox, settings: Config) -> None:
    settings["base_url"] = sandbox.address["http"]

    async def work() -> None:
        async with AsyncSession(settings) as session:
            auth = SessionAuth(session, timeout=10)
            async with httpx.AsyncClient(base_url=session.base_url, auth=auth) as client:
                sandbox.ask("POST", "/revoke", {"all": True})
                assert (await client.get("/wallet")).status_code == 200

    run(work)


def test_a_program_of_asyncio_imports_no_trio(settings: Config) -> None:
    program = (
        "import asyncio, json, sys; from paymentsgate_auth import AsyncSession\n"
        "print(asyncio.run(AsyncSession(json.loads(sys.argv[1])).token()).generation)\n"
        "print(sorted({'trio', 'sniffio', 'anyio', 'gevent'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, json.dumps(settings)]
    environment = {**os.environ, "PYTHONPATH": str(Path(paymentsgate_auth.__file__).parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("1\n[]\n", "")
