"""Shared by the modules for HTTP clients: which requests get a token, how long a request waits for it, and
when a refused token is reported.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from ._error import RejectedFresh
from ._provider import ProviderBase
from ._token import Token

_PORTS = {"http": 80, "https": 443}

DEFAULT_WAIT = 30.0
"""In seconds, if neither the program nor its client sets a limit: the default of ``request_timeout_ms``."""


def wait_for_token(own: float | None, client: Iterable[object] = ()) -> float:
    """How long a request may wait for a token: the limit of the auth, else the client's longest timeout."""
    if own is not None:
        return own
    timeouts = [float(timeout) for timeout in client if isinstance(timeout, int | float)]
    return max(timeouts, default=DEFAULT_WAIT)


def is_same_origin(session: ProviderBase, url: str) -> bool:
    """Whether a URL has the origin of the session's service. Only that origin gets the token."""
    try:
        return _origin(url) == _origin(session.base_url)
    except ValueError:
        # It is not a URL.
        return False


def bearer(token: Token) -> str:
    """The value of the header. A secret."""
    return f"Bearer {token.access_token}"


def reject_if_unauthorized(
    session: ProviderBase, token: Token, status: int, sent: str | bytes | None
) -> bool:
    """Reports the token to the session if the answer refuses it. True: a newer token may be accepted.

    A 401 refuses the token if the request carried it: ``sent`` is the request's Authorization header. A
    redirect to another host removes the header, so a 401 from that host does not concern the token.
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
