"""Shows the account's balances, read with httpx. test_wallet.py has the tests of this program.

The settings come from the environment, as for session.py.
"""

import sys

import httpx

from paymentsgate_auth import PaymentsGateError, Session, TokenProvider
from paymentsgate_auth.httpx import SessionAuth


class Wallet:
    """The account's wallet. It takes a session, or what replaces one in a test."""

    def __init__(self, session: TokenProvider, transport: httpx.BaseTransport | None = None) -> None:
        auth = SessionAuth(session, timeout=10)
        self._api = httpx.Client(base_url=session.base_url, auth=auth, transport=transport)

    def balances(self) -> dict[str, str]:
        """The amount of each currency."""
        answer = self._api.get("/wallet").raise_for_status()
        return {asset["currency"]["code"]: str(asset["available"]) for asset in answer.json()["assets"]}


def main() -> None:
    with Session.from_env(user_agent="example-python/1.0") as session:
        for currency, amount in Wallet(session).balances().items():
            print(f"{currency:<6}  {amount}")


if __name__ == "__main__":
    try:
        main()
    except (PaymentsGateError, httpx.HTTPError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
