"""Requests to the API: what is sent, what is returned, and what is never sent twice."""

from __future__ import annotations

import json
import math
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sandbox import Sandbox
from waiting import eventually

from paymentsgate_auth import (
    Closed,
    DeadlineExceeded,
    Headers,
    InvalidCall,
    NetworkError,
    PaymentsGateError,
    Session,
    Status,
    _error,
    _queue,
)
from paymentsgate_auth._library import Handle

Config = dict[str, str]
PAYIN = {"amount": 12.5, "currency": "EUR", "invoiceId": "A-17"}


def last(sandbox: Sandbox, route: str) -> dict[str, Any]:
    """The last request of a route, as the service saw it."""
    request: dict[str, Any] = sandbox.counters()["routes"][route]["last"]
    return request


def calls(sandbox: Sandbox, route: str) -> int:
    routes = sandbox.counters()["routes"]
    return int(routes[route]["calls"]) if route in routes else 0


def in_both_threads(work: Callable[[], object]) -> None:
    """Runs in the main thread and in another one. The main thread waits in slices, to handle signals."""
    work()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


def test_a_read_with_the_session_s_token(sandbox: Sandbox, settings: Config) -> None:
    session = Session(settings)

    def read() -> None:
        answer = session.request("GET", "/wallet")
        assert answer.status == 200
        assert answer.json() == json.loads(answer.text) == json.loads(answer.body)
        assert {asset["currency"]["code"] for asset in answer.json()["assets"]} == {"USDT", "EUR"}
        assert (answer.headers["Content-Type"], answer.headers["CONTENT-TYPE"]) == ("application/json",) * 2

    in_both_threads(read)
    assert last(sandbox, "wallet")["headers"]["authorization"] == f"Bearer {session.token().access_token}"
    assert "content-type" not in last(sandbox, "wallet")["headers"]
    assert sandbox.counters()["pairs_issued"] == 1


TEXT = json.dumps(PAYIN).encode()


@pytest.mark.parametrize(
    "given", [{"json": PAYIN}, {"body": TEXT}, {"body": bytearray(TEXT)}, {"body": memoryview(TEXT)}]
)
def test_a_body_and_headers(sandbox: Sandbox, settings: Config, given: dict[str, Any]) -> None:
    headers = {"X-Trace": "7", "accept": "text/plain"}
    answer = Session(settings).request("POST", "/deals/payin", headers=headers, **given)
    assert answer.status < 300
    assert answer.json()["status"] == "new"
    seen = last(sandbox, "payin")
    assert json.loads(seen["body"]) == PAYIN
    names = "x-trace", "accept", "content-type"
    assert [seen["headers"][name] for name in names] == ["7", "text/plain", "application/json"]


def test_headers_in_pairs_and_another_type(sandbox: Sandbox, settings: Config) -> None:
    pairs = [("Content-Type", "text/csv"), ("X-Trace", "1")]
    Session(settings).request("POST", "/deals/payin", headers=pairs, body=b"a\0b\xff")
    seen = last(sandbox, "payin")
    assert seen["headers"]["content-type"] == "text/csv"
    assert seen["headers"]["x-trace"] == "1"


def test_an_answer_of_any_status_is_returned(sandbox: Sandbox, settings: Config) -> None:
    body = "caf\u00e9 {"
    action = {"kind": "status", "status": 503, "body": body, "headers": {"X-Some": "a", "x-other": "b"}}
    sandbox.fault(route="wallet", action=action)
    answer = Session(settings).request("GET", "/wallet?a=%20b")
    assert (answer.status, answer.text, answer.body) == (503, body, body.encode())
    assert [answer.headers.get(name) for name in ("x-some", "X-OTHER", "none")] == ["a", "b", None]
    with pytest.raises(ValueError, match="Expecting"):
        answer.json()


def test_repeated_headers() -> None:
    headers = Headers([("set-cookie", "a"), ("date", "now"), ("set-cookie", "b")])
    assert headers["Set-Cookie"] == "a"
    assert headers.get_all("Set-Cookie") == ["a", "b"]
    assert headers.get_all("none") == []
    assert (list(headers), len(headers), "DATE" in headers) == (["set-cookie", "date"], 2, True)


def test_a_response_shows_only_its_status_and_can_be_pickled(settings: Config) -> None:
    answer = Session(settings).request("GET", "/wallet")
    assert repr(answer) == "<Response 200>"
    assert "application" not in repr(answer.headers)
    copy = pickle.loads(pickle.dumps(answer))
    assert (copy.status, copy.body, copy.headers["date"]) == (200, answer.body, answer.headers["date"])


def test_a_revoked_token_is_replaced_once(sandbox: Sandbox, settings: Config) -> None:
    session = Session(settings)
    session.token()
    sandbox.ask("POST", "/revoke", {"all": True})
    assert session.request("POST", "/deals/payin", json=PAYIN).status < 300
    assert (calls(sandbox, "payin"), sandbox.counters()["payins"]) == (2, 1)
    assert session.token().generation == 2


def test_what_may_have_been_processed_is_not_sent_again(sandbox: Sandbox, settings: Config) -> None:
    sandbox.fault(route="payin", point="after", action={"kind": "reset"})
    session = Session(settings)
    with pytest.raises(NetworkError) as raised:
        session.request("POST", "/deals/payin", json=PAYIN)
    assert raised.value.status is Status.CONNECTION_LOST
    assert raised.value.retryable is False
    assert calls(sandbox, "payin") == 1
    sandbox.fault(route="wallet", point="after", action={"kind": "reset"})
    assert session.request("GET", "/wallet").status == 200


def test_a_deadline(sandbox: Sandbox, settings: Config) -> None:
    sandbox.fault(route="wallet", action={"kind": "hang"}, times=None)
    session = Session(settings, request_timeout_ms=300)
    session.token()

    def ask(**given: float) -> None:
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            session.request("GET", "/wallet", **given)  # type: ignore[arg-type]
        assert time.monotonic() - begun < 5

    in_both_threads(ask)
    in_both_threads(lambda: ask(timeout=0.05))


def test_too_large_an_answer(sandbox: Sandbox, settings: Config) -> None:
    sandbox.fault(route="wallet", action={"kind": "status", "status": 200, "body": "x" * 2000})
    with pytest.raises(PaymentsGateError) as raised:
        Session(settings, request_max_response_bytes=1024).request("GET", "/wallet")
    assert raised.value.status is Status.ANSWER_TOO_LARGE


def test_close_abandons_requests(sandbox: Sandbox, settings: Config) -> None:
    sandbox.fault(route="wallet", action={"kind": "hang"}, times=None)
    session = Session(settings)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(session.request, "GET", "/wallet") for _ in range(4)]
        eventually(lambda: calls(sandbox, "wallet") == 4)
        session.close(timeout=5)
        assert all(isinstance(request.exception(timeout=5), Closed) for request in waiting)
    with pytest.raises(Closed):
        session.request("GET", "/wallet")


@pytest.mark.parametrize(
    "ask",
    [
        ("get", "/wallet", {}),
        ("GET\0", "/wallet", {}),
        ("GET", "wallet", {}),
        ("GET", "/wallet\0", {}),
        ("GET", "/../admin", {}),
        ("GET", "/wallet\ud800", {}),
        ("GET", "/wallet", {"headers": {"Authorization": "Bearer x"}}),
        ("GET", "/wallet", {"headers": {"X\0": "a"}}),
        ("GET", "/wallet", {"headers": {"X": "a\0b"}}),
        ("GET", "/wallet", {"headers": {"X": "a\nb"}}),
        ("GET", "/wallet", {"timeout": -1}),
        ("GET", "/wallet", {"timeout": -math.inf}),
    ],
)
def test_invalid_requests_are_refused(sandbox: Sandbox, settings: Config, ask: tuple[Any, ...]) -> None:
    method, path, more = ask
    with pytest.raises(InvalidCall):
        Session(settings).request(method, path, **more)
    assert sandbox.counters()["routes"] == {}


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"body": "text"}, "the body must be bytes, not str"),
        ({"body": b"{}", "json": {}}, "not both"),
        ({"json": {"amount": object()}}, "not JSON serializable"),
    ],
)
def test_invalid_bodies_are_refused(settings: Config, given: dict[str, Any], what: str) -> None:
    with pytest.raises(TypeError, match=what):
        Session(settings).request("POST", "/deals/payin", **given)


def test_nan_is_not_sent_as_json(settings: Config) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Session(settings).request("POST", "/deals/payin", json={"amount": math.nan})


def test_a_body_is_freed_without_the_garbage_collector(
    settings: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyPy collects garbage late, and does not count the memory of the library."""
    made: list[Handle] = []

    class Kept(Handle):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    session = Session(settings)
    session.token()
    with monkeypatch.context() as patch:
        patch.setattr(_error, "Handle", Kept)
        patch.setattr(_queue, "Handle", Kept)
        assert session.request("GET", "/wallet", timeout=30).json()
    assert {handle._free.__name__ for handle in made} == {"pg_queue_free", "pg_event_free"}
    assert [handle._as_parameter_ for handle in made] == [None] * 2
