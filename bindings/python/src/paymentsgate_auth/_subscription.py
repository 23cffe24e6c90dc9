"""A subscription to the events of a session."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from types import TracebackType

from ._error import check
from ._event import Event, EventKind, event_from
from ._library import Handle, library
from ._loop import readable
from ._queue import Queue
from ._typing import Self

_NUMBER = 1


class _SubscriptionBase:
    """Shared by the blocking and the async subscription."""

    def __init__(self, session: Handle, log_level: int) -> None:
        self._queue = Queue()
        self._process = os.getpid()
        self._ended = False
        check(library.pg_session_subscribe, session, self._queue.handle, _NUMBER, log_level)

    def close(self) -> None:
        """Ends the subscription: ``ENDED`` follows the queued events. May be called again. Never blocks."""
        self._queue.cancel(_NUMBER)

    def _is_over(self) -> bool:
        # In a forked child, the parent's subscription would never get an event.
        return self._ended or self._process != os.getpid()

    def _event(self, handle: Handle | None) -> Event | None:
        if handle is None:
            return None
        event = event_from(handle)
        self._ended = event.kind is EventKind.ENDED
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Subscription(_SubscriptionBase, Iterator[Event]):
    """The events of a :class:`Session`, from now until the session or the subscription is closed.

    Iterating waits for each event, and stops when the subscription ends. One thread at a time may read; any
    thread may close it. In a forked child it has ended: the child makes its own subscription.

    It holds no reference to the session. For a session opened from a pair, it continues after the session is
    closed, until the call in progress has ended. Read it to its end, because the last pair may come then. So
    close the session first, and the subscription after it.
    """

    def poll(self, timeout: float | None = None) -> Event | None:
        """Returns the next event, or None if none came within ``timeout`` seconds or after the end.

        ``timeout=None`` means no limit; 0 does not wait. The last event is ``ENDED``. Ctrl-C ends the wait at
        once.
        """
        return None if self._is_over() else self._event(self._queue.wait(timeout))

    def __next__(self) -> Event:
        event = self.poll()
        if event is None or event.kind is EventKind.ENDED:
            raise StopIteration
        return event


class AsyncSubscription(_SubscriptionBase, AsyncIterator[Event]):
    """The events of an :class:`AsyncSession`, as :class:`Subscription`. One task at a time may read."""

    async def poll(self, timeout: float | None = None) -> Event | None:
        """Returns the next event, as :meth:`Subscription.poll`. Canceling the wait loses no event."""
        if self._is_over():
            return None
        handle = self._queue.take()
        if handle is None and timeout != 0:
            await readable(self._queue.descriptor(), timeout)
            handle = self._queue.take()
        return self._event(handle)

    async def __anext__(self) -> Event:
        event = await self.poll()
        if event is None or event.kind is EventKind.ENDED:
            raise StopAsyncIteration
        return event
