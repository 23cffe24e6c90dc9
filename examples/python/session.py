"""Reads the wallet a few times with the tokens of a session.

Where the service is, and who is calling, comes from the environment: PAYMENTSGATE_BASE_URL,
PAYMENTSGATE_CREDENTIALS_FILE and, where the service has an authority of its own, PAYMENTSGATE_TLS_CA_FILE.
"""

import json
import os
import ssl
import sys
import urllib.error
import urllib.request

from paymentsgate_auth import PaymentsGateError, Session, Token


def main() -> None:
    with Session.from_env() as session:
        for _ in range(3):
            show("wallet", get(session, "/wallet"))
        show("health", json.dumps(session.health()))


def get(session: Session, path: str) -> str:
    """A token may die before its time: the session gets another one. A second refusal is not about that."""
    token = session.token(timeout=30)
    try:
        return get_with(token, path)
    except urllib.error.HTTPError as error:
        session.reject(token, error.code)
        if error.code != 401:
            raise
    return get_with(session.token(timeout=30), path)


def get_with(token: Token, path: str) -> str:
    left = f"{token.remaining:.0f} s left"
    show("token", f"{token.fingerprint}  generation {token.generation}  {left}")
    url = os.environ["PAYMENTSGATE_BASE_URL"].rstrip("/") + path
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token.access_token}"})
    trust = ssl.create_default_context()
    if ca_file := os.environ.get("PAYMENTSGATE_TLS_CA_FILE"):
        trust.load_verify_locations(ca_file)
    with urllib.request.urlopen(request, context=trust, timeout=30) as answer:
        return f"HTTP {answer.status}  {answer.read().decode()}"


def show(what: str, text: str) -> None:
    print(f"{what:<7}  {text}")


if __name__ == "__main__":
    try:
        main()
    except (PaymentsGateError, urllib.error.URLError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
