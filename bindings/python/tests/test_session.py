"""A session: its tokens, refused tokens, the end of waits, and close()."""

from __future__ import annotations

import json
import math
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from sandbox import Sandbox
from test_client import wallet
from waiting import eventually

from paymentsgate_auth import (
    AsyncSession,
    Client,
    Closed,
    ConfigurationError,
    DeadlineExceeded,
    InvalidCall,
    PaymentsGateError,
    Refused,
    RejectedFresh,
    Session,
    Status,
)

Config = dict[str, str]
# A valid key that is not the account's.
ANOTHER_KEY = (
    "LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0KTUZrd0V3WUhLb1pJemowQ0FRWUlLb1pJemowREFRY0RRZ0FFWjkzOW5SbGRP"
    "czRqK0R0M2p5dUZBc25OblVoawpHcEFSQnpnODhmL2FEQWlJeGtIclV3dllNcW92aUNJcjhJWksxY2R3dUhZdERDdjBlZ0x4"
    "WkNDTGNBPT0KLS0tLS1FTkQgUFVCTElDIEtFWS0tLS0tCg=="
)


def calls(sandbox: Sandbox) -> tuple[int, int]:
    """Issue and refresh calls so far."""
    routes = sandbox.counters()["routes"]
    issue, refresh = (routes.get(route, {"calls": 0})["calls"] for route in ("issue", "refresh"))
    return issue, refresh


def test_one_call_obtains_a_working_token(sandbox: Sandbox, settings: Config) -> None:
    with Session(settings) as session:
        token = session.token()
        assert wallet(sandbox, token)
        assert [session.token().fingerprint for _ in range(100)] == [token.fingerprint] * 100
    assert (token.generation, token.refresh_token, token.lifetime) == (1, None, 3600)
    assert calls(sandbox) == (1, 0)


def test_the_repr_shows_the_state_and_no_secret(sandbox: Sandbox, settings: Config) -> None:
    session = Session(settings)
    assert repr(session) == "<Session expired, 0 s left, generation 0>"
    token = session.token()
    assert re.fullmatch(r"<Session fresh, 3[56]\d\d s left, generation 1>", f"{session}")
    assert not any(secret in repr(session) for secret in [token.access_token, *sandbox.secrets()])
    assert calls(sandbox) == (1, 0)
    session.close()
    assert repr(session) == "<Session closed>"
    assert repr(Session.__new__(Session)) == "<Session not open>"
    assert repr(AsyncSession(settings)) == "<AsyncSession expired, 0 s left, generation 0>"


def test_a_session_can_be_opened_in_several_ways(
    sandbox: Sandbox, settings: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(settings) as client:
        session = client.session(keep_warm=True)
    assert session.token().generation == 1
    for name, value in settings.items():
        monkeypatch.setenv("PAYMENTSGATE_" + name.replace(".", "_").upper(), value)
    assert Session.from_env(keep_warm=True).token()


def test_credentials_of_the_session_override_those_of_the_client(settings: Config) -> None:
    with pytest.raises(Refused):
        Client(settings).session(account_id="another", public_key=key(settings)).token()
    del settings["credentials_file"]
    with pytest.raises(ConfigurationError) as raised:
        Client(settings).session()
    assert raised.value.status is Status.NO_CREDENTIALS


def key(settings: Config) -> str:
    return str(json.loads(Path(settings["credentials_file"]).read_text())["public_key"])


def test_forty_threads_at_the_start_share_one_issue(sandbox: Sandbox, settings: Config) -> None:
    sandbox.fault(action={"kind": "delay", "ms": 200})
    session, together = Session(settings), threading.Barrier(40)

    def work(_: int) -> str:
        together.wait()
        return session.token().fingerprint

    with ThreadPoolExecutor(40) as pool:
        assert len(set(pool.map(work, range(40)))) == 1
    assert calls(sandbox) == (1, 0)


def test_a_token_that_is_refused_is_replaced_once(sandbox: Sandbox, settings: Config) -> None:
    session = Session(settings)
    first = session.token()
    session.reject(first, http_status=403)
    assert session.token().generation == 1
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(session.reject, [first] * 8))
        tokens = list(pool.map(lambda _: session.token(), range(8)))
    assert {token.generation for token in tokens} == {2}
    session.reject(first)
    assert session.token().generation == 2
    assert calls(sandbox) == (2, 0)


def refuse_all(session: Session) -> None:
    """Reports each new token at once. On a slow machine a pause may end before the report."""
    while True:
        session.reject(session.token())


def test_tokens_that_are_refused_soon_after_issue(settings: Config) -> None:
    """Each is replaced after a longer pause than the one before it, and is returned until then."""
    session = Session(settings)
    assert session.health()["refused_young"] == 0
    with pytest.raises(RejectedFresh, match="setting store") as raised:
        refuse_all(session)
    last = session.token()
    assert raised.value.retry_after
    assert 0 < raised.value.retry_after <= 75
    assert session.health()["refused_young"] == last.generation - 1

    def is_replaced() -> bool:
        with suppress(RejectedFresh):
            session.reject(last)
            return True
        return False

    eventually(is_replaced, timeout=90)
    assert session.token().generation == last.generation + 1


def test_refresh_on_demand(sandbox: Sandbox, settings: Config) -> None:
    session = Session(settings)
    first = session.token()
    second = session.refresh()
    assert (second.generation, second.refresh_token) == (2, None)
    assert second.fingerprint != first.fingerprint
    assert session.token().fingerprint == second.fingerprint
    assert session.access_token() == second.access_token
    sandbox.fault(route="refresh", action={"kind": "delay", "ms": 500})
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(lambda _: session.refresh(), range(8)))
    assert min(token.generation for token in tokens) == 3
    assert calls(sandbox)[0] == 1

    sandbox.fault(route="refresh", action={"kind": "hang"})
    served = session.token()
    with pytest.raises(DeadlineExceeded) as raised:
        session.refresh(timeout=0.05)
    assert raised.value.cause is None
    assert session.token().fingerprint == served.fingerprint
    with pytest.raises(InvalidCall):
        session.refresh(timeout=-1)
    with suppress(DeadlineExceeded):
        session.close(timeout=0)
    with pytest.raises(Closed):
        session.refresh()


def test_a_new_key_recovers_a_session(sandbox: Sandbox, settings: Config) -> None:
    session = Client(settings).session(account_id=sandbox.address["account_id"], public_key=ANOTHER_KEY)
    for _ in range(2):
        with pytest.raises(Refused) as raised:
            session.token()
        assert raised.value.retry_after
        assert 20 < raised.value.retry_after <= 30
    assert calls(sandbox) == (1, 0)
    session.set_credentials(sandbox.address["account_id"], key(settings))
    assert session.token()


# The last ones are valid, but a session belongs to one account.
@pytest.mark.parametrize(
    ("account", "public_key"), [("a\0b", None), ("a", "k\0"), ("", None), ("a", "key"), ("another", None)]
)
def test_invalid_credentials_are_refused(settings: Config, account: str, public_key: str | None) -> None:
    session = Session(settings)
    with pytest.raises(PaymentsGateError) as raised:
        session.set_credentials(account, key(settings) if public_key is None else public_key)
    assert raised.value.status in (Status.INVALID_ARGUMENT, Status.INVALID_PEM)
    assert session.token()


def test_health(sandbox: Sandbox, settings: Config) -> None:
    session = Session(settings)
    assert session.health()["generation"] == 0
    token = session.token()
    health = session.health()
    assert (health["phase"], health["generation"]) == ("fresh", 1)
    assert health["fingerprint"] == token.fingerprint
    assert health["counters"]["issues"] == 1
    assert not any(secret in str(health) for secret in [token.access_token, *sandbox.secrets()])


def test_metrics(sandbox: Sandbox, settings: Config) -> None:
    """Read by the parser of Prometheus' own client."""
    # It needs ssl.
    from prometheus_client.parser import text_string_to_metric_families

    client = Client(settings)
    first, second = client.session(settings), client.session(settings)
    tokens = [first.token(), second.token()]
    text = client.metrics()
    assert text.isascii()
    assert first.metrics().count("\n") == text.count("\n")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    issues = families["paymentsgate_auth_session_issues"]
    assert (issues.type, [sample.value for sample in issues.samples]) == ("counter", [1, 1])
    numbers, logins = zip(*[(s.labels["session"], s.labels["login"]) for s in issues.samples], strict=True)
    assert (len(set(numbers)), len(set(logins))) == (2, 1)
    assert re.fullmatch("[0-9a-f]{16}", logins[0])
    remaining = families["paymentsgate_auth_session_token_remaining_seconds"]
    assert remaining.type == "gauge"
    assert all(3000 < sample.value <= 3600 for sample in remaining.samples)
    assert all(family.documentation for family in families.values())
    secrets = [*(token.access_token for token in tokens), *sandbox.secrets()]
    assert not any(secret in text for secret in secrets)
    first.close()
    second.close()
    left = [family.name for family in text_string_to_metric_families(client.metrics())]
    assert left == ["paymentsgate_auth_build_info"]
    client.close()
    with pytest.raises(Closed):
        client.metrics()


def test_timeout_zero_never_waits(sandbox: Sandbox, settings: Config) -> None:
    sandbox.fault(action={"kind": "delay", "ms": 3000})
    session = Session(settings)
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        session.token(timeout=0)
    assert time.monotonic() - begun < 2
    # The call that it started continues, and the next caller waits for it.
    assert session.token()
    assert session.token(timeout=0)
    assert calls(sandbox) == (1, 0)


@pytest.mark.parametrize("timeout", [0.05, 0.5])
def test_a_wait_ends_at_its_deadline(sandbox: Sandbox, settings: Config, timeout: float) -> None:
    sandbox.fault(action={"kind": "hang"})
    # Closed here: a request that it sends later would meet the fault of the next test.
    with Session(settings) as session:
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            session.token(timeout=timeout)
        assert timeout <= time.monotonic() - begun < timeout + 3


def in_the_main_thread_and_in_another(session: Session, **ask: float) -> list[object]:
    """The results of two callers at the same time. Only one waits in slices; both results must be equal."""

    def outcome() -> object:
        try:
            return session.token(**ask).generation
        except PaymentsGateError as error:
            return error.status

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(outcome)
        return [outcome(), other.result()]


def test_a_wait_in_slices_outlasts_a_short_failure(sandbox: Sandbox, settings: Config) -> None:
    action = {"kind": "status", "status": 429, "headers": {"retry-after": "1"}}
    sandbox.fault(action=action)
    assert in_the_main_thread_and_in_another(Session(settings), timeout=5) == [1, 1]
    assert calls(sandbox) == (2, 0)


def test_a_wait_in_slices_ends_at_a_permanent_failure(sandbox: Sandbox, settings: Config) -> None:
    sandbox.fault(action={"kind": "status", "status": 429, "headers": {"retry-after": "90"}})
    begun = time.monotonic()
    outcomes = in_the_main_thread_and_in_another(Session(settings), timeout=30)
    assert outcomes == [Status.RATE_LIMITED] * 2
    assert time.monotonic() - begun < 15
    assert calls(sandbox) == (1, 0)


def test_a_wait_in_slices_does_not_return_the_old_token(sandbox: Sandbox, settings: Config) -> None:
    sandbox.switch(access_lifetime_s=10, date_header="off")
    session = Session(settings)
    assert session.token().generation == 1
    # Waits until the session may obtain another pair.
    time.sleep(2.6)
    sandbox.fault(route="refresh", action={"kind": "delay", "ms": 700})
    assert in_the_main_thread_and_in_another(session, timeout=5, min_remaining=8) == [2, 2]
    assert calls(sandbox) == (1, 1)


@pytest.mark.parametrize("least", [7200, math.inf])
def test_a_new_token_is_returned_even_if_it_is_too_short(
    sandbox: Sandbox, settings: Config, least: float
) -> None:
    session = Session(settings)
    assert session.token(min_remaining=least).generation == 1
    assert session.token(min_remaining=least).generation == 1
    assert calls(sandbox) == (1, 0)


@pytest.mark.parametrize("ask", [{"timeout": -1}, {"timeout": -math.inf}, {"min_remaining": -0.001}])
def test_a_negative_time_is_refused(settings: Config, ask: dict[str, float]) -> None:
    session = Session(settings)
    with pytest.raises(InvalidCall, match=r"is negative|timeout_ms"):
        session.token(**ask)


def test_close(sandbox: Sandbox, settings: Config) -> None:
    with Session(settings) as session:
        token = session.token()
    session.close()
    for call in (
        session.token,
        session.health,
        lambda: session.reject(token),
        lambda: session.set_credentials("a", key(settings)),
    ):
        with pytest.raises(Closed) as raised:
            call()
        assert raised.value.status is Status.CLOSED
        assert isinstance(raised.value, RuntimeError)
    assert token.access_token


def test_close_ends_the_waits_of_other_threads(sandbox: Sandbox, settings: Config) -> None:
    sandbox.fault(action={"kind": "hang"})
    session = Session({**settings, "issue_timeout_ms": "4000"})
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(session.token) for _ in range(4)]
        time.sleep(0.1)
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            session.close(timeout=0.3)
        assert 0.3 <= time.monotonic() - begun < 3
        assert all(isinstance(call.exception(timeout=1), Closed) for call in waiting)
    session.close()


def test_leaving_the_block_does_not_wait(sandbox: Sandbox, settings: Config) -> None:
    sandbox.fault(action={"kind": "hang"})
    begun = time.monotonic()
    with Session(settings) as session, pytest.raises(DeadlineExceeded):
        session.token(timeout=0.1)
    assert time.monotonic() - begun < 3
