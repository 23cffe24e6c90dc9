"""Events of a session."""

from __future__ import annotations

from dataclasses import dataclass

from ._error import OpenEnum, PaymentsGateError, exception
from ._library import Handle, library, text_from
from ._token import Token


class EventKind(OpenEnum):
    """The kind of an event. A newer library may have more kinds: ignore unknown ones."""

    ENDED = 3
    """The subscription has ended, with the session or by ``close()``: ``error`` says which."""
    ROTATED = 10
    """There is a new token. For a session opened from a pair it includes the refresh token: store it."""
    REFRESH_FAILED = 11
    """A renewal failed; ``error`` says why. The session retries by itself."""
    AMBIGUOUS = 12
    """The answer to a refresh was lost; the refresh token may be spent. The session handles it."""
    CREDENTIALS_REJECTED = 13
    """The service refused the credentials: set others."""
    DEGRADED = 14
    """The first failure after a success: the session uses the token that it has."""
    RECOVERED = 15
    """The first success after a failure."""
    LOG = 20
    """A line of the session's log."""


class LogLevel(OpenEnum):
    """The severity of a log line, and the limit up to which a subscription gets log lines."""

    NONE = 0
    """No lines, only events."""
    ERROR = 1
    """The session cannot continue by itself."""
    WARN = 2
    """Something failed, and the session is recovering."""
    INFO = 3
    """Changes: a new token, the end of the session."""
    DEBUG = 4
    """Every step."""


@dataclass(frozen=True)
class Event:
    """One event. Its repr shows no secret: a token is shown as its fingerprint."""

    kind: EventKind
    token: Token | None = None
    """The new token, for ``ROTATED``."""
    error: PaymentsGateError | None = None
    """The reason, for events that report a failure, and for ``ENDED``."""
    text: str | None = None
    """The log line, for ``LOG``."""
    level: LogLevel = LogLevel.NONE
    """The severity of the log line."""


def event_from(handle: Handle) -> Event:
    """Converts an event of the library."""
    error = library.pg_event_error(handle)
    return Event(
        EventKind(library.pg_event_kind(handle)),
        token_from(handle) if library.pg_event_token(handle) else None,
        exception(error) if error else None,
        text_from(library.pg_event_text(handle)),
        LogLevel(library.pg_event_log_level(handle)),
    )


def token_from(event: Handle) -> Token:
    """The token of an event. It stays valid without the event."""
    token = library.pg_token_ref(library.pg_event_token(event))
    return Token(Handle(token, library.pg_token_free))
