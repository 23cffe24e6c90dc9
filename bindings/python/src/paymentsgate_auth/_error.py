"""Exceptions: one base class with all details of a failure, and subclasses to catch groups of failures."""

from __future__ import annotations

import enum
from collections.abc import Callable
from ctypes import byref, c_void_p, string_at
from typing import Any

from ._library import Handle, library, text_from


class OpenEnum(enum.IntEnum):
    """An enum that accepts unknown numbers, because a newer library may return them."""

    @classmethod
    def _missing_(cls, value: object) -> OpenEnum | None:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_, member._value_ = f"UNKNOWN_{value}", value
        return member


class Status(OpenEnum):
    """The result of a call. The numbers and their meaning are those of ``pg_status``."""

    OK = 0
    NULL_POINTER = 1
    INVALID_UTF8 = 2
    INVALID_ARGUMENT = 3
    CLOSED = 4
    CANCELED = 5
    UNKNOWN_SETTING = 100
    INVALID_SETTING = 101
    MISSING_SETTING = 102
    CONFLICTING_SETTINGS = 103
    FILE_UNREADABLE = 104
    INVALID_CREDENTIALS_FILE = 105
    INVALID_PEM = 106
    INSECURE_URL = 107
    NO_CREDENTIALS = 108
    DNS = 200
    CONNECT = 201
    PROXY = 202
    TLS = 203
    CERTIFICATE_EXPIRED = 204
    CERTIFICATE_UNTRUSTED = 205
    CERTIFICATE_NAME = 206
    TIMEOUT = 207
    CONNECTION_LOST = 208
    STREAM_REFUSED = 209
    REFUSED = 300
    RATE_LIMITED = 301
    BLOCKED = 302
    REDIRECT = 303
    SERVER = 304
    MALFORMED_ANSWER = 305
    ANSWER_TOO_LARGE = 306
    BORN_EXPIRED = 307
    REJECTED_FRESH = 308
    STORE = 400
    STORE_REFUSED = 401
    STORE_KEY = 402
    INTERNAL = 900
    SYSTEM = 901


class Fate(OpenEnum):
    """What happened to the refresh token of a failed call."""

    NONE = 0
    """The call carried no refresh token."""
    UNSENT = 1
    """No byte of it has left this machine: it may be presented again."""
    NOT_CONSUMED = 2
    """The server did not use it: it may be presented again."""
    REFUSED = 3
    """The server refused it: issue a new pair."""
    UNKNOWN = 4
    """The answer was lost, and it may be spent: never present it again, issue a new pair."""


class PaymentsGateError(Exception):
    """Why a call failed, and all that is needed to decide what to do. It holds no secret.

    Its ``str`` is the library's text: what happened, where, and what to do.
    """

    def __init__(
        self,
        text: str,
        *,
        status: Status = Status.INTERNAL,
        http_status: int | None = None,
        server_code: str | None = None,
        server_message: str | None = None,
        server_details: str | None = None,
        retry_after: float | None = None,
        cause: Status | None = None,
        retryable: bool = False,
        needs_credentials: bool = False,
        fate: Fate = Fate.NONE,
    ) -> None:
        super().__init__(text)
        self.text = text
        """The same as ``str``."""
        self.status = status
        """The class of the failure."""
        self.http_status = http_status
        """The HTTP status of the answer, if one came."""
        self.server_code = server_code
        """The error code that the server sent, for example ``ERROR_CREDENTIALS_NOT_FOUND``."""
        self.server_message = server_message
        """The message that the server sent."""
        self.server_details = server_details
        """The ``details`` that the server sent, as JSON text."""
        self.retry_after = retry_after
        """How many seconds to wait: as the server asked, or until the session retries by itself."""
        self.cause = cause
        """The failure before the deadline of a session's caller passed, for example ``Status.CONNECT``.

        The text includes it. None if it is not known, and for every status except ``TIMEOUT``.
        """
        self.retryable = retryable
        """Whether the same call may succeed later and is safe to repeat."""
        self.needs_credentials = needs_credentials
        """Whether only credentials help: issue a new pair, or set other credentials."""
        self.fate = fate
        """Whether the refresh token may be presented again."""

    @property
    def status_name(self) -> str:
        """The name of the status in the C header, for example ``PG_ERR_TIMEOUT``."""
        return str(library.pg_status_name(self.status).decode())


class InvalidCall(PaymentsGateError, ValueError):
    """An argument is invalid (1-99)."""


class Closed(InvalidCall, RuntimeError):
    """The client or the session is closed."""


class ConfigurationError(PaymentsGateError):
    """A setting is invalid, or a file that it names cannot be used (100-199)."""


class NetworkError(PaymentsGateError, ConnectionError):
    """There was no answer (200-299)."""


class DeadlineExceeded(NetworkError, TimeoutError):
    """There was no answer in time. Its attribute cause says why the last attempt of a session failed."""


class ServiceError(PaymentsGateError):
    """The service answered, but not with a usable token (300-399)."""


class StoreError(PaymentsGateError):
    """The store cannot be used (400-499). The session continues with the token that it has."""


class Refused(ServiceError):
    """The service refused the credentials or the refresh token."""


class RejectedFresh(ServiceError):
    """The service refuses tokens that it has just issued. A report after a pause obtains the next token."""


_CLASSES: dict[int, type[PaymentsGateError]] = {
    Status.CLOSED: Closed,
    Status.CANCELED: PaymentsGateError,
    Status.TIMEOUT: DeadlineExceeded,
    Status.REFUSED: Refused,
    Status.REJECTED_FRESH: RejectedFresh,
}
_GROUPS = {0: InvalidCall, 1: ConfigurationError, 2: NetworkError, 3: ServiceError, 4: StoreError}


def check(function: Any, *arguments: object) -> None:
    """Calls a function of the library, and raises its error."""
    pointer = c_void_p()
    if function(*arguments, byref(pointer)) != Status.OK:
        raise exception(Handle(pointer, library.pg_error_free))


def make(free: Callable[[Any], None], function: Any, *arguments: object) -> Handle:
    """Calls a function of the library that returns an object, which ``free`` frees."""
    pointer = c_void_p()
    check(function, *arguments, byref(pointer))
    return Handle(pointer, free)


def text_of(function: Any, *arguments: object) -> str:
    """Calls a function of the library that returns a text."""
    text = make(library.pg_text_free, function, *arguments)
    return string_at(text._as_parameter_).decode()


def exception(error: Handle | int) -> PaymentsGateError:
    """Converts an error of the library."""
    number = library.pg_error_status(error)
    retry_after_ms = library.pg_error_retry_after_ms(error)
    group = _GROUPS.get(number // 100, PaymentsGateError)
    return _CLASSES.get(number, group)(
        library.pg_error_text(error).decode(),
        status=Status(number),
        http_status=library.pg_error_http_status(error) or None,
        server_code=text_from(library.pg_error_server_code(error)),
        server_message=text_from(library.pg_error_server_message(error)),
        server_details=text_from(library.pg_error_server_details(error)),
        retry_after=None if retry_after_ms < 0 else retry_after_ms / 1000,
        cause=Status(library.pg_error_cause(error)) or None,
        retryable=library.pg_error_is_retryable(error),
        needs_credentials=library.pg_error_needs_credentials(error),
        fate=Fate(library.pg_error_refresh_token_fate(error)),
    )
