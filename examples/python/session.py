"""Calls the API a few times with a session, which sees to the tokens.

Where the service is, and who is calling, comes from the environment: PAYMENTSGATE_BASE_URL,
PAYMENTSGATE_CREDENTIALS_FILE and, where the service has an authority of its own, PAYMENTSGATE_TLS_CA_FILE.
"""

import json
import sys

from paymentsgate_auth import LogLevel, PaymentsGateError, Session


def main() -> None:
    with Session.from_env(user_agent="example-python/1.0") as session:
        subscription = session.subscribe(LogLevel.INFO)
        for _ in range(3):
            answer = session.request("GET", "/wallet", timeout=30)
            show("wallet", f"HTTP {answer.status}  {answer.text}")

        # For callers with an HTTP client of their own: the token alone.
        token = session.token(timeout=30)
        left = f"{token.remaining:.0f} s left"
        show("token", f"{token.fingerprint}  generation {token.generation}  {left}")

        # What waits by now. A program that runs for long has `for event in subscription` in a thread.
        while event := subscription.poll(timeout=0):
            show("event", f"{event.kind.name.lower()}  {event.text or event.error or event.token}")
        show("health", json.dumps(session.health()))


def show(what: str, text: str) -> None:
    print(f"{what:<7}  {text}")


if __name__ == "__main__":
    try:
        main()
    except PaymentsGateError as error:
        sys.exit(f"{type(error).__name__}: {error}")
