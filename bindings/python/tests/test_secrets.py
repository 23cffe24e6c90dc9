"""Nothing shows a secret: no repr, no format, no pickle, and no traceback, even with local variables."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from sandbox import Sandbox

from paymentsgate_auth import AsyncClient, AsyncSession, Client, PaymentsGateError, Session, Token

SECRET = "hunter2-hunter2-hunter2"


def test_a_token_is_shown_as_its_fingerprint(
    settings: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    token = Client(settings).issue()
    logging.getLogger().warning("%s %r", token, token)
    shown = [repr(token), str(token), f"{token}", f"{[token]}", "%s" % token, caplog.text]  # noqa: UP031
    assert set(shown[:3]) == {f"<Token {token.fingerprint}>"}
    for text in [*shown, repr(vars(token)), repr(dir(token))]:
        assert token.access_token not in text
        assert str(token.refresh_token) not in text


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
def test_tokens_clients_and_sessions_cannot_be_pickled(
    settings: dict[str, str], take: Callable[[object], object]
) -> None:
    client = Client(settings)
    with pytest.raises(TypeError, match="a Token cannot be pickled or copied"):
        take(client.issue())
    with pytest.raises(TypeError, match="a Client cannot be pickled or copied"):
        take(client)
    with pytest.raises(TypeError, match="a Session cannot be pickled or copied"):
        take(client.session())


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.issue("account", SECRET),
        lambda client: client.refresh(SECRET),
        lambda client: client.refresh(SECRET + "\0"),
        lambda client: client.refresh(SECRET, access_token=SECRET + "\n"),
        lambda client: client.refresh("token\ud800", access_token=SECRET),
        lambda client: client.refresh(client.session().token(), access_token=SECRET),
        lambda client: Client(base_url="https://host", account_id="a", public_key=SECRET),
        lambda client: Client({"proxy": f"ftp://user:{SECRET}@host"}),
        lambda client: Client.from_env(base_url=f"https://user:{SECRET}@host"),
        lambda client: Session(base_url="https://host", account_id="a", public_key=SECRET),
        lambda client: Session.from_env({"proxy": f"ftp://user:{SECRET}@host"}),
        lambda client: client.session(account_id="a", public_key=SECRET),
        lambda client: client.session().set_credentials("account", SECRET),
        lambda client: client.session().set_credentials("account", SECRET + "\0"),
        lambda client: Session(base_url="https://host", access_token=SECRET),
        lambda client: client.session(access_token=SECRET, refresh_token=SECRET + "\0"),
        lambda client: client.session().request("GET", f"/{SECRET}\0", headers={"X": SECRET}),
        lambda client: client.session().request("PUT", "/", headers={"X": SECRET + "\n"}),
        lambda client: client.session().request("put", "/", json={"key": SECRET}),
        lambda client: client.session().request("PUT", f"/a?b={SECRET}", body=SECRET.encode(), timeout=0),
        lambda client: asyncio.run(
            client.async_session().request("PUT", f"/a?b={SECRET}", json=SECRET, timeout=0)
        ),
    ],
)
def test_no_frame_of_a_traceback_holds_one(
    settings: dict[str, str], call: Callable[[Client], object]
) -> None:
    with pytest.raises(PaymentsGateError) as raised:
        call(Client(settings))
    shows_nothing(raised.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.issue("account", SECRET),
        lambda client: client.refresh(SECRET),
        lambda client: client.refresh(SECRET + "\0", access_token=SECRET),
        lambda client: client.refresh("token\ud800", access_token=SECRET),
    ],
)
def test_no_frame_of_a_task_holds_one(
    settings: dict[str, str], call: Callable[[AsyncClient], Coroutine[Any, Any, Token]]
) -> None:
    with pytest.raises(PaymentsGateError) as raised:
        asyncio.run(call(AsyncClient(settings)))
    shows_nothing(raised.value)


@pytest.mark.parametrize(
    "ask", [lambda pair: Session(pair).token(), lambda pair: asyncio.run(AsyncSession(pair).token())]
)
def test_a_pair_that_is_refused_is_not_shown(
    settings: dict[str, str], ask: Callable[[dict[str, str]], object]
) -> None:
    del settings["credentials_file"]
    pair = {"access_token": SECRET, "refresh_token": SECRET, "access_token_expires_in_s": "0"}
    with pytest.raises(PaymentsGateError) as raised:
        ask({**settings, **pair})
    shows_nothing(raised.value)


def shows_nothing(error: PaymentsGateError) -> None:
    for part in (error, pickle.loads(pickle.dumps(error))):
        assert SECRET not in f"{part} {part!r} {vars(part)}"
    # The frames of the caller come first. They contain the caller's own variables.
    own = error.__traceback__
    while own and "paymentsgate_auth" not in own.tb_frame.f_code.co_filename:
        own = own.tb_next
    assert own
    shown = traceback.TracebackException(type(error), error, own, capture_locals=True)
    assert SECRET not in "".join(shown.format())


def test_secrets_echoed_by_the_server_are_removed(sandbox: Sandbox, settings: dict[str, str]) -> None:
    body = {"error": "ERROR_X", "message": f"unknown: {SECRET}", "details": {"token": SECRET}}
    sandbox.fault(action={"kind": "status", "status": 400, "body": body})
    with pytest.raises(PaymentsGateError) as raised:
        Client(settings).refresh(SECRET)
    assert SECRET not in str(vars(raised.value))
