"""News of a session."""

from __future__ import annotations

from dataclasses import dataclass

from ._error import OpenEnum, PaymentsGateError, exception
from ._library import Handle, library, text_from
from ._token import Token


class EventKind(OpenEnum):
    """What an event is. A newer library may tell of more: leave out what you do not know."""

    ENDED = 3
    """The subscription has ended, with the session or by ``close()``: ``error`` says which."""
    ROTATED = 10
    """There is a new token. Of a session that was opened from a pair it has its refresh token: keep it."""
    REFRESH_FAILED = 11
    """No new token could be had; the error says why. The session tries again by itself."""
    AMBIGUOUS = 12
    """The answer to a refresh was lost, and with it perhaps the refresh token. The session sees to it."""
    CREDENTIALS_REJECTED = 13
    """The service refused the credentials: others are wanted."""
    DEGRADED = 14
    """The first failure after a success: the session lives on the token that it has."""
    RECOVERED = 15
    """The first success after a failure."""
    LOG = 20
    """A line of the session's log."""


class LogLevel(OpenEnum):
    """How much a line of the log matters, and how much a subscriber wants to hear."""

    NONE = 0
    """No lines, only events."""
    ERROR = 1
    """The session cannot go on by itself."""
    WARN = 2
    """Something went wrong and is being mended."""
    INFO = 3
    """What changes: a new token, the end of the session."""
    DEBUG = 4
    """Every step."""


@dataclass(frozen=True)
class Event:
    """One piece of news. It shows no secret: its token is shown as a fingerprint."""

    kind: EventKind
    token: Token | None = None
    """The token that came with it."""
    error: PaymentsGateError | None = None
    """Why, where it is bad news."""
    text: str | None = None
    """The line of the log."""
    level: LogLevel = LogLevel.NONE
    """How much that line matters."""


def event_from(handle: Handle) -> Event:
    """What an event of the library's is in Python."""
    error = library.pg_event_error(handle)
    return Event(
        EventKind(library.pg_event_kind(handle)),
        token_from(handle) if library.pg_event_token(handle) else None,
        exception(error) if error else None,
        text_from(library.pg_event_text(handle)),
        LogLevel(library.pg_event_log_level(handle)),
    )


def token_from(event: Handle) -> Token:
    """The token of an event, which lives on without it."""
    token = library.pg_token_ref(library.pg_event_token(event))
    return Token(Handle(token, library.pg_token_free))
