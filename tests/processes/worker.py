"""One process of a fleet: asks for tokens repeatedly, uses them, and reports as lines of JSON.

Its one argument is JSON: ``settings`` of the session, ``wallet`` (the business API, without TLS: only
the token matters), ``pause_s`` between two questions, ``use_s`` between two uses of a token that it
knows, and ``margin_s``, what must be left of one. Times are on the boot clock, which all processes share.

With ``margin_s`` the binding looks at the clock. Without it a token that is kept is told by the generation
word alone, and a process that has stood still may look at it before the library's own thread has set it to 0.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import time

from paymentsgate_auth import LogLevel, PaymentsGateError, Session, Token

# A caller that waits longer than this was forgotten: no fault of the tests lasts as long.
PATIENCE_S = 150


def boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def say(what: str, **more: object) -> None:
    # One write, so that a line is complete or missing, whenever the process is killed.
    os.write(1, (json.dumps({"at": boot(), "what": what, **more}) + "\n").encode())


class Business:
    """The business API, over a connection that is opened again after it breaks."""

    def __init__(self, host: str) -> None:
        self._connection = http.client.HTTPConnection(host, timeout=3)

    def use(self, token: Token) -> int | None:
        """The status that it answers to the token; None: no answer."""
        try:
            headers = {"Authorization": f"Bearer {token.access_token}"}
            self._connection.request("GET", "/wallet", headers=headers)
            with self._connection.getresponse() as answer:
                answer.read()
                return answer.status
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return None


def work(settings: dict[str, str], wallet: str, pause_s: float, use_s: float, margin_s: float) -> None:
    parent = os.getppid()
    business = Business(wallet.removeprefix("http://"))
    session = Session(settings)
    news = session.subscribe(LogLevel.INFO)
    say("begun")
    known, used = "", 0.0
    while os.getppid() == parent:
        while event := news.poll(0):
            say("news", text=event.text or event.kind.name)
        asked = boot()
        try:
            token = session.token(PATIENCE_S, margin_s)
        except PaymentsGateError as error:
            say("error", status=error.status_name, text=error.text, took=boot() - asked)
            time.sleep(max(pause_s, 0.2))
            continue
        had = boot()
        is_new = token.fingerprint != known
        if is_new or had - asked > 0.5:
            say("token", generation=token.generation, fingerprint=token.fingerprint, took=had - asked)
        if is_new or had - used > use_s:
            known, used = token.fingerprint, had
            status = business.use(token)
            if status == 401:
                session.reject(token)
            # The time between the return of the token by the library and the answer.
            about = {"generation": token.generation, "fingerprint": known, "asked": asked}
            say("used", **about, status=status, held=boot() - had)
        time.sleep(pause_s)


if __name__ == "__main__":
    work(**json.loads(sys.argv[1]))
