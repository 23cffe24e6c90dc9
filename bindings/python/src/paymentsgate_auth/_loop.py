"""Waiting for the library in an event loop, which goes on with its other tasks meanwhile."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from ._error import check
from ._library import Handle, library
from ._queue import Queue, raise_for_error

_ATTRIBUTE = "_paymentsgate_auth_operations"


class Operations:
    """What is under way for the tasks of one event loop, all on one queue.

    The loop watches the queue's descriptor while a task waits and no longer, so nothing is left behind in it.
    """

    def __init__(self) -> None:
        self._queue = Queue()
        self._ids = itertools.count(1)
        self._pending: dict[int, asyncio.Future[Handle]] = {}
        self._watched: int | None = None

    async def perform(self, start: Any, owner: Handle, *arguments: object) -> Handle:
        """Starts an operation of a session or client, and waits for the event that it ends in.

        It is canceled with its task. What has future when it was started does not go through the loop.
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
            # Its event comes all the same; then nobody is there for it. Only this is done from any thread: a
            # task whose loop was closed ends where the garbage is collected.
            if self._pending.pop(number, None):
                self._queue.cancel(number)
            self._unwatch(loop)

    def _take(self) -> None:
        while event := self._queue.take():
            future = self._pending.pop(library.pg_event_id(event), None)
            # The task may have been canceled, and not have noticed yet.
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
    """Those of the running event loop, kept in it: they end with it, however it ends."""
    loop = asyncio.get_running_loop()
    found: Operations | None = getattr(loop, _ATTRIBUTE, None)
    if found is None:
        found = Operations()
        setattr(loop, _ATTRIBUTE, found)
    return found


def _set_ready(ready: asyncio.Future[None]) -> None:
    # The loop says it again until it is told to stop.
    if not ready.done():
        ready.set_result(None)


async def readable(descriptor: int, timeout: float | None) -> None:
    """Waits until a descriptor is readable, but no longer than so many seconds."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(descriptor, _set_ready, ready)
    try:
        await asyncio.wait([ready], timeout=timeout)
    finally:
        loop.remove_reader(descriptor)
