"""Adds a session's token to requests of the package requests. Extra: ``paymentsgate-auth[requests]``.

>>> with Session.from_env() as session:
...     answer = requests.get(f"{session.base_url}/wallet", auth=SessionAuth(session), timeout=30)
"""

from __future__ import annotations

from functools import partial
from typing import Any

from requests import PreparedRequest, Response
from requests.auth import AuthBase
from requests.exceptions import UnrewindableBodyError
from requests.utils import rewind_body

from ._bearer import bearer, is_same_origin, reject_if_unauthorized, wait_for_token
from ._provider import TokenProvider
from ._token import Token

__all__ = ["SessionAuth"]


class SessionAuth(AuthBase):
    """Adds the token of a session to each request. Blocks until there is a token.

    Only requests to the origin of the session's ``base_url`` get it; others are sent unchanged. After a 401,
    the token is reported to the session, and the request is repeated once with a newer one. If its body was a
    stream that cannot be rewound, the 401 is returned, and the next request has the newer token.

    If there is no token, the request raises the same :class:`~paymentsgate_auth.PaymentsGateError` as
    ``session.token(timeout)``. ``timeout`` is in seconds and limits only the wait for a token. None means 30
    seconds, because requests does not tell an auth the timeout of its request. For the token after a 401,
    None means the request's own timeout. ``math.inf`` means no limit.
    """

    def __init__(self, session: TokenProvider, *, timeout: float | None = None) -> None:
        self._session = session
        self._timeout = timeout

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """requests calls it when it prepares a request."""
        if is_same_origin(self._session, request.url or ""):
            token = self._session.token(wait_for_token(self._timeout))
            request.headers["Authorization"] = bearer(token)
            request.register_hook("response", partial(self._answered, token))
        return request

    def _answered(self, token: Token, response: Response, **options: Any) -> Response:
        if not (self._rejected(token, response) and _rewound(response.request)):
            return response
        # Reads the body and closes the response, so that the connection can be reused.
        _ = response.content
        response.close()
        request = response.request.copy()
        token = self._session.token(wait_for_token(self._timeout, _timeouts(options.get("timeout"))))
        request.headers["Authorization"] = bearer(token)
        again: Response = response.connection.send(request, **options)
        again.history.append(response)
        self._rejected(token, again)
        return again

    def _rejected(self, token: Token, response: Response) -> bool:
        sent = response.request.headers.get("Authorization")
        return reject_if_unauthorized(self._session, token, response.status_code, sent)


def _timeouts(given: object) -> tuple[object, ...]:
    """The timeouts as a tuple: one for all, or one for connecting and one for reading."""
    return given if isinstance(given, tuple) else (given,)


def _rewound(request: PreparedRequest) -> bool:
    """Whether the body can be sent again."""
    if request.body is None or isinstance(request.body, bytes | str):
        return True
    try:
        rewind_body(request)
    except UnrewindableBodyError:
        return False
    return True
