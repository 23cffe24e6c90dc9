"""The text of a fresh token from a session, compared with authlib's token from memory. Ratio of medians."""

import time
from collections.abc import Callable
from statistics import median

from authlib.integrations.requests_client import OAuth2Session
from table import print_row

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

        # authlib twice: the difference is the noise.
        ways = {"ours": from_session, "authlib": from_authlib, "again": from_authlib}
        times = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, read in ways.items():
                times[name].append(nanoseconds_each(read))
        figures = (median(each) for each in times.values())
        print_row("Session.access_token in Python", "authlib", "ns", *figures)


main()
