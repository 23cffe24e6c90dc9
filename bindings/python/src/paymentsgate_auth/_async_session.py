"""A session for programs with an event loop."""

from __future__ import annotations

import contextlib
import math
import time
from types import TracebackType

from ._error import DeadlineExceeded
from ._event import LogLevel, token_from
from ._library import library, milliseconds
from ._log import LAST_LINES
from ._loop import operations, pause
from ._queue import time_left
from ._request import Body, Headers, request_arguments
from ._response import Response
from ._session import PAUSE, SessionBase
from ._subscription import AsyncSubscription
from ._token import Token
from ._typing import Self


class AsyncSession(SessionBase):
    """A :class:`~paymentsgate_auth.Session` whose waits are awaited.

    It works with asyncio and with trio. It is not bound to an event loop: several loops may use it, in
    several threads at once or one after the other. Canceling a task that waits leaves nothing behind.
    """

    async def token(self, timeout: float | None = None, min_remaining: float = 0) -> Token:
        """Returns a token that works now, as :meth:`Session.token`."""
        if cached := self._cached_token(timeout, min_remaining):
            return cached
        word = self._cache.read_word(self._handle)
        times = milliseconds(min_remaining), milliseconds(timeout)
        event = await operations().perform(library.pg_session_token_start, self._handle, *times)
        return self._cache.store(word, token_from(event))

    async def refresh(self, timeout: float | None = None) -> Token:
        """Obtains a newer token now, as :meth:`Session.refresh`."""
        start = library.pg_session_refresh_start
        return token_from(await operations().perform(start, self._handle, milliseconds(timeout)))

    async def access_token(self, timeout: float | None = None) -> str:
        """Returns the text of :meth:`token`, for ``Authorization: Bearer …``. It is a secret."""
        return (await self.token(timeout)).access_token

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Headers | None = None,
        body: Body | None = None,
        json: object = None,
        timeout: float | None = None,
    ) -> Response:
        """Makes a request to the API and returns the complete answer, as :meth:`Session.request`.

        Canceling the task abandons the request, which may have been processed.
        """
        asked = request_arguments(method, path, headers, body, json)
        del path, headers, body, json
        start = library.pg_session_request_start
        return Response(await operations().perform(start, self._handle, *asked, milliseconds(timeout)))

    def subscribe(self, log_level: LogLevel | int = LogLevel.NONE) -> AsyncSubscription:
        """Subscribes to the session's events from now on, as :meth:`Session.subscribe`."""
        return AsyncSubscription(self._handle, log_level)

    async def close(self, timeout: float | None = None) -> None:
        """Ends the session's work, as :meth:`Session.close`. The session is closed before the wait starts."""
        end = time.monotonic() + (math.inf if timeout is None else timeout)
        while (left := end - time.monotonic()) > 0:
            with contextlib.suppress(DeadlineExceeded):
                self._close(0)
                return await self._wait_for_log(end)
            await pause(min(left, PAUSE))
        self._close(time_left(left, timeout))
        return None

    async def _wait_for_log(self, end: float) -> None:
        end = min(end, time.monotonic() + LAST_LINES)
        while any(thread.is_alive() for thread in self._other_log_threads()):
            if (left := end - time.monotonic()) <= 0:
                break
            await pause(min(left, PAUSE))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A call in progress ends by itself. The subscriptions get its result.
        with contextlib.suppress(DeadlineExceeded):
            self._close(0)
