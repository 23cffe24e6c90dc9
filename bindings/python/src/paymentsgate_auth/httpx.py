"""A session's token for httpx: the extra ``paymentsgate-auth[httpx]``.

>>> with Session.from_env() as session:
...     client = httpx.Client(base_url=session.base_url, auth=SessionAuth(session))
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator

import httpx

from ._async_session import AsyncSession
from ._bearer import bearer, is_same_origin, reject_if_unauthorized, wait_for_token
from ._session import Session
from ._token import Token

__all__ = ["SessionAuth"]


class SessionAuth(httpx.Auth):
    """Gives each request the token of a session: a ``Session`` for ``httpx.Client``, an ``AsyncSession`` for
    ``httpx.AsyncClient``.

    Only requests to the origin of the session's ``base_url`` get it; others pass as they are. A 401 is
    reported to the session, and the request made once more with a newer token, unless its body was a stream
    or a redirect had been followed: then the 401 is the answer, and the next request has the newer token.

    Where no token can be had, the request raises what ``session.token(timeout)`` does, a
    :class:`~paymentsgate_auth.PaymentsGateError`. ``timeout`` is in seconds and bounds the wait for a token
    alone. None takes the longest of the request's own timeouts, 30 seconds if it has none; ``math.inf`` waits
    as long as it takes.
    """

    def __init__(self, session: Session | AsyncSession, *, timeout: float | None = None) -> None:
        self._session = session
        self._timeout = timeout

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """For ``httpx.Client``. Blocks while there is no token."""
        session = self._session
        if not isinstance(session, Session):
            raise TypeError("SessionAuth: an httpx.Client needs a Session, not an AsyncSession")
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
        """For ``httpx.AsyncClient``. Awaits a token."""
        session = self._session
        if not isinstance(session, AsyncSession):
            raise TypeError("SessionAuth: an httpx.AsyncClient needs an AsyncSession, not a Session")
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


def _rejected(session: Session | AsyncSession, token: Token, response: httpx.Response) -> bool:
    return reject_if_unauthorized(
        session, token, response.status_code, response.request.headers.get("Authorization")
    )


def _may_repeat(request: httpx.Request, response: httpx.Response) -> bool:
    """Not a stream, which is gone, and not a request that was acted upon with a redirect."""
    return isinstance(request.stream, httpx.ByteStream) and response.request is request
