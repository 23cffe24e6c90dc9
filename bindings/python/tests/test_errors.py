"""Exceptions: their fields, their classes, and pickling."""

from __future__ import annotations

import asyncio
import copy
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sandbox import Sandbox, closed_port
from waiting import eventually

from paymentsgate_auth import (
    AsyncSession,
    Client,
    ConfigurationError,
    DeadlineExceeded,
    Fate,
    NetworkError,
    PaymentsGateError,
    Refused,
    ServiceError,
    Session,
    Status,
)
from paymentsgate_auth._library import library

HEADER = (Path(__file__).parents[3] / "include" / "paymentsgate_auth.h").read_text()
FIELDS = [
    *("text", "status", "status_name", "http_status", "server_code", "server_message", "server_details"),
    *("retry_after", "cause", "retryable", "needs_credentials", "fate"),
]


def failure(client: Client) -> PaymentsGateError:
    with pytest.raises(PaymentsGateError) as raised:
        client.refresh("a-refresh-token")
    return raised.value


def test_every_field_of_a_refusal(sandbox: Sandbox, settings: dict[str, str]) -> None:
    body = {"error": "ERROR_X", "message": "Slow down", "details": {"limit": [1, 2]}}
    action = {"kind": "status", "status": 429, "body": body, "headers": {"retry-after": "7"}}
    sandbox.fault(action=action)
    error = failure(Client(settings))
    assert type(error) is ServiceError
    assert error.status is Status.RATE_LIMITED
    assert error.status_name == "PG_ERR_RATE_LIMITED"
    assert error.http_status == 429
    assert error.server_code == "ERROR_X"
    assert error.server_message == "Slow down"
    assert error.server_details == '{"limit":[1,2]}'
    assert error.retry_after == 7.0
    assert error.cause is None
    assert error.retryable is True
    assert error.needs_credentials is False
    assert error.fate is Fate.NOT_CONSUMED
    assert error.text == str(error)
    assert "HTTP 429 (ERROR_X)" in error.text


def test_a_failure_without_an_answer_has_none_of_its_fields(settings: dict[str, str]) -> None:
    error = failure(Client({**settings, "base_url": f"https://{closed_port()}"}))
    assert type(error) is NetworkError
    assert error.status is Status.CONNECT
    assert (error.http_status, error.server_code, error.server_message) == (None, None, None)
    assert (error.server_details, error.retry_after) == (None, None)
    assert (error.retryable, error.needs_credentials, error.fate) == (True, False, Fate.UNSENT)


def test_exception_classes(sandbox: Sandbox, settings: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        Client()
    with pytest.raises(Refused):
        Client(settings).refresh("unknown")
    with pytest.raises(ConnectionError):
        Client({**settings, "base_url": sandbox.address["expired"]}).issue()
    sandbox.fault(action={"kind": "hang"})
    with pytest.raises(TimeoutError) as raised:
        Client(settings).issue(timeout=0.2)
    assert type(raised.value) is DeadlineExceeded


def test_the_deadline_of_a_session_s_caller_has_a_cause(sandbox: Sandbox, settings: dict[str, str]) -> None:
    sandbox.fault(route="issue", action={"kind": "status", "status": 503})
    sandbox.fault(route="issue", action={"kind": "hang"})
    session = Session(settings)
    with pytest.raises(TimeoutError, match="503") as raised:
        session.token(timeout=2)
    error = raised.value
    assert isinstance(error, DeadlineExceeded)
    assert (error.status, error.cause, error.http_status) == (Status.TIMEOUT, Status.SERVER, 503)
    assert pickle.loads(pickle.dumps(error)).cause is Status.SERVER


def asked(settings: dict[str, str], call: Callable[[Session], object]) -> None:
    """Makes the call after the first attempt of a session has failed."""
    session = Session(settings)
    with pytest.raises(DeadlineExceeded):
        session.token(timeout=0)
    eventually(lambda: session.health()["last_error"])
    call(session)


def asked_in_a_loop(settings: dict[str, str], call: Callable[[AsyncSession], Any]) -> None:
    async def work() -> None:
        session = AsyncSession(settings)
        with pytest.raises(DeadlineExceeded):
            await session.token(timeout=0)
        while session.health()["last_error"] is None:
            await asyncio.sleep(0.005)
        await call(session)

    asyncio.run(work())


CALLS: list[Callable[[Any], Any]] = [
    lambda session: session.token(timeout=0.02),
    lambda session: session.refresh(timeout=0.02),
    lambda session: session.request("GET", "/wallet", timeout=0.02),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("ask", [asked, asked_in_a_loop])
def test_a_service_that_cannot_be_reached_is_named(
    settings: dict[str, str], call: Callable[[Any], Any], ask: Callable[..., None]
) -> None:
    """Between two attempts a deadline has a cause; after the last attempt the failure is raised."""
    address = closed_port()
    settings["base_url"] = f"https://{address}"
    with pytest.raises(NetworkError, match=address) as raised:
        ask(settings, call)
    if raised.value.status is Status.TIMEOUT:
        assert raised.value.cause is Status.CONNECT
    else:
        assert (raised.value.status, raised.value.cause) == (Status.CONNECT, None)


@pytest.mark.parametrize("kind", [{"kind": "hang"}, {"kind": "reset"}, {"kind": "status", "status": 401}])
def test_errors_can_be_pickled(sandbox: Sandbox, settings: dict[str, str], kind: dict[str, object]) -> None:
    sandbox.fault(action=kind)
    error = failure(Client({**settings, "refresh_timeout_ms": 200}))
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is type(error)
        assert [getattr(twin, field) for field in FIELDS] == [getattr(error, field) for field in FIELDS]


def test_the_numbers_are_those_of_the_header() -> None:
    statuses = dict(re.findall(r"\bPG_(?:ERR_)?(\w+) = (\d+),", HEADER.split("enum pg_fate")[0]))
    assert {status.name: str(status.value) for status in Status} == statuses
    assert all(library.pg_status_name(status).decode().endswith(status.name) for status in Status)
    fates = dict(re.findall(r"\bPG_FATE_(\w+) = (\d+),", HEADER))
    assert {fate.name: str(fate.value) for fate in Fate} == fates


def test_unknown_numbers_are_kept() -> None:
    status = Status(777)
    assert status == 777
    assert repr(status) == "<Status.UNKNOWN_777: 777>"
    assert pickle.loads(pickle.dumps(status)) == 777
    assert PaymentsGateError("text", status=status).status_name == "PG_ERR_UNKNOWN_STATUS"
    with pytest.raises(ValueError, match="not a valid"):
        Status("777")  # type: ignore[arg-type]
