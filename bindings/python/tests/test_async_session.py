"""Sessions in event loops: waits, cancellation, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import math
import select
import selectors
import threading
import time
import weakref
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from sandbox import Sandbox
from test_request import PAYIN, calls
from test_session import ANOTHER_KEY, key

from paymentsgate_auth import (
    AsyncSession,
    Client,
    Closed,
    DeadlineExceeded,
    InvalidCall,
    Refused,
    RejectedFresh,
    Status,
)
from paymentsgate_auth._library import library
from paymentsgate_auth._loop import Operations, operations

Config = dict[str, str]
Result = TypeVar("Result")


def hang(sandbox: Sandbox, route: str = "issue") -> None:
    sandbox.fault(route=route, action={"kind": "hang"}, times=None)


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Runs in a debug loop, which reports what is not awaited or closed. Then checks that nothing is left."""
    selector = selectors.DefaultSelector()
    loop = asyncio.SelectorEventLoop(selector)
    loop.set_debug(True)
    own = len(selector.get_map())
    try:
        result = loop.run_until_complete(asyncio.wait_for(work, 20))
        assert len(selector.get_map()) == own, "a reader was left in the loop"
        assert asyncio.all_tasks(loop) == set()
        assert getattr(loop, "_paymentsgate_auth_operations", Operations())._pending == {}
        return result
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def until(condition: Any) -> None:
    """Waits until a condition holds."""
    while not condition():
        await asyncio.sleep(0.005)


def test_a_token_and_a_request(sandbox: Sandbox, settings: Config) -> None:
    async def work() -> None:
        async with AsyncSession(settings) as session:
            token = await session.token()
            assert (token.generation, token.refresh_token) == (1, None)
            assert await session.access_token() == token.access_token
            answer = await session.request("POST", "/deals/payin", json=PAYIN, headers={"X-Trace": "7"})
            assert answer.status < 300
            assert session.health()["generation"] == 1
        with pytest.raises(Closed):
            await session.token()
        with pytest.raises(Closed):
            await session.request("GET", "/wallet")

    run(work())
    assert calls(sandbox, "issue") == 1


def test_a_session_can_be_opened_in_several_ways(settings: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    async def generation(session: AsyncSession) -> int:
        return (await session.token()).generation

    with Client(settings) as client:
        session = client.async_session(keep_warm=True)
    assert run(generation(session)) == 1
    for name, value in settings.items():
        monkeypatch.setenv("PAYMENTSGATE_" + name.replace(".", "_").upper(), value)
    assert run(generation(AsyncSession.from_env())) == 1


def test_many_tasks_share_one_call_and_other_tasks_continue(sandbox: Sandbox, settings: Config) -> None:
    # A busy machine has the loop run all tasks first, which takes it some tenths of a second.
    sandbox.fault(action={"kind": "delay", "ms": 1500})

    async def work() -> None:
        session, turns = AsyncSession(settings), 0
        crowd = asyncio.gather(*(session.token() for _ in range(200)))
        while not crowd.done():
            turns += 1
            await asyncio.sleep(0)  # A turn of the loop, however short.
        assert len({token.fingerprint for token in await crowd}) == 1
        assert turns > 20

    run(work())
    assert calls(sandbox, "issue") == 1


def test_a_fresh_token_does_not_go_through_the_loop(settings: Config) -> None:
    async def work() -> None:
        session = AsyncSession(settings)
        await session.token()
        asks = [session.token(), session.token(min_remaining=60), session.access_token()]
        for ask in asks:
            with pytest.raises(StopIteration):
                ask.send(None)

    run(work())


def test_timeouts(sandbox: Sandbox, settings: Config) -> None:
    hang(sandbox)

    async def work() -> None:
        session = AsyncSession(settings)
        for timeout in (0, 0.05):
            with pytest.raises(DeadlineExceeded):
                await session.token(timeout=timeout)
        with pytest.raises(DeadlineExceeded):
            await session.request("GET", "/wallet", timeout=0.05)
        for times in ({"timeout": -1}, {"timeout": -math.inf}, {"min_remaining": -0.001}):
            with pytest.raises(InvalidCall):
                await session.token(**times)

    run(work())


async def refuse_all(session: AsyncSession) -> None:
    """Reports each new token at once. On a slow machine a pause may end before the report."""
    while True:
        session.reject(await session.token())


def test_methods_that_both_kinds_of_session_have(sandbox: Sandbox, settings: Config) -> None:
    async def work() -> None:
        session = AsyncSession(settings)
        first = await session.token()
        session.reject(first)
        second = await session.token()
        assert second.generation == 2
        with pytest.raises(RejectedFresh):
            await refuse_all(session)
        account = sandbox.address["account_id"]
        other = Client(settings).async_session(account_id=account, public_key=ANOTHER_KEY)
        with pytest.raises(Refused):
            await other.token()
        with pytest.raises(InvalidCall):
            other.set_credentials("another", key(settings))
        other.set_credentials(account, key(settings))
        assert await other.token()

    run(work())


def test_refresh_on_demand(sandbox: Sandbox, settings: Config) -> None:
    sandbox.fault(route="refresh", action={"kind": "delay", "ms": 300})

    async def work() -> None:
        session = AsyncSession(settings)
        await session.token()
        tasks = [asyncio.create_task(session.refresh()) for _ in range(100)]
        await until(lambda: calls(sandbox, "refresh"))
        tasks[0].cancel()
        tokens = await asyncio.gather(*tasks[1:])
        assert {token.generation for token in tokens} == {2}
        assert (await session.token()).fingerprint == tokens[0].fingerprint
        assert (calls(sandbox, "issue"), calls(sandbox, "refresh")) == (1, 1)
        sandbox.fault(route="refresh", action={"kind": "hang"})
        with pytest.raises(DeadlineExceeded):
            await session.refresh(timeout=0.05)
        assert (await session.token()).generation == 2

    run(work())


def test_a_canceled_task_does_not_affect_other_tasks(sandbox: Sandbox, settings: Config) -> None:
    sandbox.fault(action={"kind": "delay", "ms": 300})

    async def work() -> None:
        session = AsyncSession(settings)
        tasks = [asyncio.create_task(session.token()) for _ in range(100)]
        await until(lambda: calls(sandbox, "issue"))
        for task in tasks[::2]:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends[::2])
        assert {end.generation for end in ends[1::2] if not isinstance(end, BaseException)} == {1}
        assert (await session.token()).generation == 1

    run(work())
    assert calls(sandbox, "issue") == 1


def test_a_canceled_request_is_abandoned(sandbox: Sandbox, settings: Config) -> None:
    hang(sandbox, "payin")

    async def work() -> None:
        session = AsyncSession(settings)
        task = asyncio.create_task(session.request("POST", "/deals/payin", json=PAYIN))
        await until(lambda: calls(sandbox, "payin"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        canceled = operations()._queue.take()
        assert canceled
        assert library.pg_event_status(canceled) == Status.CANCELED

    run(work())
    assert calls(sandbox, "payin") == 1


def test_an_answer_that_arrives_between_cancel_and_task(sandbox: Sandbox, settings: Config) -> None:
    sandbox.fault(route="wallet", action={"kind": "delay", "ms": 50})

    async def work() -> None:
        session = AsyncSession(settings)
        task = asyncio.create_task(session.request("GET", "/wallet"))
        await asyncio.sleep(0)
        task.cancel()
        # Blocks the loop until the answer is there.
        assert select.select([operations()._queue.descriptor()], [], [], 10)[0]
        operations()._take()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(work())


def test_cancellation_at_every_moment(sandbox: Sandbox, settings: Config) -> None:
    """Each request ends once, with its answer or with the cancellation, and the answers are not mixed up."""

    async def work() -> None:
        session = AsyncSession(settings)
        await session.token()

        async def ask(amount: int) -> float:
            answer = await session.request("GET", f"/fx/calculation?amount={amount}")
            return float(answer.json()["finalAmount"])

        answered = 0
        for turn in range(60):
            tasks = [asyncio.create_task(ask(100 + number)) for number in range(8)]
            for _ in range(turn):
                await asyncio.sleep(0)
            if turn % 3 == 2:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks[::2]:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            for number, end in enumerate(ends):
                assert isinstance(end, asyncio.CancelledError) or end == (100 + number - 2) * 1.08
            assert not any(isinstance(end, BaseException) for end in ends[1::2])
            answered += sum(not isinstance(end, BaseException) for end in ends)
        assert answered >= 60 * 4

    run(work())


def test_loops_in_several_threads(sandbox: Sandbox, settings: Config) -> None:
    sandbox.fault(action={"kind": "delay", "ms": 200})
    session, together = AsyncSession(settings), threading.Barrier(8)

    async def work() -> set[str]:
        together.wait()
        tokens = await asyncio.gather(*(session.token() for _ in range(20)))
        answers = await asyncio.gather(*(session.request("GET", "/wallet") for _ in range(5)))
        assert {answer.status for answer in answers} == {200}
        return {token.fingerprint for token in tokens}

    with ThreadPoolExecutor(8) as pool:
        assert len(set().union(*pool.map(lambda _: run(work()), range(8)))) == 1
    assert calls(sandbox, "issue") == 1


def test_one_loop_after_the_other(sandbox: Sandbox, settings: Config) -> None:
    session, seen = AsyncSession(settings), []

    async def work() -> None:
        seen.append(weakref.ref(operations()))
        session.reject(await session.token(), http_status=403)
        assert (await session.request("GET", "/wallet")).status == 200

    for _ in range(20):
        asyncio.run(work(), debug=True)
    gc.collect()
    assert [queue() for queue in seen] == [None] * 20
    assert calls(sandbox, "issue") == 1


def test_an_event_loop_other_than_asyncio(sandbox: Sandbox, settings: Config) -> None:
    import uvloop

    sandbox.fault(action={"kind": "delay", "ms": 100})

    async def work() -> None:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        async with AsyncSession(settings) as session:
            subscription = session.subscribe()
            task = asyncio.create_task(session.token())
            await asyncio.sleep(0)
            task.cancel()
            tokens = await asyncio.gather(*(session.token() for _ in range(50)))
            assert {token.generation for token in tokens} == {1}
            for _ in range(50):
                answers = await asyncio.gather(*(session.request("GET", "/wallet") for _ in range(4)))
                assert {answer.status for answer in answers} == {200}
            assert await subscription.poll(timeout=10)
        assert [event.kind.name async for event in subscription] == []

    uvloop.run(work())
    assert calls(sandbox, "issue") == 1


def test_close_ends_the_waits(sandbox: Sandbox, settings: Config) -> None:
    hang(sandbox)

    async def work() -> None:
        session = AsyncSession(settings, issue_timeout_ms=2000)
        waiting = [asyncio.create_task(session.token()) for _ in range(4)]
        await until(lambda: calls(sandbox, "issue"))
        begun, turns = time.monotonic(), 0
        closing = asyncio.ensure_future(session.close(timeout=0.3))
        while not closing.done():
            turns += 1
            await asyncio.sleep(0)  # A turn of the loop, however short.
        assert isinstance(closing.exception(), DeadlineExceeded)
        assert time.monotonic() - begun >= 0.3
        assert turns > 10, "the loop was blocked"
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(end) for end in ends] == [Closed] * 4
        await session.close()

    run(work())


def test_a_loop_that_is_closed_during_an_operation(sandbox: Sandbox, settings: Config) -> None:
    hang(sandbox)
    session, loop = AsyncSession(settings), asyncio.new_event_loop()
    task = loop.create_task(session.token())
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.run_until_complete(until(lambda: calls(sandbox, "issue")))
    queue = weakref.ref(loop._paymentsgate_auth_operations)  # type: ignore[attr-defined]
    loop.close()
    del task, loop
    gc.collect()
    assert queue() is None
    sandbox.reset()
    session.set_credentials(sandbox.address["account_id"], key(settings))


def test_a_task_without_references_is_not_collected(sandbox: Sandbox, settings: Config) -> None:
    sandbox.fault(action={"kind": "delay", "ms": 200})
    ends: list[int] = []

    async def work() -> None:
        session = AsyncSession(settings)

        async def ask() -> None:
            ends.append((await session.token()).generation)

        asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(ask()) and None)
        await until(lambda: calls(sandbox, "issue"))
        gc.collect()
        await until(lambda: ends)

    run(work())
    assert ends == [1]
