"""The vendor's own SDK against the emulator: if it can read the answers, they have the form of the service.

PG_SANDBOX names the built `pg-sandbox`:

    python -m venv venv && venv/bin/pip install -r tests/vendor_sdk/requirements.txt
    cargo build -p pg-sandbox
    PG_SANDBOX=target/debug/pg-sandbox venv/bin/pytest tests/vendor_sdk
"""

import asyncio
import json
import os
import subprocess
from decimal import Decimal
from types import SimpleNamespace
from urllib.request import Request, urlopen

import pytest
from paymentsgate import ApiClient, Credentials, Currencies, InvoiceTypes, Statuses
from paymentsgate.client import ApiAsyncClient
from paymentsgate.exceptions import APIAuthenticationError, APIResponseError
from paymentsgate.models import GetQuoteModel, PayInModel
from paymentsgate.tokens import AccessToken

PAYIN = dict.fromkeys(PayInModel.model_fields) | {
    "amount": 10.5,
    "currency": Currencies.EUR,
    "invoiceId": "invoice-1",
    "type": InvoiceTypes.iban,
}


@pytest.fixture(scope="module")
def program():
    """A running emulator, as its one line of JSON describes it."""
    with subprocess.Popen([os.environ["PG_SANDBOX"]], stdout=subprocess.PIPE) as process:
        yield SimpleNamespace(**json.loads(process.stdout.readline()))
        process.terminate()


@pytest.fixture
def sandbox(program, monkeypatch):
    """The emulator after a reset. The SDK reads its trusted authorities only from the environment."""
    monkeypatch.setenv("SSL_CERT_FILE", program.ca_file)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    admin(program, "POST", "/reset")
    return program


@pytest.fixture(params=["http", "https"])
def client(sandbox, request):
    return ApiClient(Credentials.fromFile(sandbox.credentials_file), baseUrl=getattr(sandbox, request.param))


def admin(sandbox, method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = Request(sandbox.admin + path, method=method, data=data)
    with urlopen(request) as answer:
        return json.load(answer)


def counters(sandbox):
    return admin(sandbox, "GET", "/counters")


def test_a_token_is_issued_and_the_wallet_read(sandbox, client):
    assets = client.Assets().assets
    assert [asset.currency.code for asset in assets] == [Currencies.USDT, Currencies.EUR]
    assert assets[0].total == 1250.5
    routes = counters(sandbox)["routes"]
    assert routes["issue"]["outcomes"] == {"200": 1}
    assert routes["wallet"]["outcomes"] == {"200": 1}
    issue = routes["issue"]["last"]
    assert json.loads(issue["body"]) == {"account_id": sandbox.account_id, "public_key": sandbox.public_key}
    assert issue["headers"]["content-type"] == "application/json"


def test_the_token_is_a_jwt_whose_expiry_the_sdk_reads(client):
    token = client.get_token()
    assert isinstance(token, AccessToken)
    assert not token.is_expired


def test_a_deal_is_read(client):
    deal = client.Status("7")
    assert deal.id == "7"
    assert deal.status.name == Statuses.pending
    assert deal.currencyFrom.code == Currencies.EUR


def test_a_quote_is_read(client):
    quote = client.Quote(
        GetQuoteModel(currency_from=Currencies.EUR, currency_to=Currencies.USDT, amount=Decimal("100"))
    )
    assert quote.finalAmount > 0
    assert quote.quotes[0].pair == "EUR/USDT"


def test_a_pay_in_is_executed_once(sandbox, client):
    first, second = client.PayIn(PayInModel(**PAYIN)), client.PayIn(PayInModel(**PAYIN))
    assert first.id == second.id
    assert first.status == Statuses.new
    assert first.type == InvoiceTypes.iban
    seen = counters(sandbox)
    assert (seen["payins"], seen["duplicate_payins"]) == (1, 1)


def test_wrong_credentials_are_an_authentication_error(sandbox):
    credentials = Credentials(account_id=sandbox.account_id, public_key="else")
    with pytest.raises(APIAuthenticationError) as raised:
        ApiClient(credentials, baseUrl=sandbox.http).Assets()
    assert (raised.value.error, raised.value.code) == ("ERROR_CREDENTIALS_NOT_FOUND", 401)


@pytest.mark.parametrize("key", ["details", "data"])
def test_the_object_in_an_error_is_read_under_both_names(sandbox, key):
    admin(sandbox, "PATCH", "/switches", {"details_key": key})
    client = ApiClient(Credentials.fromFile(sandbox.credentials_file), baseUrl=sandbox.http)
    with pytest.raises(APIResponseError) as raised:
        client.Status("canceled/credentials")
    assert raised.value.error == "DEAL_CANCELED"
    assert getattr(raised.value, key) == {"id": "canceled"}


def test_the_asynchronous_client_keeps_its_token(sandbox):
    client = ApiAsyncClient(Credentials.fromFile(sandbox.credentials_file), baseUrl=sandbox.https)

    async def read_twice():
        return [await client.Assets(), await client.Assets()]

    assert len(asyncio.run(read_twice())) == 2
    routes = counters(sandbox)["routes"]
    assert (routes["issue"]["calls"], routes["wallet"]["calls"]) == (1, 2)
