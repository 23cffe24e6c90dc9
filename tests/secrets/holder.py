"""The program of the tests in Python: it uses a session and closes it. It takes the text of one token."""

from __future__ import annotations

import gc

from paymentsgate_auth import Session


def live() -> str:
    """Returns the text of the first token."""
    with Session.from_env() as session:
        text = session.token().access_token
        print("kept", text, flush=True)
        session.refresh()
        session.request("GET", "/wallet")
        print("stage active", flush=True)
        input()
    return text


kept = live()
gc.collect()
print("stage closed", flush=True)
input()
print(len(kept))
