"""Waits for the library in an event loop, without blocking the loop."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from ._error import check
from ._library import Handle, library
from ._queue import Queue, raise_for_error

_ATTRIBUTE = "_paymentsgate_auth_operations"


class Operations:
    """The operations that the tasks of one event loop wait for, all on one queue.

    The loop watches the queue's descriptor only while a task waits, so no reader stays registered.
    """

    def __init__(self) -> None:
        self._queue = Queue()
        self._ids = itertools.count(1)
        self._pending: dict[int, asyncio.Future[Handle]] = {}
        self._watched: int | None = None

    async def perform(self, start: Any, owner: Handle, *arguments: object) -> Handle:
        """Starts an operation of a session or client, and waits for its final event.

        Canceling the task cancels the operation. An operation that ends at once needs no turn of the loop.
        """
        loop = asyncio.get_running_loop()
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

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._watched is None:
            self._watched = self._queue.descriptor()
            loop.add_reader(self._watched, self._take)

    def _unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._watched is not None and not self._pending:
            loop.remove_reader(self._watched)
            self._watched = None


def operations() -> Operations:
    """The operations of the running event loop. An attribute of the loop holds them, so they end with it."""
    loop = asyncio.get_running_loop()
    found: Operations | None = getattr(loop, _ATTRIBUTE, None)
    if found is None:
        found = Operations()
        setattr(loop, _ATTRIBUTE, found)
    return found


def _set_ready(ready: asyncio.Future[None]) -> None:
    # The loop calls this repeatedly until the reader is removed.
    if not ready.done():
        ready.set_result(None)


async def readable(descriptor: int, timeout: float | None) -> None:
    """Waits until a descriptor is readable, or the timeout in seconds has passed."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(descriptor, _set_ready, ready)
    try:
        await asyncio.wait([ready], timeout=timeout)
    finally:
        loop.remove_reader(descriptor)
