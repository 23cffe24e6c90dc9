"""The vendor's own SDK with a session's tokens: examples/python/vendor_sdk.py."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from paymentsgate import ApiClient, Credentials
from paymentsgate.exceptions import APIResponseError
from paymentsgate.models import PayInModel
from test_vendor_sdk import PAYIN, admin, counters, program, sandbox  # noqa: F401

EXAMPLE = Path(__file__).parents[2] / "examples" / "python" / "vendor_sdk.py"
sys.path.insert(0, str(EXAMPLE.parent))

from vendor_sdk import AsyncSessionClient, SessionClient  # noqa: E402

from paymentsgate_auth import AsyncSession, Session  # noqa: E402


@pytest.fixture
def settings(sandbox):  # noqa: F811
    return {
        "base_url": sandbox.https,
        "credentials_file": sandbox.credentials_file,
        "tls.ca_file": sandbox.ca_file,
    }


@pytest.fixture
def client(settings):
    with Session(settings) as session:
        yield SessionClient(session)


def issues(sandbox):  # noqa: F811
    return counters(sandbox)["routes"]["issue"]["calls"]


def test_the_vendor_s_client_obtains_a_pair_for_each_request(sandbox):  # noqa: F811
    """The vendor's client without the drop-in."""
    client = ApiClient(Credentials.fromFile(sandbox.credentials_file), baseUrl=sandbox.https)
    for _ in range(3):
        client.Assets()
    assert issues(sandbox) == 3


def test_one_pair_for_all_requests(sandbox, client):  # noqa: F811
    for _ in range(3):
        assert client.Assets().assets
    assert client.Status("7").id == "7"
    assert issues(sandbox) == 1


def test_a_refused_token_is_replaced_once(sandbox, client):  # noqa: F811
    client.Assets()
    admin(sandbox, "POST", "/revoke", {"all": True})
    assert client.PayIn(PayInModel(**PAYIN)).id
    routes = counters(sandbox)["routes"]
    assert (issues(sandbox), routes["payin"]["calls"], counters(sandbox)["payins"]) == (2, 2, 1)
    fault = {"route": "wallet", "times": None, "action": {"kind": "status", "status": 401}}
    admin(sandbox, "POST", "/faults", fault)
    with pytest.raises(APIResponseError):
        client.Assets()


def test_the_asynchronous_client(sandbox, settings):  # noqa: F811
    async def work():
        async with AsyncSession(settings) as session:
            client = AsyncSessionClient(session)
            await client.Assets()
            admin(sandbox, "POST", "/revoke", {"all": True})
            assert (await client.Assets()).assets

    asyncio.run(work())
    assert (issues(sandbox), counters(sandbox)["routes"]["wallet"]["calls"]) == (2, 3)


def test_the_example_runs(sandbox, settings):  # noqa: F811
    names = {f"PAYMENTSGATE_{name.replace('.', '_').upper()}": value for name, value in settings.items()}
    done = subprocess.run(
        [sys.executable, EXAMPLE], env={**os.environ, **names}, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "issued   1 for both" in done.stdout
