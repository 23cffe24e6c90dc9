"""A queue of the library: it receives the results of operations, and events of sessions."""

from __future__ import annotations

import math
import threading
import time
from ctypes import byref, c_int32, c_void_p
from typing import Any

from . import _gevent
from ._error import check, exception, make
from ._library import Handle, library, milliseconds

# Python handles signals only between two calls of the library. So a long wait is split into short ones.
SLICE = 0.2


class Queue:
    """A queue of the library. The last reference frees it, which cancels its pending operations."""

    def __init__(self) -> None:
        self.handle = make(library.pg_queue_free, library.pg_queue_new)

    def take(self, timeout: float | None = 0) -> Handle | None:
        """Takes the next event if one comes within ``timeout`` seconds. None means no limit."""
        pointer = c_void_p()
        check(library.pg_queue_poll, self.handle, milliseconds(timeout), byref(pointer))
        return Handle(pointer, library.pg_event_free) if pointer else None

    def wait(self, timeout: float | None = None) -> Handle | None:
        """As :meth:`take`, but Ctrl-C ends the wait at once, and the other greenlets of gevent continue."""
        if _gevent.is_patched():
            return self._wait_in_greenlet(timeout)
        # Only the main thread handles signals.
        if threading.current_thread() is not threading.main_thread():
            return self.take(timeout)
        end = time.monotonic() + (math.inf if timeout is None else timeout)
        while (left := end - time.monotonic()) > SLICE:
            if event := self.take(SLICE):
                return event
        return self.take(time_left(left, timeout))

    def _wait_in_greenlet(self, timeout: float | None) -> Handle | None:
        end = time.monotonic() + (math.inf if timeout is None else timeout)
        event = self.take(0 if timeout is None else min(timeout, 0))
        while event is None and (left := end - time.monotonic()) > 0:
            _gevent.wait_readable(self.descriptor(), None if timeout is None else left)
            event = self.take()
        return event

    def cancel(self, number: int) -> None:
        """Cancels the operation with this number. It has no effect on an operation that has ended."""
        # This can fail only if the queue itself has ended, and then nothing is pending.
        library.pg_queue_cancel(self.handle, number, None)

    def descriptor(self) -> int:
        """A descriptor that is readable while an event is queued. The queue owns it: only wait for it."""
        descriptor = c_int32()
        check(library.pg_queue_fd, self.handle, byref(descriptor))
        return descriptor.value


def time_left(left: float, timeout: float | None) -> float:
    """The time left of a wait. A negative timeout stays negative, because the library must refuse it."""
    return timeout if timeout is not None and timeout < 0 else max(left, 0)


def perform(start: Any, session: Handle, *arguments: object) -> Handle:
    """Starts an operation of a session on a new queue, and waits for its final event.

    The end of the queue cancels the operation, for example if Ctrl-C ends the wait.
    """
    queue, number = Queue(), 1
    try:
        check(start, session, queue.handle, number, *arguments)
        event = None
        while event is None:
            event = queue.wait()
        return raise_for_error(event)
    finally:
        queue.handle.free()


def raise_for_error(event: Handle) -> Handle:
    """Returns the final event of an operation, or raises its error."""
    if error := library.pg_event_error(event):
        raise exception(error)
    return event
