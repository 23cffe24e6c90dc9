"""Static sessions in place of sessions: what the modules for HTTP clients do with them, without a network."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import aiohttp.web
import httpx
import pytest
import requests

from paymentsgate_auth import (
    AsyncSession,
    AsyncStaticSession,
    AsyncTokenProvider,
    Closed,
    InvalidCall,
    RejectedFresh,
    Session,
    StaticSession,
    Status,
    Token,
    TokenProvider,
)
from paymentsgate_auth.aiohttp import SessionMiddleware
from paymentsgate_auth.httpx import SessionAuth
from paymentsgate_auth.requests import SessionAuth as RequestsAuth


def blocking(settings: dict[str, str]) -> list[TokenProvider]:
    """The type checker proves that each is a provider."""
    return [Session(settings), StaticSession("a token")]


def awaited(settings: dict[str, str]) -> list[AsyncTokenProvider]:
    return [AsyncSession(settings), AsyncStaticSession("a token")]


def test_sessions_and_static_sessions_are_providers(settings: dict[str, str]) -> None:
    for provider in blocking(settings):
        token = provider.token(20, min_remaining=60)
        assert f"{token}" == f"<Token {token.fingerprint}>"
        provider.reject(token, 403)
        assert provider.token(timeout=0).fingerprint == token.fingerprint

    async def work() -> None:
        for provider in awaited(settings):
            token = await provider.token(20, min_remaining=60)
            provider.reject(token, 403)
            assert (await provider.token(timeout=0)).fingerprint == token.fingerprint

    asyncio.run(work())


def test_a_static_token_has_all_that_a_token_has() -> None:
    token = StaticSession("abc").token()
    assert isinstance(token, Token)
    assert token.fingerprint == "ba7816bf8f01cfea"
    assert (token.access_token, token.refresh_token) == ("abc", None)
    assert (token.lifetime, token.remaining, token.lifetime_disagreement) == (3600, 3600, 0)
    assert token.generation == 1
    of_token = {name for name, value in vars(Token).items() if isinstance(value, property)}
    assert of_token <= vars(type(token)).keys(), "a property would call the library"


def test_the_fingerprint_is_that_of_a_session(settings: dict[str, str]) -> None:
    with Session(settings) as session:
        token = session.token(20)
        assert StaticSession(token.access_token).token().fingerprint == token.fingerprint


def test_a_static_session_never_calls_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("paymentsgate_auth.") and hasattr(module, "library"):
            monkeypatch.setattr(module, "library", None)
    session = StaticSession("first", "second")
    session.reject(session.token())
    token = session.token()
    shown = f"{session!r} {token.access_token} {token!r} {token.remaining} {token.generation}"
    assert "second" in shown
    with pytest.raises(RejectedFresh):
        session.reject(token)


def test_a_rejected_token_is_followed_by_the_next() -> None:
    session = StaticSession("first", "second")
    first = session.token()
    session.reject(first, 403)
    session.reject(StaticSession("another").token())
    assert session.token() is first
    session.reject(first)
    # Another thread reports what it saw; the second token stays.
    session.reject(first)
    second = session.token()
    assert (second.access_token, second.generation) == ("second", 2)
    with pytest.raises(RejectedFresh) as raised:
        session.reject(second)
    assert (raised.value.status, raised.value.retry_after) == (Status.REJECTED_FRESH, 1)
    assert session.token() is second
    assert [token.access_token for token in session.rejected] == ["another", "first", "first", "second"]


def test_a_closed_static_session_is_as_a_closed_session() -> None:
    with StaticSession("a token") as session:
        token = session.token()
    session.close(timeout=10)
    for call in (session.token, lambda: session.reject(token)):
        with pytest.raises(Closed):
            call()
    assert repr(session) == "<StaticSession closed>"

    async def work() -> None:
        async with AsyncStaticSession("a token") as awaited:
            token = await awaited.token()
        await awaited.close(timeout=10)
        with pytest.raises(Closed):
            await awaited.token()
        with pytest.raises(Closed):
            awaited.reject(token)

    asyncio.run(work())


def test_no_text_is_shown() -> None:
    session = StaticSession("hunter2-hunter2", "hunter2-next")
    shown = [repr(session), repr(vars(session)), repr(session.token()), repr(vars(session.token()))]
    assert not any("hunter2" in text for text in shown)
    assert shown[0] == "<StaticSession generation 1>"


def test_a_real_session_refuses_to_be_told_of_a_static_token(settings: dict[str, str]) -> None:
    with Session(settings) as session, pytest.raises(InvalidCall):
        session.reject(StaticSession("a token").token())


def refuse(*texts: str) -> Callable[[httpx.Request], httpx.Response]:
    """A service that answers 401 to these tokens."""
    refused = {f"Bearer {text}" for text in texts}

    def answer(request: httpx.Request) -> httpx.Response:
        sent = request.headers.get("Authorization", "")
        return httpx.Response(401 if sent in refused else 200, text=sent)

    return answer


@pytest.mark.parametrize(("refused", "status"), [([], 200), (["first"], 200), (["first", "second"], 401)])
def test_httpx(refused: list[str], status: int) -> None:
    session = StaticSession("first", "second")
    transport = httpx.MockTransport(refuse(*refused))
    with httpx.Client(base_url=session.base_url, auth=SessionAuth(session), transport=transport) as client:
        answer = client.get("/wallet")
    assert (answer.status_code, len(session.rejected)) == (status, len(refused))
    assert answer.text == ("Bearer second" if refused else "Bearer first")

    awaited = AsyncStaticSession("first", "second")

    async def work() -> httpx.Response:
        auth = SessionAuth(awaited)
        async with httpx.AsyncClient(base_url=awaited.base_url, auth=auth, transport=transport) as client:
            return await client.get("/wallet")

    answer = asyncio.run(work())
    assert (answer.status_code, len(awaited.rejected)) == (status, len(refused))


def test_httpx_clients_need_the_matching_static_session() -> None:
    transport = httpx.MockTransport(refuse())
    with (
        httpx.Client(transport=transport, auth=SessionAuth(AsyncStaticSession("a token"))) as client,
        pytest.raises(TypeError, match=r"an httpx\.Client needs a Session"),
    ):
        client.get("https://paymentsgate.invalid")

    async def work() -> None:
        auth = SessionAuth(StaticSession("a token"))
        async with httpx.AsyncClient(transport=transport, auth=auth) as client:
            await client.get("https://paymentsgate.invalid")

    with pytest.raises(TypeError, match="needs an AsyncSession"):
        asyncio.run(work())


class Service(requests.adapters.BaseAdapter):
    """A service in the process of the test."""

    def __init__(self, *refused: str) -> None:
        super().__init__()
        self._refused = {f"Bearer {text}" for text in refused}

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        answer = requests.Response()
        answer.status_code = 401 if request.headers.get("Authorization") in self._refused else 200
        answer.request, answer._content = request, b""
        answer.connection = self  # type: ignore[assignment]
        return answer

    def close(self) -> None:
        """Nothing to close."""


def test_requests() -> None:
    session = StaticSession("first", "second")
    with requests.Session() as client:
        client.mount("https://", Service("first"))
        client.auth = RequestsAuth(session)
        answer = client.get(f"{session.base_url}/wallet", timeout=5)
        elsewhere = client.get("https://elsewhere.invalid/wallet", timeout=5)
    assert (answer.status_code, answer.request.headers["Authorization"]) == (200, "Bearer second")
    assert "Authorization" not in elsewhere.request.headers


def test_aiohttp() -> None:
    async def serve(request: aiohttp.web.Request) -> aiohttp.web.Response:
        sent = request.headers["Authorization"]
        return aiohttp.web.Response(status=401 if sent == "Bearer first" else 200, text=sent)

    async def work() -> None:
        service = aiohttp.web.Application()
        service.router.add_get("/wallet", serve)
        runner = aiohttp.web.AppRunner(service)
        await runner.setup()
        site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        session = AsyncStaticSession("first", "second", base_url=f"http://127.0.0.1:{port(runner)}")
        middlewares = [SessionMiddleware(session)]
        async with (
            aiohttp.ClientSession(session.base_url, middlewares=middlewares) as client,
            client.get("/wallet") as answer,
        ):
            assert (answer.status, await answer.text()) == (200, "Bearer second")
        await runner.cleanup()

    asyncio.run(work())


def port(runner: aiohttp.web.AppRunner) -> int:
    [(_, number)] = runner.addresses
    return int(number)
