"""Issues a pair, refreshes it, and calls the API with the result.

The settings come from the environment: PAYMENTSGATE_BASE_URL, PAYMENTSGATE_CREDENTIALS_FILE and, for a
service with its own certificate authority, PAYMENTSGATE_TLS_CA_FILE.
"""

import os
import ssl
import sys
import urllib.error
import urllib.request

from paymentsgate_auth import Client, PaymentsGateError, Token


def main() -> None:
    with Client.from_env() as client:
        token = client.issue()
        show("issue", token)
        token = next_pair(client, token)
        show("refresh", token)
    get("/wallet", token)


def next_pair(client: Client, token: Token) -> Token:
    """Refreshes. If the refresh token may be lost after a failure, issues a new pair with the credentials."""
    try:
        return client.refresh(token)
    except PaymentsGateError as error:
        if not error.needs_credentials:
            raise
        return client.issue()


def show(call: str, token: Token) -> None:
    has = "yes" if token.refresh_token else "no"
    print(f"{call:<7}  token {token.fingerprint}  lives {token.lifetime:.0f} s  refresh token: {has}")


def get(path: str, token: Token) -> None:
    url = os.environ["PAYMENTSGATE_BASE_URL"].rstrip("/") + path
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token.access_token}"})
    trust = ssl.create_default_context()
    if ca_file := os.environ.get("PAYMENTSGATE_TLS_CA_FILE"):
        trust.load_verify_locations(ca_file)
    with urllib.request.urlopen(request, context=trust, timeout=30) as answer:
        print(f"{path[1:]:<7}  HTTP {answer.status}  {answer.read().decode()}")


if __name__ == "__main__":
    try:
        main()
    except (PaymentsGateError, urllib.error.URLError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
