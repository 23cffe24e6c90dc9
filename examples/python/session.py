"""Calls the API a few times with a session, which manages the tokens.

The settings come from the environment: PAYMENTSGATE_BASE_URL, PAYMENTSGATE_CREDENTIALS_FILE and, for a
service with its own certificate authority, PAYMENTSGATE_TLS_CA_FILE.
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

        # For programs with their own HTTP client: only the token.
        token = session.token(timeout=30)
        left = f"{token.remaining:.0f} s left"
        show("token", f"{token.fingerprint}  generation {token.generation}  {left}")

        # The queued events. A long-running program has `for event in subscription` in a thread.
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
