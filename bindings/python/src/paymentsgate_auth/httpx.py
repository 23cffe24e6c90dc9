"""Adds a session's token to httpx requests. Extra: ``paymentsgate-auth[httpx]``.

>>> with Session.from_env() as session:
...     client = httpx.Client(base_url=session.base_url, auth=SessionAuth(session))
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from inspect import iscoroutinefunction
from typing import cast

import httpx

from ._bearer import bearer, is_same_origin, reject_if_unauthorized, wait_for_token
from ._provider import AsyncTokenProvider, ProviderBase, TokenProvider
from ._token import Token

__all__ = ["SessionAuth"]


class SessionAuth(httpx.Auth):
    """Adds the token of a session to each request.

    It takes a ``Session`` for ``httpx.Client``, and an ``AsyncSession`` for ``httpx.AsyncClient``, or another
    :class:`~paymentsgate_auth.TokenProvider` or :class:`~paymentsgate_auth.AsyncTokenProvider`.

    Only requests to the origin of the session's ``base_url`` get it; others are sent unchanged. After a 401,
    the token is reported to the session, and the request is repeated once with a newer one. If its body was a
    stream, or a redirect was followed, the 401 is returned, and the next request has the newer token.

    If there is no token, the request raises the same :class:`~paymentsgate_auth.PaymentsGateError` as
    ``session.token(timeout)``. ``timeout`` is in seconds and limits only the wait for a token. None means the
    longest of the request's own timeouts, or 30 seconds if it has none. ``math.inf`` means no limit.
    """

    def __init__(self, session: TokenProvider | AsyncTokenProvider, *, timeout: float | None = None) -> None:
        self._session = session
        self._is_async = iscoroutinefunction(session.token)
        self._timeout = timeout

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """For ``httpx.Client``. Blocks until there is a token."""
        if self._is_async:
            raise TypeError("SessionAuth: an httpx.Client needs a Session, not an AsyncSession")
        session = cast(TokenProvider, self._session)
        if not is_same_origin(session, str(request.url)):
            yield request
            return
        for _ in range(2):
            token = session.token(self._wait(request))
            request.headers["Authorization"] = bearer(token)
            response = yield request
            if not (_rejected(session, token, response) and _may_repeat(request, response)):
                return

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """For ``httpx.AsyncClient``. Awaits the token."""
        if not self._is_async:
            raise TypeError("SessionAuth: an httpx.AsyncClient needs an AsyncSession, not a Session")
        session = cast(AsyncTokenProvider, self._session)
        if not is_same_origin(session, str(request.url)):
            yield request
            return
        for _ in range(2):
            token = await session.token(self._wait(request))
            request.headers["Authorization"] = bearer(token)
            response = yield request
            if not (_rejected(session, token, response) and _may_repeat(request, response)):
                return

    def _wait(self, request: httpx.Request) -> float:
        timeouts = request.extensions.get("timeout")
        return wait_for_token(self._timeout, timeouts.values() if isinstance(timeouts, dict) else ())


def _rejected(session: ProviderBase, token: Token, response: httpx.Response) -> bool:
    return reject_if_unauthorized(
        session, token, response.status_code, response.request.headers.get("Authorization")
    )


def _may_repeat(request: httpx.Request, response: httpx.Response) -> bool:
    """Whether to repeat. Not a consumed stream, and not a request that was answered by a redirect."""
    return isinstance(request.stream, httpx.ByteStream) and response.request is request
