"""The two calls in event loops: waits, cancellation, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import gc

import pytest
from sandbox import Sandbox
from test_async_session import hang, run, until
from test_request import calls
from test_session import key

from paymentsgate_auth import (
    AsyncClient,
    Client,
    Closed,
    DeadlineExceeded,
    Fate,
    InvalidCall,
    PaymentsGateError,
    Refused,
    Status,
)
from paymentsgate_auth._library import library
from paymentsgate_auth._loop import operations

Config = dict[str, str]


def test_a_pair_is_issued_and_refreshed(sandbox: Sandbox, settings: Config) -> None:
    async def work() -> None:
        async with AsyncClient(settings) as client:
            first = await client.issue()
            second = await client.refresh(first)
            third = await client.refresh(str(second.refresh_token), access_token=second.access_token)
            assert await client.issue(sandbox.address["account_id"], key(settings), timeout=10)
        assert len({token.fingerprint for token in (first, second, third)}) == 3
        assert third.refresh_token
        assert third.generation == 0

    sandbox.switch(bearer_on_refresh="required")
    run(work())
    assert (calls(sandbox, "issue"), calls(sandbox, "refresh")) == (2, 2)


def test_a_client_can_be_made_in_several_ways(settings: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        client = AsyncClient.from_env()
        assert client.base_url == settings["base_url"]
        session = client.session(keep_warm=True)
        client.close()
        client.close()
        async with session:
            assert (await session.token()).generation == 1
        for call in (client.issue(), client.refresh("token")):
            with pytest.raises(Closed, match="the client is closed"):
                await call
        with pytest.raises(Closed, match="the client is closed"):
            client.session()

    for name, value in settings.items():
        monkeypatch.setenv("PAYMENTSGATE_" + name.replace(".", "_").upper(), value)
    run(work())


def test_calls_run_concurrently_and_other_tasks_continue(sandbox: Sandbox, settings: Config) -> None:
    hang(sandbox)

    async def work() -> None:
        client = AsyncClient(settings)
        crowd = [asyncio.create_task(client.issue()) for _ in range(20)]
        await until(lambda: calls(sandbox, "issue") == 20)
        for task in crowd:
            task.cancel()
        ends = await asyncio.gather(*crowd, return_exceptions=True)
        assert {type(end) for end in ends} == {asyncio.CancelledError}

    run(work())


def test_what_the_service_refuses(settings: Config) -> None:
    async def work() -> None:
        client = AsyncClient(settings)
        with pytest.raises(Refused) as refused:
            await client.refresh("a-refresh-token")
        assert refused.value.fate is Fate.REFUSED
        with pytest.raises(Refused):
            await client.issue("another", key(settings))

    run(work())


def test_timeouts(sandbox: Sandbox, settings: Config) -> None:
    hang(sandbox, "refresh")

    async def work() -> None:
        client = AsyncClient(settings)
        with pytest.raises(InvalidCall, match="timeout_ms"):
            await client.issue(timeout=-1)
        for timeout, fate in ((0, Fate.UNSENT), (0.3, Fate.UNKNOWN)):
            with pytest.raises(DeadlineExceeded) as late:
                await client.refresh("a-refresh-token", timeout=timeout)
            assert late.value.fate is fate

    run(work())
    assert calls(sandbox, "refresh") == 1


# ruff takes the two surrogates for duplicates.
@pytest.mark.parametrize("text", ["to\0ken", "token\udcff", "token\ud800", ""])  # noqa: PT014
def test_invalid_texts_are_refused_as_by_a_blocking_client(
    sandbox: Sandbox, settings: Config, text: str
) -> None:
    def fields(error: PaymentsGateError) -> tuple[object, ...]:
        return type(error), error.status, error.text, error.fate

    async def work() -> None:
        client, blocking = AsyncClient(settings), Client(settings)
        for refresh_token, access_token in ((text, None), ("token", text)):
            with pytest.raises(InvalidCall) as raised:
                await client.refresh(refresh_token, access_token=access_token)
            with pytest.raises(InvalidCall) as expected:
                blocking.refresh(refresh_token, access_token=access_token)
            assert fields(raised.value) == fields(expected.value)
        with pytest.raises(InvalidCall):
            await client.issue(text, key(settings))

    run(work())
    assert sandbox.counters()["routes"] == {}


def test_a_token_without_a_refresh_token(sandbox: Sandbox, settings: Config) -> None:
    sandbox.switch(issue_returns_refresh_token=False)

    async def work() -> None:
        client = AsyncClient(settings)
        with pytest.raises(InvalidCall, match="no refresh token"):
            await client.refresh(await client.issue())

    run(work())


def test_a_canceled_call_is_abandoned_and_others_are_not(sandbox: Sandbox, settings: Config) -> None:
    sandbox.fault(route="refresh", action={"kind": "delay", "ms": 400}, times=None)

    async def work() -> None:
        client = AsyncClient(settings)
        pairs = await asyncio.gather(*(client.issue() for _ in range(2)))
        given_up, wanted = (asyncio.create_task(client.refresh(pair)) for pair in pairs)
        await until(lambda: calls(sandbox, "refresh") == 2)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        canceled = operations()._queue.take()
        assert canceled
        assert library.pg_event_status(canceled) == Status.CANCELED
        assert (await wanted).refresh_token

    run(work())
    assert sandbox.counters()["most_presentations"] == 1


def test_cancellation_at_every_moment(sandbox: Sandbox, settings: Config) -> None:
    """Each call ends once: with its own pair or with the cancellation."""

    async def work() -> None:
        client, seen = AsyncClient(settings), []
        for turn in range(30):
            tasks = [asyncio.create_task(client.issue()) for _ in range(4)]
            for _ in range(turn):
                await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            for end in await asyncio.gather(*tasks, return_exceptions=True):
                if not isinstance(end, asyncio.CancelledError):
                    assert not isinstance(end, BaseException)
                    seen.append(end.fingerprint)
        assert len(set(seen)) == len(seen) >= 30 * 2

    run(work())


def test_one_loop_after_the_other_and_another_loop_type(settings: Config) -> None:
    import uvloop

    client = AsyncClient(settings)

    async def work() -> None:
        task = asyncio.create_task(client.issue())
        await asyncio.sleep(0)
        task.cancel()
        assert (await client.refresh(await client.issue())).refresh_token

    for _ in range(3):
        asyncio.run(work(), debug=True)
        uvloop.run(work())


def test_a_loop_that_is_closed_during_a_call(sandbox: Sandbox, settings: Config) -> None:
    hang(sandbox)
    client, loop = AsyncClient(settings), asyncio.new_event_loop()
    task = loop.create_task(client.issue())
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.run_until_complete(until(lambda: calls(sandbox, "issue")))
    loop.close()
    del task, loop
    gc.collect()
    sandbox.reset()
    assert run(client.issue())
