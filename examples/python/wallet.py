"""Shows the account's balances, read with httpx. test_wallet.py has the tests of this program.

The settings come from the environment, as for session.py.
"""

import sys

import httpx

from paymentsgate_auth import PaymentsGateError, Session, TokenProvider
from paymentsgate_auth.httpx import SessionAuth


def balances(session: TokenProvider, transport: httpx.BaseTransport | None = None) -> dict[str, str]:
    """The amount of each currency. It takes a session, or what replaces one in a test."""
    auth = SessionAuth(session, timeout=10)
    with httpx.Client(base_url=session.base_url, auth=auth, transport=transport) as api:
        answer = api.get("/wallet").raise_for_status()
    return {asset["currency"]["code"]: str(asset["available"]) for asset in answer.json()["assets"]}


def main() -> None:
    with Session.from_env(user_agent="example-python/1.0") as session:
        for currency, amount in balances(session).items():
            print(f"{currency:<6}  {amount}")


if __name__ == "__main__":
    try:
        main()
    except (PaymentsGateError, httpx.HTTPError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
