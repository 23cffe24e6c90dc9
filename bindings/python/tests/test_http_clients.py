"""httpx, requests and aiohttp with a session's token: one retry after a 401, and no token for other hosts."""

from __future__ import annotations

import asyncio
import io
import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest
import requests
from http_clients import CLIENTS, REWINDS_FILES, Ask
from sandbox import Sandbox
from test_request import PAYIN, calls, last
from test_session import key

from paymentsgate_auth import AsyncSession, DeadlineExceeded, Refused, Session, Token, _bearer
from paymentsgate_auth._bearer import DEFAULT_WAIT, is_same_origin, wait_for_token
from paymentsgate_auth.httpx import SessionAuth
from paymentsgate_auth.requests import SessionAuth as RequestsAuth

Config = dict[str, str]
BODY = json.dumps(PAYIN).encode()


@pytest.fixture(params=CLIENTS)
def client_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ask(client_name: str, settings: Config) -> Iterator[Ask]:
    with CLIENTS[client_name](settings) as ask:
        yield ask


def revoke(sandbox: Sandbox) -> None:
    sandbox.ask("POST", "/revoke", {"all": True})


def outcomes(sandbox: Sandbox, route: str) -> dict[str, int]:
    """How often the service answered with each HTTP status."""
    counted: dict[str, int] = sandbox.counters()["routes"][route]["outcomes"]
    return counted


def test_one_token_for_many_requests(sandbox: Sandbox, ask: Ask) -> None:
    assert [ask("GET", "/wallet").status for _ in range(3)] == [200, 200, 200]
    assert "USDT" in ask("GET", "/wallet").text
    assert calls(sandbox, "issue") == 1


def test_a_refused_token_is_replaced_once(sandbox: Sandbox, ask: Ask) -> None:
    assert ask("GET", "/wallet").status == 200
    revoke(sandbox)
    answer = ask("POST", "/deals/payin", BODY)
    assert answer.status < 300, answer.text
    assert json.loads(last(sandbox, "payin")["body"]) == PAYIN
    assert (outcomes(sandbox, "payin")["401"], calls(sandbox, "payin")) == (1, 2)
    assert (sandbox.counters()["payins"], calls(sandbox, "issue")) == (1, 2)
    assert ask("GET", "/wallet").status == 200
    assert outcomes(sandbox, "wallet") == {"200": 2}


def test_a_stream_is_not_sent_twice(sandbox: Sandbox, ask: Ask) -> None:
    ask("GET", "/wallet")
    revoke(sandbox)
    assert ask("POST", "/deals/payin", iter([BODY[:9], BODY[9:]])).status == 401
    assert outcomes(sandbox, "payin") == {"401": 1}
    assert last(sandbox, "payin")["body"].encode() == BODY
    # The token was reported anyway.
    assert ask("GET", "/wallet").status == 200
    assert outcomes(sandbox, "wallet") == {"200": 2}


def test_a_file_is_sent_again_whole_or_not_at_all(sandbox: Sandbox, ask: Ask, client_name: str) -> None:
    ask("GET", "/wallet")
    revoke(sandbox)
    status = ask("POST", "/deals/payin", io.BytesIO(BODY)).status
    assert (status < 300) if client_name in REWINDS_FILES else (status == 401)
    assert calls(sandbox, "payin") == (2 if client_name in REWINDS_FILES else 1)
    assert last(sandbox, "payin")["body"].encode() == BODY


def test_a_service_that_refuses_every_token_is_asked_twice(sandbox: Sandbox, ask: Ask) -> None:
    sandbox.fault(route="wallet", times=None, action={"kind": "status", "status": 401})
    assert ask("GET", "/wallet").status == 401
    assert calls(sandbox, "wallet") == 2
    # The tokens were refused soon after issue. Another one would not help, so the session obtains none.
    assert ask("GET", "/wallet").status == 401
    assert (calls(sandbox, "wallet"), calls(sandbox, "issue")) == (3, 2)


def test_each_refusal_is_reported_and_two_are_enough(
    sandbox: Sandbox, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the session raises no RejectedFresh."""
    reported: list[Token] = []
    monkeypatch.setattr(Session, "reject", lambda _, token: reported.append(token))
    monkeypatch.setattr(AsyncSession, "reject", lambda _, token: reported.append(token))
    sandbox.fault(route="wallet", times=None, action={"kind": "status", "status": 401})
    assert ask("GET", "/wallet").status == 401
    assert (calls(sandbox, "wallet"), len(reported)) == (2, 2)


@pytest.mark.parametrize("status", [400, 403, 500])
def test_any_other_answer_is_returned(sandbox: Sandbox, ask: Ask, status: int) -> None:
    sandbox.fault(route="wallet", action={"kind": "status", "status": status})
    assert ask("GET", "/wallet").status == status
    assert (calls(sandbox, "wallet"), calls(sandbox, "issue")) == (1, 1)


def test_without_a_token_the_request_raises_the_reason(
    sandbox: Sandbox, settings: Config, client_name: str
) -> None:
    account = {name: value for name, value in settings.items() if name != "credentials_file"}
    account |= {"account_id": "another", "public_key": key(settings)}
    with CLIENTS[client_name](account) as ask, pytest.raises(Refused):
        ask("GET", "/wallet")
    assert calls(sandbox, "wallet") == 0


class OtherHost(BaseHTTPRequestHandler):
    """Another host: refuses every request, and records its headers."""

    seen: list[dict[str, str]]

    def do_GET(self) -> None:
        self.seen.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Writes nothing to the output of the tests."""


@pytest.fixture
def other_host() -> Iterator[HTTPServer]:
    OtherHost.seen = []
    with HTTPServer(("127.0.0.1", 0), OtherHost) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_another_host_is_sent_no_token(sandbox: Sandbox, ask: Ask, other_host: HTTPServer) -> None:
    assert ask("GET", f"http://127.0.0.1:{other_host.server_port}/wallet").status == 401
    assert ["authorization" in headers for headers in OtherHost.seen] == [False]
    assert calls(sandbox, "issue") == 0


@pytest.mark.parametrize(
    ("url", "same_origin"),
    [
        ("https://pay.example/wallet", True),
        ("https://pay.example:443/deals?a=https://other.example", True),
        ("HTTPS://Pay.Example", True),
        ("http://pay.example/wallet", False),
        ("http://pay.example:443/wallet", False),
        ("https://pay.example:8443/wallet", False),
        ("https://pay.example.other.example/wallet", False),
        ("https://pay.example@other.example/wallet", False),
        ("https://other.example/https://pay.example", False),
        ("https://pay.example:port/wallet", False),
        ("/wallet", False),
        ("", False),
    ],
)
def test_same_origin(settings: Config, url: str, same_origin: bool) -> None:
    with Session({**settings, "base_url": "https://pay.example/api"}) as session:
        assert is_same_origin(session, url) is same_origin


@pytest.mark.parametrize("status", [302, 307])
def test_a_redirect_carries_no_token(sandbox: Sandbox, ask: Ask, other_host: HTTPServer, status: int) -> None:
    to = {"location": f"http://127.0.0.1:{other_host.server_port}/wallet"}
    sandbox.fault(route="wallet", action={"kind": "status", "status": status, "headers": to})
    # The 401 of the other host does not concern the token, which was not sent to it.
    assert ask("GET", "/wallet").status == 401
    assert ["authorization" in headers for headers in OtherHost.seen] == [False]
    assert ask("GET", "/wallet").status == 200
    assert (calls(sandbox, "wallet"), calls(sandbox, "issue")) == (2, 1)


def test_a_redirected_request_is_not_repeated(sandbox: Sandbox, ask: Ask) -> None:
    """The pay-in was processed. Then the target of its redirect refused the token."""
    sandbox.fault(
        route="payin",
        point="after",
        action={"kind": "status", "status": 303, "headers": {"location": "/wallet"}},
    )
    sandbox.fault(route="wallet", action={"kind": "status", "status": 401})
    ask("POST", "/deals/payin", BODY)
    assert calls(sandbox, "payin") == 1
    assert ask("GET", "/wallet").status == 200
    assert calls(sandbox, "issue") == 2


def test_httpx_clients_need_the_matching_type_of_session(settings: Config) -> None:
    blocking, awaited = SessionAuth(Session(settings)), SessionAuth(AsyncSession(settings))
    with pytest.raises(TypeError, match=r"an httpx\.Client needs a Session"), httpx.Client() as client:
        client.get("http://127.0.0.1", auth=awaited)

    async def work() -> None:
        async with httpx.AsyncClient() as client:
            await client.get("http://127.0.0.1", auth=blocking)

    with pytest.raises(TypeError, match="needs an AsyncSession"):
        asyncio.run(work())


@pytest.mark.parametrize(
    ("own", "client", "seconds"),
    [
        (None, (), DEFAULT_WAIT),
        (None, (None,), DEFAULT_WAIT),
        (None, (object(),), DEFAULT_WAIT),
        (None, (3, None, 0.5), 3),
        (0, (3,), 0),
        (60, (3,), 60),
        (math.inf, (3,), math.inf),
    ],
)
def test_how_long_a_request_waits_for_a_token(own: float | None, client: Any, seconds: float) -> None:
    assert wait_for_token(own, client) == seconds


@pytest.mark.parametrize("client_name", ["requests", "aiohttp"])
def test_without_a_timeout_the_wait_for_a_token_has_the_default_limit(
    sandbox: Sandbox, settings: Config, client_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_bearer, "DEFAULT_WAIT", 0.05)
    sandbox.fault(route="issue", times=None, action={"kind": "hang"})
    with CLIENTS[client_name](settings) as ask, pytest.raises(DeadlineExceeded):
        ask("GET", "/wallet")
    assert calls(sandbox, "wallet") == 0


def test_the_timeout_of_an_httpx_request_limits_the_wait_for_a_token(
    sandbox: Sandbox, settings: Config
) -> None:
    sandbox.fault(route="issue", times=None, action={"kind": "hang"})
    with (
        Session(settings) as session,
        httpx.Client(auth=SessionAuth(session)) as client,
        pytest.raises(DeadlineExceeded),
    ):
        client.get(f"{session.base_url}/wallet", timeout=0.05)

    async def work() -> None:
        async with AsyncSession(settings) as session, httpx.AsyncClient(auth=SessionAuth(session)) as client:
            await client.get(f"{session.base_url}/wallet", timeout=0.05)

    with pytest.raises(DeadlineExceeded):
        asyncio.run(work())
    assert calls(sandbox, "wallet") == 0


def test_the_timeout_of_a_request_limits_the_wait_for_the_token_after_a_401(
    sandbox: Sandbox, settings: Config
) -> None:
    with Session(settings) as session:
        session.token(20)
        revoke(sandbox)
        sandbox.fault(route="issue", times=None, action={"kind": "hang"})
        sandbox.fault(route="refresh", times=None, action={"kind": "hang"})
        with pytest.raises(DeadlineExceeded):
            requests.get(
                f"{session.base_url}/wallet",
                auth=RequestsAuth(session),
                timeout=(0.05, 0.5),
                verify=settings["tls.ca_file"],
            )
    assert calls(sandbox, "wallet") == 1


def test_the_wait_for_a_token_is_limited(sandbox: Sandbox, settings: Config) -> None:
    sandbox.fault(route="issue", times=None, action={"kind": "hang"})
    with (
        Session(settings) as session,
        httpx.Client(auth=SessionAuth(session, timeout=0.05)) as client,
        pytest.raises(DeadlineExceeded),
    ):
        client.get(f"{session.base_url}/wallet")
    assert calls(sandbox, "wallet") == 0
