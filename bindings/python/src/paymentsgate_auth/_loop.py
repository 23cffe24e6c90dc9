"""Waits for the library in an event loop of asyncio or trio, without blocking the loop."""

from __future__ import annotations

import asyncio
import itertools
import sys
from typing import TYPE_CHECKING, Any

from ._error import check
from ._library import Handle, library
from ._queue import Queue, raise_for_error

if TYPE_CHECKING:
    from . import _trio

    Loop = asyncio.AbstractEventLoop | _trio.Loop
    Future = asyncio.Future[Any] | _trio.Future

_ATTRIBUTE = "_paymentsgate_auth_operations"


class Operations:
    """The operations that the tasks of one event loop wait for, all on one queue.

    The loop watches the queue's descriptor only while a task waits, so no reader stays registered.
    """

    def __init__(self) -> None:
        self._queue = Queue()
        self._ids = itertools.count(1)
        self._pending: dict[int, Future] = {}
        self._watched: int | None = None

    async def perform(self, start: Any, owner: Handle, *arguments: object) -> Handle:
        """Starts an operation of a session or client, and waits for its final event.

        Canceling the task cancels the operation. An operation that ends at once needs no turn of the loop.
        """
        loop = running_loop()
        number, future = next(self._ids), loop.create_future()
        self._pending[number] = future
        try:
            check(start, owner, self._queue.handle, number, *arguments)
            self._take()
            if not future.done():
                self._watch(loop)
            return raise_for_error(await future)
        finally:
            # The final event still comes, and is dropped. Only this code may run in any thread: a task whose
            # loop was closed ends in the thread that collects the garbage.
            if self._pending.pop(number, None):
                self._queue.cancel(number)
            self._unwatch(loop)

    def _take(self) -> None:
        while event := self._queue.take():
            future = self._pending.pop(library.pg_event_id(event), None)
            # The task may be canceled already, but not have run yet.
            if future and not future.done():
                future.set_result(event)

    def _watch(self, loop: Loop) -> None:
        if self._watched is None:
            self._watched = self._queue.descriptor()
            loop.add_reader(self._watched, self._take)

    def _unwatch(self, loop: Loop) -> None:
        if self._watched is not None and not self._pending:
            loop.remove_reader(self._watched)
            self._watched = None


def running_loop() -> Loop:
    """The running event loop. That of trio has the methods of an asyncio loop that are used here."""
    if _is_trio():
        from . import _trio

        return _trio.running_loop()
    return asyncio.get_running_loop()


def _is_trio() -> bool:
    # trio requires sniffio, which also tells them apart where one loop runs inside the other.
    sniffio: Any = sys.modules.get("sniffio")
    if sniffio is None or "trio" not in sys.modules:
        return False
    try:
        return bool(sniffio.current_async_library() == "trio")
    except sniffio.AsyncLibraryNotFoundError:
        return False


def operations() -> Operations:
    """The operations of the running event loop. An attribute of the loop holds them, so they end with it."""
    loop = running_loop()
    found: Operations | None = getattr(loop, _ATTRIBUTE, None)
    if found is None:
        found = Operations()
        setattr(loop, _ATTRIBUTE, found)
    return found


async def readable(descriptor: int, timeout: float | None) -> None:
    """Waits until a descriptor is readable, or the timeout in seconds has passed."""
    loop = running_loop()
    ready = loop.create_future()
    loop.add_reader(descriptor, _set_ready, ready)
    try:
        if isinstance(ready, asyncio.Future):
            await asyncio.wait([ready], timeout=timeout)
        else:
            await ready.wait(timeout)
    finally:
        loop.remove_reader(descriptor)


async def pause(seconds: float) -> None:
    """Waits for a time, while the loop continues."""
    if _is_trio():
        import trio

        await trio.sleep(seconds)
    else:
        await asyncio.sleep(seconds)


def _set_ready(ready: Future) -> None:
    # The loop calls this repeatedly until the reader is removed.
    if not ready.done():
        ready.set_result(None)
