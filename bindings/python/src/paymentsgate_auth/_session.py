"""One account's life: a token that works, at any moment."""

from __future__ import annotations

import contextlib
import json as _json
import logging
import math
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from ._error import DeadlineExceeded, check, make, text_of
from ._event import LogLevel, token_from
from ._library import Handle, Text, library, milliseconds
from ._log import write_log
from ._queue import SLICE, perform, time_left
from ._request import Body, Headers, request_arguments
from ._response import Response
from ._settings import Config, Settings, Value, base_url, new_client, new_config, texts
from ._store import close_at_exit
from ._subscription import Subscription
from ._token import Token
from ._token_cache import TokenCache

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack


class SessionBase:
    """What sessions have in common, whether they block or not."""

    def __init__(self, settings: Mapping[str, Value] | None = None, /, **keywords: Unpack[Settings]) -> None:
        chosen = texts({**(settings or {}), **keywords})  # type: ignore[dict-item]
        # Here and below: a traceback that shows local variables must find no secret in them.
        del settings, keywords
        config = new_config(chosen)
        self._open(new_client(config), config, base_url(chosen))

    @classmethod
    def from_env(cls, settings: Mapping[str, Value] | None = None, /, **keywords: Unpack[Settings]) -> Self:
        """A session from the environment, as :meth:`Client.from_env <paymentsgate_auth.Client.from_env>`."""
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
        """Where the service is that the token is for, as it was set."""
        self._client = client
        self._cache = TokenCache()
        self._handle = make(library.pg_session_free, library.pg_session_open, client, config)
        if config.has_store:
            close_at_exit(self._handle)

    def reject(self, token: Token, http_status: int = 401) -> None:
        """The service answered ``http_status`` to a request with ``token``: 401 withdraws it.

        A token that is no longer the session's costs nothing, so every thread may report what it saw. Any
        other status changes nothing. :class:`RejectedFresh`: so were the tokens before it when they were new;
        it goes on being served, and a report after ``retry_after`` replaces it. Does not block.
        """
        check(library.pg_session_reject, self._handle, token._handle, http_status)

    def set_credentials(self, account_id: str, public_key: str) -> None:
        """Replaces the key of the session's account, and forgets what was held against the old one.

        The current token goes on being served. Credentials of another account are refused
        (:class:`InvalidCall`): open another session for it. A session from a pair alone takes those of any
        account, once. Does not block.
        """
        account, key = Text(account_id), Text(public_key)
        del account_id, public_key
        texts_and_lengths = (account, len(account), key, len(key))
        check(library.pg_session_set_credentials_sized, self._handle, *texts_and_lengths)

    def health(self) -> dict[str, Any]:
        """How the session is, without secrets: phase, generation, counters and so on. Does not block."""
        health: dict[str, Any] = _json.loads(text_of(library.pg_session_health, self._handle))
        return health

    def metrics(self) -> str:
        """The health of all sessions of this one's client, as :meth:`Client.metrics`.

        A session that was opened by itself is the only one of its client.
        """
        return text_of(library.pg_client_metrics, self._client)

    def log_to(self, logger: logging.Logger | None = None) -> None:
        """Writes the lines of the session's log to a logger, until the session ends.

        If none is given it is ``paymentsgate_auth``, which has no handler but a ``NullHandler``. A thread
        does the writing. The logger's level at this moment says how much it is told. A forked child, which
        does not have the thread, asks anew.
        """
        write_log(self._handle, logger or logging.getLogger(__package__))

    def _cached_token(self, timeout: float | None, min_remaining: float) -> Token | None:
        """The token that need not be asked for. A negative time is for the library to refuse."""
        token = self._cache.token()
        if token is None or (timeout is not None and timeout < 0):
            return None
        return token if min_remaining == 0 or 0 < min_remaining <= token.remaining else None

    def _close(self, timeout: float) -> None:
        check(library.pg_session_close, self._handle, milliseconds(timeout))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Session cannot be pickled or copied; open one in each process, or fork")


class Session(SessionBase):
    """Has a token that works, and sees to the next one.

    Takes the settings of a :class:`~paymentsgate_auth.Client`, and makes one for itself; ``client.session()``
    opens a session on a client that is there. Opening connects nowhere: the first pair is bought when
    somebody asks. Any number of threads may use a session at once; so may a forked child, which goes on with
    the token it inherited and buys a pair of its own when that is due.
    """

    def token(self, timeout: float | None = None, min_remaining: float = 0) -> Token:
        """A token that works now: from memory while it is fresh, else from a call that all callers share.

        ``timeout`` is in seconds: None waits as long as it takes, 0 never waits and answers what there is.
        When it has passed, the token there is is handed out as long as it lives. One that lives for less than
        ``min_remaining`` seconds is replaced first. Ctrl-C ends the wait at once.
        """
        if cached := self._cached_token(timeout, min_remaining):
            return cached
        word = self._cache.read_word(self._handle)
        times = milliseconds(min_remaining), milliseconds(timeout)
        event = perform(library.pg_session_token_start, self._handle, *times)
        return self._cache.store(word, token_from(event))

    def refresh(self, timeout: float | None = None) -> Token:
        """Another token than the one there is, got now; all who ask meanwhile share one call to the service.

        For operators and tests: :meth:`token` refreshes in time by itself, and reject() replaces a
        token that the service refused. It is a Refresh, or an Issue where that is refused. Where nothing
        newer comes before ``timeout`` (seconds; None: as long as it takes) it raises, for example
        :class:`DeadlineExceeded`, though :meth:`token` may go on giving the token there is. Ctrl-C ends the
        wait at once; the call goes on.
        """
        return token_from(perform(library.pg_session_refresh_start, self._handle, milliseconds(timeout)))

    def access_token(self, timeout: float | None = None) -> str:
        """The text of :meth:`token`, for ``Authorization: Bearer …``, and the fastest way to it. A secret."""
        # Here and not in a method of its own, which would cost as much as all the rest.
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
        """A request to the API with the session's token, and its complete answer, whatever its HTTP status.

        ``path`` is below ``base_url``, with a query if it has one. ``headers`` are a mapping, or pairs of a
        name and a value. The body is bytes, or ``json`` that is made into them; its Content-Type is
        application/json unless a header says otherwise. ``timeout`` bounds all of it, in seconds; None takes
        the setting ``request_timeout_ms``.

        A 401 is reported to the session, and the request made once more with a newer token. What may have
        been processed is never sent again, save GET, HEAD and OPTIONS; after an error ``retryable`` says
        whether to make the request again is safe. Ctrl-C ends the wait at once, and the request may have been
        processed.
        """
        asked = request_arguments(method, path, headers, body, json)
        del path, headers, body, json
        start = library.pg_session_request_start
        return Response(perform(start, self._handle, *asked, milliseconds(timeout)))

    def subscribe(self, log_level: LogLevel | int = LogLevel.NONE) -> Subscription:
        """News of the session from now on, and the lines of its log up to a level. Does not block."""
        return Subscription(self._handle, log_level)

    def close(self, timeout: float | None = None) -> None:
        """Ends the session's work: callers who wait get :class:`Closed`, and so do all who ask later.

        A call to the service that is under way is waited for until ``timeout`` (seconds; None: as long as it
        takes); if that passes there is a :class:`DeadlineExceeded`, and the session is closed all the same.
        Requests are given up, subscriptions end, tokens live on. Subscriptions of a session from a pair end
        when the call under way has ended, also where that is after this: read them to their end. May be
        called again.
        """
        end = time.monotonic() + (math.inf if timeout is None else timeout)
        while (left := end - time.monotonic()) > SLICE:
            with contextlib.suppress(DeadlineExceeded):
                return self._close(SLICE)
        self._close(time_left(left, timeout))
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A call under way ends by itself; what it brings is news for the subscriptions.
        with contextlib.suppress(DeadlineExceeded):
            self.close(timeout=0)
