"""One account's life: a token that works, at any moment."""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Mapping
from ctypes import string_at
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from ._error import DeadlineExceeded, PaymentsGateError, Status, check, make
from ._library import Handle, Text, library, milliseconds
from ._settings import Settings, Value, new_client, new_config, texts
from ._token import Token

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

# Python handles signals between two calls of the library, not during one: a long wait is made of short ones.
# Leaving one does not stop the library, which goes on with its call to the service.
_SLICE = 0.2


class Session:
    """Has a token that works, and sees to the next one.

    Takes the settings of a :class:`~paymentsgate_auth.Client`, and makes one for itself; ``client.session()``
    opens a session on a client that is there. Opening connects nowhere: the first pair is bought when
    somebody asks. Any number of threads may use a session at once; so may a forked child, which goes on with
    the token it inherited and buys a pair of its own when that is due.
    """

    def __init__(self, settings: Mapping[str, Value] | None = None, /, **keywords: Unpack[Settings]) -> None:
        chosen = texts({**(settings or {}), **keywords})  # type: ignore[dict-item]
        # Here and below: a traceback that shows local variables must find no secret in them.
        del settings, keywords
        config = new_config(chosen)
        self._handle = _open(new_client(config), config)

    @classmethod
    def from_env(cls, settings: Mapping[str, Value] | None = None, /, **keywords: Unpack[Settings]) -> Self:
        """A session from the environment, as :meth:`Client.from_env <paymentsgate_auth.Client.from_env>`."""
        chosen = texts({**(settings or {}), **keywords})  # type: ignore[dict-item]
        del settings, keywords
        config = new_config(chosen, from_env=True)
        return cls._on(new_client(config), config)

    @classmethod
    def _on(cls, client: Handle, config: Handle) -> Self:
        session = cls.__new__(cls)
        session._handle = _open(client, config)
        return session

    def token(self, timeout: float | None = None, min_remaining: float = 0) -> Token:
        """A token that works now: from memory while it is fresh, else from a call that all callers share.

        ``timeout`` is in seconds: None waits as long as it takes, 0 never waits and answers what there is.
        When it has passed, the token there is is handed out as long as it lives. One that lives for less than
        ``min_remaining`` seconds is replaced first. Ctrl-C ends the wait at once.
        """
        # Signals are the main thread's business.
        if threading.current_thread() is threading.main_thread():
            return self._wait_in_slices(math.inf if timeout is None else timeout, min_remaining)
        return self._ask(timeout, min_remaining)

    def reject(self, token: Token, http_status: int = 401) -> None:
        """The service answered ``http_status`` to a request with ``token``: 401 withdraws it.

        A token that is no longer the session's costs nothing, so every thread may report what it saw. Any
        other status changes nothing.
        """
        check(library.pg_session_reject, self._handle, token._handle, http_status)

    def set_credentials(self, account_id: str, public_key: str) -> None:
        """Replaces the credentials, and forgets what was held against the old ones.

        The current token goes on being served.
        """
        account, key = Text(account_id), Text(public_key)
        del account_id, public_key
        texts_and_lengths = (account, len(account), key, len(key))
        check(library.pg_session_set_credentials_sized, self._handle, *texts_and_lengths)

    def health(self) -> dict[str, Any]:
        """How the session is, without secrets: phase, generation, counters and so on."""
        text = make(library.pg_text_free, library.pg_session_health, self._handle)
        health: dict[str, Any] = json.loads(string_at(text._as_parameter_))
        return health

    def close(self, timeout: float | None = None) -> None:
        """Ends the session's work: callers who wait get :class:`Closed`, and so does whoever asks later.

        A call to the service that is under way is waited for until ``timeout`` (seconds; None: as long as it
        takes); if that passes there is a :class:`DeadlineExceeded`, and the session is closed all the same.
        Tokens live on. May be called again.
        """
        timeout = math.inf if timeout is None else timeout
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > _SLICE:
            with contextlib.suppress(DeadlineExceeded):
                check(library.pg_session_close, self._handle, milliseconds(_SLICE))
                return
        check(library.pg_session_close, self._handle, milliseconds(_rest(left, timeout)))

    def _wait_in_slices(self, timeout: float, min_remaining: float) -> Token:
        """One ask made of short ones, whose answer may not be the last word."""
        end = time.monotonic() + timeout
        while (left := end - (begun := time.monotonic())) > _SLICE:
            try:
                token = self._ask(_SLICE, min_remaining)
            except PaymentsGateError as error:
                wait = _waited_out_in(error)
                if wait >= left:
                    raise
                time.sleep(min(wait, _SLICE))
            else:
                # At the end of its time an ask gets the old token; there is time to wait for a new one.
                if time.monotonic() - begun < _SLICE:
                    return token
        return self._ask(_rest(left, timeout), min_remaining)

    def _ask(self, timeout: float | None, min_remaining: float) -> Token:
        times = milliseconds(min_remaining), milliseconds(timeout)
        return Token(make(library.pg_token_free, library.pg_session_token_lasting, self._handle, *times))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A call under way ends by itself, and nobody wants its answer.
        with contextlib.suppress(DeadlineExceeded):
            self.close(timeout=0)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Session cannot be pickled or copied; open one in each process, or fork")


def _open(client: Handle, config: Handle) -> Handle:
    return make(library.pg_session_free, library.pg_session_open, client, config)


def _rest(left: float, timeout: float) -> float:
    """What is left of a wait. A negative timeout stays one: the library refuses it."""
    return timeout if timeout < 0 else max(left, 0)


def _waited_out_in(error: PaymentsGateError) -> float:
    """When the library tries again for a caller who has that long; it turns away whoever has not."""
    if error.retryable and error.retry_after is not None:
        return error.retry_after
    return 0 if error.status is Status.TIMEOUT else math.inf
