"""A loop of trio, with the methods of an asyncio loop that this package uses. Imported only if trio runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import Any

import trio


class Future:
    """A result that one task waits for."""

    def __init__(self) -> None:
        self._ready = trio.Event()
        self._result: Any = None

    def done(self) -> bool:
        return self._ready.is_set()

    def set_result(self, result: Any) -> None:
        self._result = result
        self._ready.set()

    def __await__(self) -> Generator[Any, Any, Any]:
        # No checkpoint if the result is there: a cancellation would lose it.
        if not self.done():
            yield from self._ready.wait().__await__()
        return self._result

    async def wait(self, timeout: float | None) -> None:
        """Waits for the result, or until the timeout in seconds has passed."""
        with trio.move_on_after(math.inf if timeout is None else max(timeout, 0)):
            await self


class Loop:
    """One call of ``trio.run``."""

    def __init__(self) -> None:
        self._watches: dict[int, trio.CancelScope] = {}

    def create_future(self) -> Future:
        return Future()

    def add_reader(self, descriptor: int, callback: Callable[..., object], *arguments: object) -> None:
        """Calls back whenever the descriptor is readable, until it is removed."""
        scope = self._watches[descriptor] = trio.CancelScope()
        trio.lowlevel.spawn_system_task(self._watch, descriptor, scope, callback, arguments)

    def remove_reader(self, descriptor: int) -> None:
        self._watches.pop(descriptor).cancel()

    async def _watch(
        self,
        descriptor: int,
        scope: trio.CancelScope,
        callback: Callable[..., object],
        arguments: tuple[object, ...],
    ) -> None:
        with scope:
            # A canceled watch that waits leaves the descriptor at once. One that has not begun must not wait:
            # trio may start the next one before it.
            while not scope.cancel_called:
                await trio.lowlevel.wait_readable(descriptor)
                callback(*arguments)


_loop: trio.lowlevel.RunVar[Loop] = trio.lowlevel.RunVar("paymentsgate_auth")


def running_loop() -> Loop:
    """The loop of this call of ``trio.run``, which holds it."""
    try:
        return _loop.get()
    except LookupError:
        _loop.set(Loop())
        return _loop.get()
