"""What the HTTP clients' modules share: where a session's token may go, how long a request waits for one, and
when another may follow it.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from ._error import RejectedFresh
from ._session import SessionBase
from ._token import Token

_PORTS = {"http": 80, "https": 443}

DEFAULT_WAIT = 30.0
"""In seconds, where neither the program nor its client says anything: as ``request_timeout_ms``."""


def wait_for_token(own: float | None, client: Iterable[object] = ()) -> float:
    """How long a request may wait for a token: as its auth says, else its client's longest timeout."""
    if own is not None:
        return own
    timeouts = [float(timeout) for timeout in client if isinstance(timeout, int | float)]
    return max(timeouts, default=DEFAULT_WAIT)


def is_same_origin(session: SessionBase, url: str) -> bool:
    """Whether a URL is of the session's service: the token is for no other."""
    try:
        return _origin(url) == _origin(session.base_url)
    except ValueError:
        # It is no URL.
        return False


def bearer(token: Token) -> str:
    """The value of the header. A secret."""
    return f"Bearer {token.access_token}"


def reject_if_unauthorized(session: SessionBase, token: Token, status: int, sent: str | bytes | None) -> bool:
    """Whether an answer refuses a token, so that a newer one may fare better. The session is told.

    It does with a 401 to a request that carried the token: ``sent`` is its Authorization header. A redirect
    to another host takes the header away, and the 401 from there says nothing of the token.
    """
    value = bearer(token)
    if status != 401 or sent not in (value, value.encode()):
        return False
    try:
        session.reject(token)
    except RejectedFresh:
        return False
    return True


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
