"""News of a session, one piece after the other."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from ._error import check
from ._event import Event, EventKind, event_from
from ._library import Handle, library
from ._loop import readable
from ._queue import Queue

if TYPE_CHECKING:
    from typing_extensions import Self

_NUMBER = 1


class _SubscriptionBase:
    """What the two kinds of subscription share."""

    def __init__(self, session: Handle, log_level: int) -> None:
        self._queue = Queue()
        self._process = os.getpid()
        self._ended = False
        check(library.pg_session_subscribe, session, self._queue.handle, _NUMBER, log_level)

    def close(self) -> None:
        """Ends it: after what waits an ``ENDED`` comes, and no more. May be called again; never blocks."""
        self._queue.cancel(_NUMBER)

    def _is_over(self) -> bool:
        # A forked child has no part in its parent's: nothing would ever come.
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
    """News of a :class:`Session`, from when it was made until the session or it is closed.

    Iterating waits for each piece, and ends with the subscription. One thread at a time; any thread may
    close it. It is over in a forked child, which subscribes anew.

    It does not need the session. That of a session from a pair goes on after the session was closed, until
    the call under way has ended: read it to its end, the last pair may come there. So end the session first,
    and the subscription after it.
    """

    def poll(self, timeout: float | None = None) -> Event | None:
        """The next event; None if none came within ``timeout`` seconds, or the subscription is over.

        A ``timeout`` of None waits as long as it takes, 0 does not wait. The last event is ``ENDED``. Ctrl-C
        ends the wait at once.
        """
        return None if self._is_over() else self._event(self._queue.wait(timeout))

    def __next__(self) -> Event:
        event = self.poll()
        if event is None or event.kind is EventKind.ENDED:
            raise StopIteration
        return event


class AsyncSubscription(_SubscriptionBase, AsyncIterator[Event]):
    """News of an :class:`AsyncSession`, like :class:`Subscription`. One task at a time."""

    async def poll(self, timeout: float | None = None) -> Event | None:
        """The next event, as :meth:`Subscription.poll`. A canceled wait loses nothing."""
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
