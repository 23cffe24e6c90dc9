"""Tests of wallet.py: some with a static session and a service in this process, some with the emulator."""

import httpx
import pytest
from wallet import balances

from paymentsgate_auth import Session, StaticSession
from paymentsgate_auth.testing import Sandbox

ASSETS = [{"currency": {"code": "EUR"}, "available": 300}, {"currency": {"code": "USDT"}, "available": 12.5}]


def service(*refused: str) -> httpx.MockTransport:
    """A service that refuses these tokens."""

    def answer(request: httpx.Request) -> httpx.Response:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        return httpx.Response(401) if token in refused else httpx.Response(200, json={"assets": ASSETS})

    return httpx.MockTransport(answer)


def test_the_balances_are_read() -> None:
    assert balances(StaticSession("a token"), service()) == {"EUR": "300", "USDT": "12.5"}


def test_a_refused_token_is_replaced() -> None:
    session = StaticSession("old", "new")
    assert balances(session, service("old"))
    assert [token.access_token for token in session.rejected] == ["old"]


def test_a_service_that_refuses_every_token_is_an_error() -> None:
    session = StaticSession("old", "new")
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        balances(session, service("old", "new"))
    assert len(session.rejected) == 2


def test_a_revoked_token_is_replaced(paymentsgate_session: Session, paymentsgate_sandbox: Sandbox) -> None:
    before = balances(paymentsgate_session)
    paymentsgate_sandbox.revoke()
    assert balances(paymentsgate_session) == before
    assert paymentsgate_sandbox.calls("issue") == 2


def test_a_service_that_is_unavailable_is_an_error(
    paymentsgate_session: Session, paymentsgate_sandbox: Sandbox
) -> None:
    paymentsgate_sandbox.fault("unavailable", "wallet")
    with pytest.raises(httpx.HTTPStatusError, match="503"):
        balances(paymentsgate_session)
