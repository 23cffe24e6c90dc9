"""The same program as waiters.c, in Python: threads that block, and tasks of an event loop."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable

from paymentsgate_auth import AsyncSession, Client, PaymentsGateError, Session, Token

# A call that is later than this hangs, in seconds.
HANGS = 3.0
# A token that lasts longer than this does not age, in seconds.
AGES = 8.0
# The time between two requests for a token, in seconds.
RETRY = 0.05


class Life:
    """A session for threads and one for tasks."""

    session: Session
    tasks: AsyncSession
    client: Client
    is_open = False
    last: Token | None = None

    def open(self) -> None:
        if not self.is_open:
            self.client = Client.from_env()
            self.session = Session.from_env()
            self.tasks = AsyncSession.from_env()
            self.is_open = True

    def recover(self, patience: float) -> None:
        """Asks until both have a token."""
        give_up = time.monotonic() + patience
        while True:
            try:
                self.last = self.session.token(1)
                asyncio.run(self.tasks.token(1))
                return
            except PaymentsGateError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(RETRY)

    def age(self, left: float) -> None:
        """Waits until the token has no more than this left."""
        until = time.monotonic() + AGES
        while self.last and self.last.remaining >= left:
            if time.monotonic() > until:
                raise RuntimeError("the token does not age")
            time.sleep(0.01)

    def close(self, timeout: float) -> None:
        self.session.close(timeout)
        asyncio.run(self.tasks.close(timeout))


class Waiter(threading.Thread):
    """A caller that waits, and records when the answer came."""

    def __init__(self, name: str, timeout: float, wait: Callable[[float], object]) -> None:
        super().__init__(daemon=True)
        self.line: tuple[str, float, float | str, str, str] | None = None
        self._who, self._timeout, self._wait = name, timeout, wait

    def run(self) -> None:
        begun = time.monotonic()
        status, text = ended(lambda: self._wait(self._timeout))
        self.line = self._who, self._timeout, time.monotonic() - begun, status, text

    def answer(self, until: float) -> bool:
        self.join(max(0, until - time.monotonic()))
        line = self.line or (self._who, self._timeout, "hangs", "", "")
        tell(*line)
        return self.line is not None


def ended(call: Callable[[], object]) -> tuple[str, str]:
    try:
        call()
    except PaymentsGateError as error:
        return error.status_name, error.text
    except Exception as error:
        return "?", repr(error)
    return "PG_OK", ""


def tell(who: str, timeout: float, took: float | str, status: str, text: str) -> None:
    shown = took if isinstance(took, str) else f"{took * 1000:.1f}"
    print(who, f"{timeout * 1000:.0f}", shown, status, " ".join(text.split()), sep="\t")


class Loop(threading.Thread):
    """The tasks of one event loop, which wait side by side."""

    def __init__(self, life: Life, spare: float) -> None:
        super().__init__(daemon=True)
        tasks = life.tasks
        self._waits: list[tuple[str, float, Callable[[float], Awaitable[object]]]] = [
            ("task for a token", 0.3 + spare, tasks.token),
            ("task for a token", 0.5 + spare, tasks.token),
            ("task for a request", 0.4 + spare, lambda limit: tasks.request("GET", "/wallet", timeout=limit)),
            ("task that is canceled", 0.2, lambda timeout: canceled(tasks.token(), timeout)),
        ]
        self._lines: list[tuple[str, float, float, str, str]] = []

    def run(self) -> None:
        async def wait(who: str, timeout: float, call: Callable[[float], Awaitable[object]]) -> None:
            begun = time.monotonic()
            status, text = "PG_OK", ""
            try:
                await call(timeout)
            except PaymentsGateError as error:
                status, text = error.status_name, error.text
            except Exception as error:
                status, text = "?", repr(error)
            self._lines.append((who, timeout, time.monotonic() - begun, status, text))

        async def wait_all() -> None:
            await asyncio.gather(*(wait(*one) for one in self._waits))

        asyncio.run(wait_all())

    def answer(self, until: float) -> bool:
        self.join(max(0, until - time.monotonic()))
        for line in self._lines:
            tell(*line)
        seen = [line[:2] for line in self._lines]
        missing = [one for one in self._waits if one[:2] not in seen]
        for who, timeout, _ in missing:
            tell(who, timeout, "hangs", "", "")
        return not missing


async def canceled(call: Awaitable[object], after: float) -> None:
    """A task with its own timeout instead of a deadline of the library."""
    try:
        await asyncio.wait_for(call, after)
    except asyncio.TimeoutError:
        return


class Lag(threading.Thread):
    """How late this machine, and this interpreter, wake a thread now."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.is_over, self.most = threading.Event(), 0.0

    def run(self) -> None:
        while not self.is_over.is_set():
            begun = time.monotonic()
            time.sleep(0.002)
            self.most = max(self.most, time.monotonic() - begun - 0.002)


def wait(life: Life, spare: float) -> None:
    """Lets all callers wait, each with this time to spare."""
    session, client = life.session, life.client
    lag = Lag()
    waiters = [
        Loop(life, spare),
        Waiter("token", 0.3 + spare, session.token),
        Waiter("token", 0.5 + spare, session.token),
        Waiter("token at once", 0, session.token),
        Waiter("request", 0.4 + spare, lambda timeout: session.request("GET", "/wallet", timeout=timeout)),
        Waiter("issue", 0.4 + spare, lambda timeout: client.issue(timeout=timeout)),
        Waiter("health", 0, lambda _: session.health()),
    ]
    lag.start()
    until = time.monotonic() + 0.5 + spare + HANGS
    for waiter in waiters:
        waiter.start()
    answered = [waiter.answer(until) for waiter in waiters]
    lag.is_over.set()
    lag.join()
    tell("lag", 0, lag.most, "", "")
    if not all(answered):
        print("done", flush=True)
        os._exit(9)


def main() -> None:
    life = Life()
    for line in sys.stdin:
        command, _, number = line.strip().partition(" ")
        timeout = float(number or 0) / 1000
        begun = time.monotonic()
        if command == "wait":
            wait(life, timeout)
        else:
            calls: dict[str, Callable[[], object]] = {
                "open": life.open,
                "age": lambda timeout=timeout: life.age(timeout),
                "recover": lambda timeout=timeout: life.recover(timeout),
                "request": lambda timeout=timeout: life.session.request("GET", "/wallet", timeout=timeout),
                "close": lambda timeout=timeout: life.close(timeout),
            }
            status, text = ended(calls[command])
            tell(command, timeout, time.monotonic() - begun, status, text)
        print("done", flush=True)


if __name__ == "__main__":
    main()
