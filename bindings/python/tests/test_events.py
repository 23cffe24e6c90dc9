"""Events and log lines of a session: in order, complete, and without secrets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sandbox import Sandbox
from test_async_session import run, until
from test_session import key
from waiting import eventually

from paymentsgate_auth import (
    AsyncSession,
    AsyncSubscription,
    Client,
    Closed,
    DeadlineExceeded,
    Event,
    EventKind,
    InvalidCall,
    LogLevel,
    PaymentsGateError,
    Session,
    Status,
    Subscription,
)

Config = dict[str, str]


def queued(subscription: Subscription) -> list[Event]:
    """The queued events, without waiting."""
    return list(iter(lambda: subscription.poll(0), None))


def kinds(events: list[Event]) -> list[str]:
    return [event.kind.name for event in events]


def test_events_of_a_session(sandbox: Sandbox, settings: Config) -> None:
    session = Session(settings)
    subscription = session.subscribe()
    assert subscription.poll(0) is None
    assert subscription.poll(0.01) is None
    token = session.token()
    session.close()
    rotated, ended = queued(subscription)
    assert (rotated.kind, rotated.error, rotated.text) == (EventKind.ROTATED, None, None)
    assert rotated.token
    assert (rotated.token.fingerprint, rotated.token.refresh_token) == (token.fingerprint, None)
    assert (ended.kind, ended.token) == (EventKind.ENDED, None)
    assert isinstance(ended.error, Closed)
    # The subscription has ended: later calls return nothing.
    assert (subscription.poll(), list(subscription)) == (None, [])


def test_failure_events_have_an_error(sandbox: Sandbox, settings: Config) -> None:
    session = Client(settings).session(account_id="another", public_key=key(settings))
    subscription = session.subscribe()
    with pytest.raises(PaymentsGateError):
        session.token()
    events = queued(subscription)
    assert {"REFRESH_FAILED", "CREDENTIALS_REJECTED"} <= set(kinds(events))
    assert {event.error.status for event in events if event.error} == {Status.REFUSED}
    assert all(event.error for event in events)


def test_iterating_waits_and_ends_with_the_session(settings: Config) -> None:
    session, begun = Session(settings), threading.Event()

    def listen() -> list[str]:
        with session.subscribe() as subscription:
            begun.set()
            return [event.kind.name for event in subscription]

    with ThreadPoolExecutor(1) as pool:
        heard = pool.submit(listen)
        begun.wait()
        session.token()
        session.close()
        assert heard.result(timeout=10) == ["ROTATED"]


def test_close_ends_the_iteration(settings: Config) -> None:
    session = Session(settings)
    subscription = session.subscribe()
    with ThreadPoolExecutor(1) as pool:
        heard = pool.submit(list, subscription)
        subscription.close()
        assert heard.result(timeout=10) == []
    subscription.close()
    other = session.subscribe()
    other.close()
    ended = other.poll()
    assert ended
    assert ended.error
    assert (ended.error.status, type(ended.error)) == (Status.CANCELED, PaymentsGateError)
    assert session.token()


def test_it_ends_when_the_session_is_collected(settings: Config) -> None:
    subscription = Session(settings).subscribe()
    gc.collect()
    assert kinds(queued(subscription)) == ["ENDED"]


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        (LogLevel.NONE, set()),
        (LogLevel.WARN, set()),
        (3, {LogLevel.INFO}),
        (4, {LogLevel.INFO, LogLevel.DEBUG}),
    ],
)
def test_log_lines(sandbox: Sandbox, settings: Config, level: int, heard: set[LogLevel]) -> None:
    session = Session(settings)
    subscription = session.subscribe(log_level=level)
    token = session.token()
    session.close()
    log = [event for event in subscription if event.kind is EventKind.LOG]
    assert {event.level for event in log} == heard
    assert all(event.text for event in log)
    assert token.access_token not in repr(log)


@pytest.mark.parametrize("level", [-1, 5, 1000])
def test_an_unknown_log_level_is_refused(settings: Config, level: int) -> None:
    with pytest.raises(InvalidCall, match="log_level"):
        Session(settings).subscribe(level)


def test_a_subscription_shows_no_secret(sandbox: Sandbox, settings: Config) -> None:
    session = from_pair(settings)
    subscription = session.subscribe(LogLevel.DEBUG)
    token = session.token()
    events = queued(subscription)
    pair = next(event.token for event in events if event.token)
    shown = f"{events!r} {events[0]} {vars(events[0])} {vars(subscription)} {subscription!r}"
    assert token.fingerprint in shown
    assert token.access_token not in shown
    assert str(pair.refresh_token) not in shown


def test_events_in_an_event_loop(sandbox: Sandbox, settings: Config) -> None:
    async def work() -> None:
        session = AsyncSession(settings)
        with session.subscribe() as subscription:
            assert await subscription.poll(timeout=0) is None
            assert await subscription.poll(timeout=0.01) is None
            heard: list[str] = []

            async def listen() -> None:
                async for event in subscription:
                    heard.append(event.kind.name)

            listener = asyncio.create_task(listen())
            # A canceled wait loses no event.
            await asyncio.sleep(0)
            listener.cancel()
            await asyncio.wait([listener])
            listener = asyncio.create_task(listen())
            await session.token()
            await until(lambda: heard)
            await session.close()
            await listener
            assert heard == ["ROTATED"]
            assert await subscription.poll() is None

    run(work())


def test_a_canceled_wait_loses_no_event(settings: Config) -> None:
    async def work() -> None:
        session = AsyncSession(settings)
        subscription = session.subscribe()
        for _ in range(50):
            wait = asyncio.create_task(subscription.poll())
            await asyncio.sleep(0)
            wait.cancel()
            await asyncio.wait([wait])
        token = await session.token()
        event = await subscription.poll()
        assert event
        assert event.token
        assert event.token.fingerprint == token.fingerprint

    run(work())


def from_pair(settings: Config, **more: object) -> Session:
    """A session from a pair, without the credentials."""
    pair = Client(settings).issue()
    without_credentials = {name: value for name, value in settings.items() if name != "credentials_file"}
    texts = {"access_token": pair.access_token, "refresh_token": str(pair.refresh_token)}
    return Session({**without_credentials, **texts, **{name: str(value) for name, value in more.items()}})


def test_a_pair_of_known_age_is_used(sandbox: Sandbox, settings: Config) -> None:
    session = from_pair(settings, access_token_expires_in_s=3000)
    assert 2990 < session.token().remaining <= 3000
    assert session.request("GET", "/wallet").status == 200
    assert "refresh" not in sandbox.counters()["routes"]


def test_every_pair_opens_the_next_session(sandbox: Sandbox, settings: Config) -> None:
    """A pair of unknown age is renewed before use, and the program gets the new pair."""
    pair = Client(settings).issue()
    without_credentials = {name: value for name, value in settings.items() if name != "credentials_file"}
    for turn in range(1, 6):
        assert pair.refresh_token
        with (
            Session(
                without_credentials,
                access_token=pair.access_token,
                refresh_token=pair.refresh_token,
                access_token_expires_in_s=0 if turn % 2 else 1,
                on_ambiguous="fail",
            ) as session,
            session.subscribe() as subscription,
        ):
            token = session.token()
            assert token.refresh_token is None
            (rotated,) = queued(subscription)
            assert rotated.kind is EventKind.ROTATED
            assert rotated.token
            assert (rotated.token.fingerprint, rotated.token.generation) == (token.fingerprint, 2)
            pair = rotated.token
    counters = sandbox.counters()
    assert (counters["pairs_issued"], counters["pairs_refreshed"]) == (1, 5)
    assert counters["most_presentations"] == 1


def ends_by_close(session: Session) -> None:
    with pytest.raises(DeadlineExceeded):
        session.close(timeout=0)


def ends_with_its_scope(session: Session) -> None:
    with session:
        pass


ENDS: list[Callable[[Session], None]] = [ends_by_close, ends_with_its_scope, Session.close, lambda _: None]


@pytest.mark.parametrize("end", ENDS)
def test_a_pair_that_arrives_after_close(
    sandbox: Sandbox, settings: Config, end: Callable[[Session], None]
) -> None:
    """The session ends while its pair is replaced. The subscription gets the new pair, and then the end."""
    session = from_pair(settings, access_token_expires_in_s=3600)
    subscription = session.subscribe()
    refresh_slowly(sandbox, session)
    end(session)
    del session
    gc.collect()
    rotated, ended = subscription.poll(), subscription.poll()
    assert rotated
    assert ended
    assert (rotated.kind, ended.kind) == (EventKind.ROTATED, EventKind.ENDED)
    assert isinstance(ended.error, Closed)
    assert rotated.token
    assert Client(settings).refresh(rotated.token)
    assert sandbox.counters()["most_presentations"] == 1


@pytest.mark.parametrize("ends_by_itself", [True, False])
def test_a_pair_that_arrives_after_close_in_an_event_loop(
    sandbox: Sandbox, settings: Config, ends_by_itself: bool
) -> None:
    pair = Client(settings).issue()
    texts = {"access_token": pair.access_token, "refresh_token": str(pair.refresh_token)}
    without_credentials = {name: value for name, value in settings.items() if name != "credentials_file"}

    async def work() -> list[Event]:
        session = AsyncSession({**without_credentials, **texts, "access_token_expires_in_s": "3600"})
        subscription = session.subscribe()
        listener = asyncio.create_task(heard(subscription))
        async with session:
            sandbox.fault(route="refresh", action={"kind": "delay", "ms": 1500})
            with pytest.raises(DeadlineExceeded):
                await session.refresh(timeout=0)
            await until(lambda: refreshes(sandbox))
            if not ends_by_itself:
                await session.close()
        del session
        return await listener

    rotated, ended = run(work())
    assert (rotated.kind, ended.kind) == (EventKind.ROTATED, EventKind.ENDED)
    assert rotated.token
    assert Client(settings).refresh(rotated.token)
    assert sandbox.counters()["most_presentations"] == 1


async def heard(subscription: AsyncSubscription) -> list[Event]:
    events: list[Event] = []
    while event := await subscription.poll():
        events.append(event)
    return events


def refreshes(sandbox: Sandbox) -> int:
    count: int = sandbox.counters()["routes"].get("refresh", {"calls": 0})["calls"]
    return count


def refresh_slowly(sandbox: Sandbox, session: Session) -> None:
    """Starts a slow refresh of the session's pair."""
    sandbox.fault(route="refresh", action={"kind": "delay", "ms": 1500})
    with pytest.raises(DeadlineExceeded):
        session.refresh(timeout=0)
    eventually(lambda: refreshes(sandbox))


@pytest.mark.parametrize(("choice", "presentations"), [("fail", 1), ("issue", 1), ("replay", 2)])
def test_a_lost_answer(sandbox: Sandbox, settings: Config, choice: str, presentations: int) -> None:
    sandbox.fault(route="refresh", point="after", action={"kind": "reset"})
    pair = Client(settings).issue()
    texts = {"access_token": pair.access_token, "refresh_token": str(pair.refresh_token)}
    session = Client(settings).session({**texts, "on_ambiguous": choice, "access_token_expires_in_s": 0})
    with session.subscribe() as subscription:
        if choice == "fail":
            with pytest.raises(PaymentsGateError):
                session.token()
        else:
            assert session.token().generation == 2
        assert "AMBIGUOUS" in kinds(queued(subscription))
    assert sandbox.counters()["most_presentations"] == presentations


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("test.paymentsgate_auth")
    logger.setLevel(logging.INFO)
    yield logger
    logger.setLevel(logging.NOTSET)


def test_the_log_goes_to_a_logger(
    sandbox: Sandbox, settings: Config, logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    session = Session(settings)
    session.log_to(logger)
    token = session.token()
    session.request("GET", "/wallet")
    session.close()
    eventually(lambda: not log_threads())
    assert {(record.name, record.levelno) for record in caplog.records} == {(logger.name, logging.INFO)}
    assert token.fingerprint in caplog.text
    assert "the session is closed" in caplog.text
    assert not any(secret in caplog.text for secret in [token.access_token, *sandbox.secrets()])


class Gate(logging.Handler):
    """Writes no line before it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = threading.Event()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        assert self.opened.wait(60)
        self.lines.append(record.getMessage())


@pytest.fixture
def gate(logger: logging.Logger) -> Iterator[Gate]:
    gate = Gate()
    logger.addHandler(gate)
    yield gate
    gate.opened.set()
    eventually(lambda: not log_threads())
    logger.removeHandler(gate)


def limit_wait_for_log(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    for module in ("_session", "_async_session"):
        monkeypatch.setattr(f"paymentsgate_auth.{module}.LAST_LINES", seconds)


def test_close_waits_for_the_last_lines(
    settings: Config, logger: logging.Logger, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_wait_for_log(monkeypatch, 30)
    session = Session(settings)
    session.log_to(logger)
    threading.Timer(0.1, gate.opened.set).start()
    session.close(timeout=30)
    assert "the session is closed" in gate.lines[-1]


def test_an_async_close_waits_for_the_last_lines_while_the_loop_continues(
    settings: Config, logger: logging.Logger, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_wait_for_log(monkeypatch, 30)

    async def work() -> None:
        session = AsyncSession(settings)
        session.log_to(logger)
        # Only the loop opens the gate.
        asyncio.get_running_loop().call_later(0.1, gate.opened.set)
        await session.close(timeout=30)
        assert "the session is closed" in gate.lines[-1]

    asyncio.run(work())


@pytest.mark.parametrize(("limit", "timeout"), [(0.05, None), (30, 0), (30, 0.05)])
def test_close_does_not_wait_for_a_log_that_hangs(
    settings: Config,
    logger: logging.Logger,
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
    limit: float,
    timeout: float | None,
) -> None:
    limit_wait_for_log(monkeypatch, limit)
    session, awaited = Session(settings), AsyncSession(settings)
    for each in (session, awaited):
        each.log_to(logger)
    began = time.monotonic()
    with contextlib.suppress(DeadlineExceeded):
        session.close(timeout)
    with contextlib.suppress(DeadlineExceeded):
        asyncio.run(awaited.close(timeout))
    assert time.monotonic() - began < 25
    assert gate.lines == []


@pytest.mark.parametrize("kind", [Session, AsyncSession])
def test_a_handler_of_the_log_may_close_the_session(
    settings: Config,
    logger: logging.Logger,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Session | AsyncSession],
) -> None:
    limit_wait_for_log(monkeypatch, 60)
    session = kind(settings)
    took: list[float] = []

    class Closes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            began = time.monotonic()
            if closing := session.close(timeout=60):
                asyncio.run(closing)
            took.append(time.monotonic() - began)

    handler = Closes()
    logger.addHandler(handler)
    session.log_to(logger)
    # The end of a block does not wait, so that the line is written while nothing else waits for it.
    session._close(0)
    eventually(lambda: not log_threads(), 90)
    logger.removeHandler(handler)
    assert took
    assert max(took) < 45


def test_the_level_of_the_logger_applies(
    sandbox: Sandbox, settings: Config, logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    logger.setLevel(logging.WARNING)
    with Client(settings).session(account_id="another", public_key=key(settings)) as session:
        session.log_to(logger)
        with pytest.raises(PaymentsGateError):
            session.token()
    eventually(lambda: not log_threads())
    assert {record.levelno for record in caplog.records} == {logging.WARNING, logging.ERROR}


def test_the_library_s_own_logger(
    sandbox: Sandbox, settings: Config, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "paymentsgate_auth")
    with Session(settings) as session:
        session.log_to()
        session.token()
    eventually(lambda: not log_threads())
    assert {record.name for record in caplog.records} == {"paymentsgate_auth"}
    assert {logging.INFO, logging.DEBUG} <= {record.levelno for record in caplog.records}


def test_without_handlers_nothing_is_written(settings: Config) -> None:
    program = """if True:
        import json, logging, sys, paymentsgate_auth
        logger = logging.getLogger("paymentsgate_auth")
        assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]
        assert logger.level == logging.NOTSET and logger.propagate
        session = paymentsgate_auth.Session(json.loads(sys.argv[1]))
        session.log_to()
        subscription = session.subscribe(paymentsgate_auth.LogLevel.WARN)
        try:
            session.token()
        except paymentsgate_auth.Refused:
            session.close()
        assert any(event.kind == paymentsgate_auth.EventKind.LOG for event in subscription)
    """
    account = {"account_id": "another", "public_key": key(settings)}
    del settings["credentials_file"]
    command = [sys.executable, "-c", program, json.dumps({**settings, **account})]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_logger_does_not_keep_a_session_alive(settings: Config, logger: logging.Logger) -> None:
    Session(settings).log_to(logger)
    gc.collect()
    eventually(lambda: not log_threads())


def log_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pg-log"]
