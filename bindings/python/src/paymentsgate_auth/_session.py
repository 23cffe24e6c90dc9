"""A session of one account, which always has a working token."""

from __future__ import annotations

import contextlib
import json as _json
import logging
import math
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NoReturn

from . import _gevent
from ._error import Closed, DeadlineExceeded, PaymentsGateError, check, make, text_of
from ._event import LogLevel, token_from
from ._library import Handle, Text, library, milliseconds
from ._log import LAST_LINES, write_log
from ._queue import SLICE, perform, time_left
from ._request import Body, Headers, request_arguments
from ._response import Response
from ._settings import Config, Settings, Value, base_url, new_client, new_config, texts
from ._store import close_at_exit
from ._subscription import Subscription
from ._token import Token
from ._token_cache import TokenCache
from ._typing import Self, Unpack

# The interval at which a close() that must not block checks whether the session has ended.
PAUSE = 0.02


class SessionBase:
    """Shared by the blocking and the async session."""

    def __init__(self, settings: Mapping[str, Value] | None = None, /, **keywords: Unpack[Settings]) -> None:
        chosen = texts({**(settings or {}), **keywords})  # type: ignore[dict-item]
        # Here and below: deleted so that a traceback with local variables shows no secret.
        del settings, keywords
        config = new_config(chosen)
        self._open(new_client(config), config, base_url(chosen))

    @classmethod
    def from_env(cls, settings: Mapping[str, Value] | None = None, /, **keywords: Unpack[Settings]) -> Self:
        """Opens a session as :meth:`Client.from_env <paymentsgate_auth.Client.from_env>` makes a client."""
        chosen = texts({**(settings or {}), **keywords})  # type: ignore[dict-item]
        del settings, keywords
        config = new_config(chosen, from_env=True)
        return cls._on_client(new_client(config), config, base_url(chosen, from_env=True))

    @classmethod
    def _on_client(cls, client: Handle, config: Config, url: str) -> Self:
        session = cls.__new__(cls)
        session._open(client, config, url)
        return session

    def _open(self, client: Handle, config: Config, url: str) -> None:
        self.base_url = url
        """The URL of the service for which the token is valid, as it was set."""
        self._client = client
        self._cache = TokenCache()
        self._log_threads: list[threading.Thread] = []
        self._handle = make(library.pg_session_free, library.pg_session_open, client, config)
        if config.has_store:
            close_at_exit(self._handle)

    def reject(self, token: Token, http_status: int = 401) -> None:
        """Reports that the service answered ``http_status`` to a request with ``token``. A 401 withdraws it.

        Reporting a token that is no longer the session's current one has no effect, so every thread may
        report what it saw. Any other status changes nothing. :class:`RejectedFresh` means that the tokens
        before this one were also refused soon after issue; the session continues to return this token, and a
        report after ``retry_after`` replaces it. Does not block.
        """
        check(library.pg_session_reject, self._handle, token._handle, http_status)

    def set_credentials(self, account_id: str, public_key: str) -> None:
        """Replaces the key of the session's account, and clears the back-off and refusals of the old key.

        The current token stays in use. Credentials of another account are refused (:class:`InvalidCall`):
        open another session for that account. A session opened from a pair without credentials accepts those
        of any account, once. Does not block.
        """
        account, key = Text(account_id), Text(public_key)
        del account_id, public_key
        texts_and_lengths = (account, len(account), key, len(key))
        check(library.pg_session_set_credentials_sized, self._handle, *texts_and_lengths)

    def health(self) -> dict[str, Any]:
        """Returns the session's state: phase, generation, counters and so on. No secret. Does not block."""
        health: dict[str, Any] = _json.loads(text_of(library.pg_session_health, self._handle))
        return health

    def metrics(self) -> str:
        """Returns the health of all sessions of this session's client, as :meth:`Client.metrics`.

        A session that was opened without a client is the only one of its own client.
        """
        return text_of(library.pg_client_metrics, self._client)

    def log_to(self, logger: logging.Logger | None = None) -> None:
        """Writes the session's log lines to a logger, until the session ends.

        The default logger is ``paymentsgate_auth``, which has only a ``NullHandler``. A thread writes the
        lines, up to the level that the logger has at the time of this call. A forked child does not have the
        thread, and must call this again. :meth:`close` waits for the last lines, within its timeout and for a
        second at most.
        """
        self._log_threads.append(write_log(self._handle, logger or logging.getLogger(__package__)))

    def _cached_token(self, timeout: float | None, min_remaining: float) -> Token | None:
        """The cached token, if it is valid for this call. The library must refuse a negative time."""
        token = self._cache.token()
        if token is None or (timeout is not None and timeout < 0):
            return None
        return token if min_remaining == 0 or 0 < min_remaining <= token.remaining else None

    def _close(self, timeout: float) -> None:
        check(library.pg_session_close, self._handle, milliseconds(timeout))

    def _other_log_threads(self) -> list[threading.Thread]:
        # A handler of the log may close the session: its own thread cannot wait for itself.
        return [thread for thread in self._log_threads if thread is not threading.current_thread()]

    def __repr__(self) -> str:
        """Shows the phase, the time that is left, and the generation. No secret. Does not block."""
        name = type(self).__name__
        if not hasattr(self, "_handle"):
            return f"<{name} not open>"
        try:
            health = self.health()
        except PaymentsGateError as error:
            return f"<{name} {'closed' if isinstance(error, Closed) else error.status_name}>"
        left, generation = health["seconds_left"], health["generation"]
        return f"<{name} {health['phase']}, {left} s left, generation {generation}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Session cannot be pickled or copied; open one in each process, or fork")


class Session(SessionBase):
    """Keeps a working token for one account and renews it in time.

    It takes the settings of a :class:`~paymentsgate_auth.Client`, and makes its own client.
    ``client.session()`` opens a session on an existing client. Opening makes no connection: the session
    obtains the first pair when a caller asks for a token. Any number of threads may use a session at once,
    and so may a forked child. The child uses the token that it inherited, and obtains its own pair when a
    renewal is due.
    """

    def token(self, timeout: float | None = None, min_remaining: float = 0) -> Token:
        """Returns a token that works now: from memory while it is fresh, else from a call that callers share.

        ``timeout`` is in seconds. None waits without a limit; 0 never waits and returns the current token.
        After the timeout, the current token is returned until it expires. A token that is valid for less than
        ``min_remaining`` seconds is replaced first. Ctrl-C ends the wait at once.
        """
        if cached := self._cached_token(timeout, min_remaining):
            return cached
        word = self._cache.read_word(self._handle)
        times = milliseconds(min_remaining), milliseconds(timeout)
        event = perform(library.pg_session_token_start, self._handle, *times)
        return self._cache.store(word, token_from(event))

    def refresh(self, timeout: float | None = None) -> Token:
        """Obtains a newer token now. Concurrent callers share one call to the service.

        For operators and tests: :meth:`token` renews in time by itself, and reject() replaces a token
        that the service refused. The call is a Refresh, or an Issue if the Refresh is refused. If no newer
        token comes before ``timeout`` (in seconds; None: no limit), it raises, for example
        :class:`DeadlineExceeded`, although :meth:`token` may still return the current token. Ctrl-C ends the
        wait at once; the call continues.
        """
        return token_from(perform(library.pg_session_refresh_start, self._handle, milliseconds(timeout)))

    def access_token(self, timeout: float | None = None) -> str:
        """Returns the text of :meth:`token`, for ``Authorization: Bearer …``. The fastest call. A secret."""
        # Written inline: a method call would double the time.
        cache = self._cache
        entry = cache.entry
        if entry.word == cache.word.value and entry.text is not None:
            return entry.text
        return self.token(timeout).access_token

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Headers | None = None,
        body: Body | None = None,
        json: object = None,
        timeout: float | None = None,
    ) -> Response:
        """Makes a request to the API with the session's token. Returns the complete answer with any status.

        ``path`` is appended to ``base_url``, and may have a query. ``headers`` is a mapping, or pairs of name
        and value. The body is given as bytes in ``body``, or as ``json``, which is encoded. Its Content-Type
        is application/json unless a header sets another. ``timeout`` limits the whole call, in seconds; None
        means the setting ``request_timeout_ms``.

        After a 401, the token is reported, and the request is repeated once with a newer one. A request that
        may have been processed is never sent again, except GET, HEAD and OPTIONS. After an error,
        ``retryable`` says whether it is safe to repeat the request. Ctrl-C ends the wait at once, and the
        request may have been processed.
        """
        asked = request_arguments(method, path, headers, body, json)
        del path, headers, body, json
        start = library.pg_session_request_start
        return Response(perform(start, self._handle, *asked, milliseconds(timeout)))

    def subscribe(self, log_level: LogLevel | int = LogLevel.NONE) -> Subscription:
        """Subscribes to the session's events from now on, and to log lines up to a level. Does not block."""
        return Subscription(self._handle, log_level)

    def close(self, timeout: float | None = None) -> None:
        """Ends the session's work. Callers that wait get :class:`Closed`, and so do later calls.

        It waits for a call to the service that is in progress until ``timeout`` (in seconds; None: no limit).
        After that it raises :class:`DeadlineExceeded`, but the session is closed anyway. Within the timeout
        it also waits until the last lines of the log are written, for a second at most. Requests in
        progress are abandoned, subscriptions end, and tokens stay valid. The subscriptions of a session
        opened from a pair end after the call in progress, even if that is after this call returns: read them
        to their end. May be called again.
        """
        end = time.monotonic() + (math.inf if timeout is None else timeout)
        # A greenlet of gevent must not block, so it asks again and again.
        is_greenlet = _gevent.is_patched()
        step = 0 if is_greenlet else SLICE
        while (left := end - time.monotonic()) > step:
            with contextlib.suppress(DeadlineExceeded):
                self._close(step)
                return self._wait_for_log(end)
            if is_greenlet:
                _gevent.pause(min(left, PAUSE))
        self._close(time_left(left, timeout))
        return self._wait_for_log(end)

    def _wait_for_log(self, end: float) -> None:
        end = min(end, time.monotonic() + LAST_LINES)
        for thread in self._other_log_threads():
            thread.join(max(end - time.monotonic(), 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A call in progress ends by itself. The subscriptions get its result.
        with contextlib.suppress(DeadlineExceeded):
            self.close(timeout=0)
