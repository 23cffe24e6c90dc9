"""Adds a session's token to aiohttp requests. Extra: ``paymentsgate-auth[aiohttp]``.

>>> async with AsyncSession.from_env() as session:
...     client = aiohttp.ClientSession(session.base_url, middlewares=[SessionMiddleware(session)])
"""

from __future__ import annotations

from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from aiohttp.payload import Payload

from ._bearer import bearer, is_same_origin, reject_if_unauthorized, wait_for_token
from ._provider import AsyncTokenProvider
from ._token import Token

__all__ = ["SessionMiddleware"]


class SessionMiddleware:
    """Adds the token of a session to each request.

    Only requests to the origin of the session's ``base_url`` get it, also redirected ones; others are sent
    unchanged. After a 401, the token is reported to the session, and the request is repeated once with a
    newer one. If its body was a stream that is consumed, the 401 is returned, and the next request has the
    newer token.

    If there is no token, the request raises the same :class:`~paymentsgate_auth.PaymentsGateError` as
    ``session.token(timeout)``. ``timeout`` is in seconds and limits only the wait for a token. None means 30
    seconds. The total timeout of the client or the request also applies; with ``math.inf`` it is the only
    limit.
    """

    def __init__(self, session: AsyncTokenProvider, *, timeout: float | None = None) -> None:
        self._session = session
        self._timeout = timeout

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """aiohttp calls it for each request, and for each redirect that it follows."""
        if not is_same_origin(self._session, str(request.url)):
            return await handler(request)
        token, response = await self._send(request, handler)
        if self._rejected(token, response) and _may_repeat(request):
            # Reads the body, so that the connection can be reused.
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
    """Whether the body can be sent again. A consumed stream cannot."""
    return not (isinstance(request.body, Payload) and request.body.consumed)
