"""A client of one service: the two calls, and opening sessions."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, NoReturn, TypeVar

from . import _gevent
from ._async_session import AsyncSession
from ._error import Closed, InvalidCall, Status, make, text_of
from ._event import token_from
from ._library import Handle, Text, library, milliseconds, without_nul
from ._queue import perform
from ._session import Session, SessionBase
from ._settings import Chosen, Settings, Value, base_url, new_client, new_config, texts
from ._token import Token
from ._typing import Self, Unpack

Texts = tuple[Text | None, Text | None]
_Kind = TypeVar("_Kind", bound=SessionBase)


class ClientBase:
    """Shared by the blocking and the async client."""

    def __init__(self, settings: Mapping[str, Value] | None = None, /, **keywords: Unpack[Settings]) -> None:
        chosen = texts({**(settings or {}), **keywords})  # type: ignore[dict-item]
        # Here and below: deleted so that a traceback with local variables shows no secret.
        del settings, keywords
        self._open(new_config(chosen), base_url(chosen))

    @classmethod
    def from_env(cls, settings: Mapping[str, Value] | None = None, /, **keywords: Unpack[Settings]) -> Self:
        """Makes a client from the environment: ``tls.ca_file`` from PAYMENTSGATE_TLS_CA_FILE, and so on.

        Settings that are given as arguments override the variables.
        """
        chosen = texts({**(settings or {}), **keywords})  # type: ignore[dict-item]
        del settings, keywords
        client = cls.__new__(cls)
        client._open(new_config(chosen, from_env=True), base_url(chosen, from_env=True))
        return client

    def _open(self, config: Handle, url: str) -> None:
        self.base_url = url
        """The URL of the service, as it was set."""
        self._handle: Handle | None = new_client(config)

    def close(self) -> None:
        """Closes the connections when the last call in progress has ended. Tokens and sessions stay usable.

        May be called again."""
        self._handle = None

    def metrics(self) -> str:
        """Returns the health of the client's sessions as numbers, in the text format of Prometheus.

        Serve it to Prometheus as ``text/plain; version=0.0.4``. It includes the sessions that have been used
        in this process and are not closed. Does not block.
        """
        return text_of(library.pg_client_metrics, self._open_handle())

    def _session(self, kind: type[_Kind], chosen: Chosen) -> _Kind:
        return kind._on_client(self._open_handle(), new_config(chosen), self.base_url)

    def _open_handle(self) -> Handle:
        handle = self._handle
        if handle is None:
            raise Closed("the client is closed", status=Status.CLOSED)
        return handle

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Client cannot be pickled or copied; make one in each process")


class Client(ClientBase):
    """The connection to one service: TLS, proxy, a connection pool, and credentials if they are set.

    Settings are keywords (``tls_ca_file`` is the library's ``tls.ca_file``), or a mapping with the library's
    own names, or both. Any number of threads may use a client at once, and so may a forked child.
    """

    def issue(
        self, account_id: str | None = None, public_key: str | None = None, *, timeout: float | None = None
    ) -> Token:
        """Obtains a first pair with credentials: those given, or those of the settings.

        It consumes nothing. ``timeout`` limits the whole call, in seconds. None means the setting
        ``issue_timeout_ms``, and 0 sends nothing. Python handles signals, also Ctrl-C, when the call has
        ended.
        """
        given = (text(account_id), text(public_key))
        del account_id, public_key
        return self._call(library.pg_issue_token_sized, library.pg_issue_token_start, given, timeout)

    def refresh(
        self, token: Token | str, *, access_token: str | None = None, timeout: float | None = None
    ) -> Token:
        """Obtains the next pair with the refresh token of a token, or with the text of a refresh token.

        The refresh token is presented once, and nothing is repeated. After a failure, ``fate`` says whether
        it may be presented again. The access token goes into the Authorization header, and may have expired.
        With the text of a refresh token, an access token is sent only if it is given. ``timeout`` is as for
        :meth:`issue`, with the setting ``refresh_timeout_ms``.
        """
        bearer = text(access_token)
        del access_token
        given = refresh_texts(token, bearer)
        del token
        return self._call(library.pg_refresh_token_sized, library.pg_refresh_token_start, given, timeout)

    def session(
        self, settings: Mapping[str, Value] | None = None, /, **keywords: Unpack[Settings]
    ) -> Session:
        """Opens a session that uses this client's connections, also after the client is closed.

        Settings for a session: the credentials (default: those of the client), a pair to start from
        (``access_token``, ``refresh_token``, ``access_token_expires_in_s``), a store (``store`` and the other
        store settings), ``on_ambiguous`` and ``keep_warm``.
        """
        chosen = texts({**(settings or {}), **keywords})  # type: ignore[dict-item]
        del settings, keywords
        return self._session(Session, chosen)

    def async_session(
        self, settings: Mapping[str, Value] | None = None, /, **keywords: Unpack[Settings]
    ) -> AsyncSession:
        """Opens a session for programs with an event loop, as :meth:`session`."""
        chosen = texts({**(settings or {}), **keywords})  # type: ignore[dict-item]
        del settings, keywords
        return self._session(AsyncSession, chosen)

    def _call(self, function: Any, start: Any, given: Texts, timeout: float | None) -> Token:
        first, second = given
        handle = self._open_handle()
        if _gevent.is_patched():
            both = without_nul(first), without_nul(second)
            return token_from(perform(start, handle, *both, milliseconds(timeout)))
        texts_and_lengths = (first, len(first or ()), second, len(second or ()))
        return Token(make(library.pg_token_free, function, handle, *texts_and_lengths, milliseconds(timeout)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def refresh_texts(token: Token | str, access_token: Text | None) -> Texts:
    """The access token to send, if any, and the refresh token."""
    if not isinstance(token, Token):
        return access_token, Text(token)
    if token.refresh_token is None:
        raise InvalidCall(
            f"refresh: the token {token.fingerprint} has no refresh token; issue a new pair",
            status=Status.INVALID_ARGUMENT,
            needs_credentials=True,
        )
    bearer = Text(token.access_token) if access_token is None else access_token
    return bearer, Text(token.refresh_token)


def text(given: str | None) -> Text | None:
    return None if given is None else Text(given)
