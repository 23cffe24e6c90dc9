"""A session's token for aiohttp: the extra ``paymentsgate-auth[aiohttp]``.

>>> async with AsyncSession.from_env() as session:
...     client = aiohttp.ClientSession(session.base_url, middlewares=[SessionMiddleware(session)])
"""

from __future__ import annotations

from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from aiohttp.payload import Payload

from ._async_session import AsyncSession
from ._bearer import bearer, is_same_origin, reject_if_unauthorized, wait_for_token
from ._token import Token

__all__ = ["SessionMiddleware"]


class SessionMiddleware:
    """Gives each request the token of a session.

    Only requests to the origin of the session's ``base_url`` get it, redirected ones too; others pass as they
    are. A 401 is reported to the session, and the request made once more with a newer token, unless its body
    was a stream that is used up: then the 401 is the answer, and the next request has the newer token.

    Where no token can be had, the request raises what ``session.token(timeout)`` does, a
    :class:`~paymentsgate_auth.PaymentsGateError`. ``timeout`` is in seconds and bounds the wait for a token
    alone. None takes 30 seconds. The total timeout of the client or the request holds too; ``math.inf``
    leaves the end of the wait to that.
    """

    def __init__(self, session: AsyncSession, *, timeout: float | None = None) -> None:
        self._session = session
        self._timeout = timeout

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Called by aiohttp for each request, and for each redirect that it follows."""
        if not is_same_origin(self._session, str(request.url)):
            return await handler(request)
        token, response = await self._send(request, handler)
        if self._rejected(token, response) and _may_repeat(request):
            # Read, so that the connection is free for the next.
            await response.read()
            token, response = await self._send(request, handler)
            self._rejected(token, response)
        return response

    async def _send(self, request: ClientRequest, handler: ClientHandlerType) -> tuple[Token, ClientResponse]:
        token = await self._session.token(wait_for_token(self._timeout))
        request.headers["Authorization"] = bearer(token)
        return token, await handler(request)

    def _rejected(self, token: Token, response: ClientResponse) -> bool:
        sent = response.request_info.headers.get("Authorization")
        return reject_if_unauthorized(self._session, token, response.status, sent)


def _may_repeat(request: ClientRequest) -> bool:
    """Not a stream, which is gone."""
    return not (isinstance(request.body, Payload) and request.body.consumed)
