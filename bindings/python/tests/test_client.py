"""The blocking client: the two calls, its settings, and close()."""

from __future__ import annotations

import ctypes
import json
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from sandbox import Sandbox

from paymentsgate_auth import (
    Client,
    Closed,
    ConfigurationError,
    DeadlineExceeded,
    Fate,
    InvalidCall,
    PaymentsGateError,
    Status,
    Token,
)

Config = dict[str, str]


def wallet(sandbox: Sandbox, token: Token) -> dict[str, object]:
    # The interpreter of the tests for musl has no such module.
    import ssl

    request = urllib.request.Request(
        sandbox.address["https"] + "/wallet", headers={"Authorization": f"Bearer {token.access_token}"}
    )
    trust = ssl.create_default_context(cafile=sandbox.address["ca_file"])
    with urllib.request.urlopen(request, context=trust, timeout=10) as answer:
        body: dict[str, object] = json.load(answer)
        return body


def test_a_pair_is_issued_and_refreshed_and_works(sandbox: Sandbox, settings: Config) -> None:
    with Client(settings) as client:
        first = client.issue()
        second = client.refresh(first)
    assert wallet(sandbox, first)
    assert wallet(sandbox, second)
    assert second.fingerprint != first.fingerprint
    assert second.refresh_token not in (None, first.refresh_token)


def test_properties_of_a_token(settings: Config) -> None:
    token = Client(settings).issue()
    assert token.fingerprint == sha256(token.access_token.encode()).hexdigest()[:16]
    assert token.lifetime == 3600
    assert token.lifetime_disagreement == 0
    assert token.generation == 0
    assert 3590 < token.remaining <= 3600


def test_a_token_outlives_its_client(settings: Config) -> None:
    with Client(settings) as client:
        token = client.issue()
    del client
    assert token.access_token


def test_the_service_may_send_no_refresh_token(sandbox: Sandbox, settings: Config) -> None:
    sandbox.switch(issue_returns_refresh_token=False)
    client = Client(settings)
    token = client.issue()
    assert token.refresh_token is None
    with pytest.raises(InvalidCall, match="no refresh token") as raised:
        client.refresh(token)
    assert raised.value.needs_credentials


def test_the_text_of_a_refresh_token_is_sent_alone(sandbox: Sandbox, settings: Config) -> None:
    client = Client(settings)
    token = client.issue()
    assert token.refresh_token
    client.refresh(token.refresh_token)
    assert "authorization" not in sandbox.counters()["routes"]["refresh"]["last"]["headers"]


def test_an_access_token_is_sent_if_given(sandbox: Sandbox, settings: Config) -> None:
    sandbox.switch(bearer_on_refresh="required")
    client = Client(settings)
    token = client.issue()
    assert token.refresh_token
    token = client.refresh(token.refresh_token, access_token=token.access_token)
    client.refresh(token)


def test_keywords_paths_numbers_and_booleans(sandbox: Sandbox) -> None:
    address = sandbox.address
    client = Client(
        base_url=address["https"],
        tls_ca_file=Path(address["ca_file"]),
        tls_system_roots=False,
        connect_timeout_ms=2000,
        user_agent="shop/7",
        send_bearer_on_refresh=False,
    )
    token = client.issue(address["account_id"], address["public_key"])
    client.refresh(token)
    last = sandbox.counters()["routes"]["refresh"]["last"]["headers"]
    assert last["user-agent"] == "shop/7"
    assert "authorization" not in last


def test_the_environment_is_python_s_copy(settings: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """C must not read its own while a thread changes it. What only C code has set does not count."""
    set_by_c, unset = ctypes.CDLL(None).setenv, ctypes.CDLL(None).unsetenv
    set_by_c(b"PAYMENTSGATE_CONNECT_TIMEOUT_MS", b"soon", 1)
    try:
        assert Client.from_env(settings)
        monkeypatch.setenv("PAYMENTSGATE_CONNECT_TIMEOUT_MS", "later")
        named = "^PAYMENTSGATE_CONNECT_TIMEOUT_MS = .*later"
        with pytest.raises(ConfigurationError, match=named) as failure:
            Client.from_env(settings)
        assert failure.value.status is Status.INVALID_SETTING
    finally:
        unset(b"PAYMENTSGATE_CONNECT_TIMEOUT_MS")


def test_settings_override_the_environment(
    sandbox: Sandbox, settings: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv("PAYMENTSGATE_" + name.replace(".", "_").upper(), value)
    assert Client.from_env().issue()
    monkeypatch.setenv("PAYMENTSGATE_BASE_URL", "https://name.invalid")
    assert Client.from_env(base_url=sandbox.address["https"]).issue()


def test_a_setting_of_another_type_is_named_and_not_shown() -> None:
    with pytest.raises(TypeError, match=r"base_url must be .*, not bytes") as raised:
        Client({"base_url": b"https://user:hunter2@host"})  # type: ignore[dict-item]
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("name", ["no_such_setting", "base_url\0", "tls.ca_file ", "\udcff"])
def test_a_setting_that_does_not_exist(name: str) -> None:
    with pytest.raises(PaymentsGateError) as raised:
        Client({name: "https://host"})
    assert raised.value.status in (Status.UNKNOWN_SETTING, Status.INVALID_UTF8)


# ruff takes the two surrogates for duplicates.
@pytest.mark.parametrize("text", ["to\0ken", "token\udcff", "token\ud800", ""])  # noqa: PT014
def test_invalid_texts_are_refused_by_the_library(settings: Config, text: str) -> None:
    for refresh_token, access_token in ((text, None), ("token", text)):
        with pytest.raises(InvalidCall) as raised:
            Client(settings).refresh(refresh_token, access_token=access_token)
        assert raised.value.status in (Status.INVALID_ARGUMENT, Status.INVALID_UTF8)


def test_timeout_zero_sends_nothing(sandbox: Sandbox, settings: Config) -> None:
    with pytest.raises(TimeoutError) as raised:
        Client(settings).refresh("token", timeout=0)
    assert isinstance(raised.value, DeadlineExceeded)
    assert raised.value.fate is Fate.UNSENT
    assert sandbox.counters()["routes"] == {}


@pytest.mark.parametrize("timeout", [-0.0001, -0.001, -1, float("-inf")])
def test_a_negative_timeout_is_refused_and_is_not_the_default(settings: Config, timeout: float) -> None:
    with pytest.raises(InvalidCall, match="timeout_ms"):
        Client(settings).issue(timeout=timeout)


@pytest.mark.parametrize("timeout", [0.9999, 10, float("inf"), 1e300])
def test_any_other_timeout_is_accepted(settings: Config, timeout: float) -> None:
    assert Client(settings).issue(timeout=timeout)


def test_threads_share_a_client(sandbox: Sandbox, settings: Config) -> None:
    def work(client: Client) -> str:
        token = client.issue()
        for _ in range(5):
            token = client.refresh(token)
        return token.fingerprint

    with Client(settings) as client, ThreadPoolExecutor(16) as pool:
        fingerprints = list(pool.map(work, [client] * 16))
    assert len(set(fingerprints)) == 16
    assert sandbox.counters()["most_presentations"] == 1


def test_other_threads_run_during_a_call(sandbox: Sandbox, settings: Config) -> None:
    sandbox.fault(action={"kind": "delay", "ms": 300})
    client = Client(settings)
    thread = threading.Thread(target=client.issue)
    thread.start()
    turns = 0
    while thread.is_alive():
        time.sleep(0.001)
        turns += 1
    assert turns > 50


def test_a_client_is_closed_during_calls(sandbox: Sandbox, settings: Config) -> None:
    sandbox.fault(action={"kind": "delay", "ms": 300}, times=None)
    client = Client(settings)
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(client.issue) for _ in range(8)]
        time.sleep(0.1)
        client.close()
        client.close()
        for call in (client.issue, client.session):
            with pytest.raises(Closed, match="the client is closed"):
                call()
        assert all(call.result().access_token for call in calls)


def test_closing_races_with_calls(settings: Config) -> None:
    for _ in range(20):
        client = Client(settings)
        with ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(client.issue) for _ in range(8)]
            client.close()
        for call in calls:
            assert isinstance(call.exception(), Closed | None)
