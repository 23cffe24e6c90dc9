"""A session's token for requests: the extra ``paymentsgate-auth[requests]``.

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
from ._session import Session
from ._token import Token

__all__ = ["SessionAuth"]


class SessionAuth(AuthBase):
    """Gives each request the token of a session. Blocks while there is none.

    Only requests to the origin of the session's ``base_url`` get it; others pass as they are. A 401 is
    reported to the session, and the request made once more with a newer token, unless its body was a stream
    that cannot be rewound: then the 401 is the answer, and the next request has the newer token.

    Where no token can be had, the request raises what ``session.token(timeout)`` does, a
    :class:`~paymentsgate_auth.PaymentsGateError`. ``timeout`` is in seconds and bounds the wait for a token
    alone. None takes 30 seconds, since requests does not tell an auth the timeout of its request; for the
    token that follows a 401 it takes the request's own. ``math.inf`` waits as long as it takes.
    """

    def __init__(self, session: Session, *, timeout: float | None = None) -> None:
        self._session = session
        self._timeout = timeout

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Called by requests when it prepares a request."""
        if is_same_origin(self._session, request.url or ""):
            token = self._session.token(wait_for_token(self._timeout))
            request.headers["Authorization"] = bearer(token)
            request.register_hook("response", partial(self._answered, token))
        return request

    def _answered(self, token: Token, response: Response, **options: Any) -> Response:
        if not (self._rejected(token, response) and _rewound(response.request)):
            return response
        # Read and closed, so that the connection is free for the next.
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
    """One for all, or one for connecting and one for reading."""
    return given if isinstance(given, tuple) else (given,)


def _rewound(request: PreparedRequest) -> bool:
    """Whether the body can be sent once more."""
    if request.body is None or isinstance(request.body, bytes | str):
        return True
    try:
        rewind_body(request)
    except UnrewindableBodyError:
        return False
    return True
