"""The text of a fresh token from a session, compared with authlib's token from memory. Ratio of medians."""

import time
from collections.abc import Callable
from statistics import median

from authlib.integrations.requests_client import OAuth2Session

from paymentsgate_auth import Session

READS = 20_000
ROUNDS = 15


def nanoseconds_each(read: Callable[[], str]) -> float:
    begin = time.perf_counter_ns()
    for _ in range(READS):
        read()
    return (time.perf_counter_ns() - begin) / READS


def main() -> None:
    with Session.from_env() as session:
        access_token = session.access_token(timeout=10)
        authlib = OAuth2Session(
            "client", token={"access_token": access_token, "expires_at": time.time() + 3600}
        )

        def from_session() -> str:
            return session.access_token()

        def from_authlib() -> str:
            authlib.ensure_active_token(authlib.token)
            return authlib.token["access_token"]

        ways = {"paymentsgate_auth Session": from_session, "authlib OAuth2Session": from_authlib}
        times = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, read in ways.items():
                times[name].append(nanoseconds_each(read))
        base = median(times["authlib OAuth2Session"])
        for name, each in times.items():
            print(f"{name:36} {median(each):8.1f} ns  {median(each) / base:6.2f}x")


main()
