"""Tests of wallet.py: without a network, with a static session and a service in the process of the test.

python -m pytest examples/python
"""

import httpx
import pytest
from wallet import Wallet

from paymentsgate_auth import StaticSession

ASSETS = [{"currency": {"code": "EUR"}, "available": 300}, {"currency": {"code": "USDT"}, "available": 12.5}]


def service(*refused: str) -> httpx.MockTransport:
    """A service that refuses these tokens."""

    def answer(request: httpx.Request) -> httpx.Response:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        return httpx.Response(401) if token in refused else httpx.Response(200, json={"assets": ASSETS})

    return httpx.MockTransport(answer)


def test_the_balances_are_read() -> None:
    wallet = Wallet(StaticSession("a token"), service())
    assert wallet.balances() == {"EUR": "300", "USDT": "12.5"}


def test_a_refused_token_is_replaced() -> None:
    session = StaticSession("old", "new")
    assert Wallet(session, service("old")).balances()
    assert [token.access_token for token in session.rejected] == ["old"]


def test_a_service_that_refuses_every_token_is_an_error() -> None:
    session = StaticSession("old", "new")
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        Wallet(session, service("old", "new")).balances()
    assert len(session.rejected) == 2
