"""Where the library puts the end of what was started on it, and news."""

from __future__ import annotations

import math
import threading
import time
from ctypes import byref, c_int32, c_void_p
from typing import Any

from ._error import check, exception, make
from ._library import Handle, library, milliseconds

# Python handles signals between two calls of the library, not during one: a long wait is made of short ones.
SLICE = 0.2


class Queue:
    """A queue of the library's. It is freed with the last reference, and what is under way on it given up."""

    def __init__(self) -> None:
        self.handle = make(library.pg_queue_free, library.pg_queue_new)

    def take(self, timeout: float | None = 0) -> Handle | None:
        """The next event, if one comes within ``timeout`` seconds; None waits as long as it takes."""
        pointer = c_void_p()
        check(library.pg_queue_poll, self.handle, milliseconds(timeout), byref(pointer))
        return Handle(pointer, library.pg_event_free) if pointer else None

    def wait(self, timeout: float | None = None) -> Handle | None:
        """The same, and Ctrl-C ends the wait at once."""
        # Signals are the main thread's business.
        if threading.current_thread() is not threading.main_thread():
            return self.take(timeout)
        end = time.monotonic() + (math.inf if timeout is None else timeout)
        while (left := end - time.monotonic()) > SLICE:
            if event := self.take(SLICE):
                return event
        return self.take(time_left(left, timeout))

    def cancel(self, number: int) -> None:
        """Ends what was started under that number. What has ended already is left alone."""
        # It can only fail where the queue itself has ended, and that is as good.
        library.pg_queue_cancel(self.handle, number, None)

    def descriptor(self) -> int:
        """Readable while an event waits. The queue's own: only to be waited for."""
        descriptor = c_int32()
        check(library.pg_queue_fd, self.handle, byref(descriptor))
        return descriptor.value


def time_left(left: float, timeout: float | None) -> float:
    """What is left of a wait. A negative timeout stays one: the library refuses it."""
    return timeout if timeout is not None and timeout < 0 else max(left, 0)


def perform(start: Any, session: Handle, *arguments: object) -> Handle:
    """Starts an operation of a session on a queue of its own, and waits for the event that it ends in.

    Whoever is torn out of the wait leaves nothing behind: the operation is canceled.
    """
    queue, number = Queue(), 1
    try:
        check(start, session, queue.handle, number, *arguments)
        event = None
        while event is None:
            event = queue.wait()
        return raise_for_error(event)
    finally:
        queue.cancel(number)


def raise_for_error(event: Handle) -> Handle:
    """The end of an operation, if it is a good one."""
    if error := library.pg_event_error(event):
        raise exception(error)
    return event
