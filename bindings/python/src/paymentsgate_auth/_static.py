"""Replacements of sessions for tests: their tokens are fixed, and no call leaves the process."""

from __future__ import annotations

import threading
from hashlib import sha256
from types import TracebackType

from ._error import Closed, RejectedFresh, Status
from ._library import Text
from ._token import Token
from ._typing import Self

_LIFETIME = 3600.0
_PAUSE = 1.0


class StaticToken(Token):
    """A token that never expires. It does not call the library."""

    def __init__(self, text: str, generation: int) -> None:
        # The library refuses NULL: a real session reports such a token as an invalid argument.
        self._handle = None  # type: ignore[assignment]
        self._text = Text(text)
        self._fingerprint = sha256(text.encode()).hexdigest()[:16]
        self._generation = generation

    @property
    def access_token(self) -> str:
        return str(self._text._as_parameter_.decode())

    @property
    def refresh_token(self) -> None:
        return None

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def lifetime(self) -> float:
        return _LIFETIME

    @property
    def lifetime_disagreement(self) -> float:
        return 0.0

    @property
    def remaining(self) -> float:
        return _LIFETIME

    @property
    def generation(self) -> int:
        return self._generation


class StaticBase:
    """Shared by the blocking and the async static session."""

    def __init__(self, token: str, *next_tokens: str, base_url: str = "https://paymentsgate.invalid") -> None:
        self.base_url = base_url
        """The URL whose origin gets the token. The default is a host that does not exist."""
        self.rejected: list[Token] = []
        """The tokens that were reported with a 401, in the order of the reports."""
        texts = (token, *next_tokens)
        self._tokens = [StaticToken(text, number) for number, text in enumerate(texts, start=1)]
        self._current = 0
        self._closed = False
        self._lock = threading.Lock()

    def reject(self, token: Token, http_status: int = 401) -> None:
        """Replaces the current token by the next one, as a session does after a 401.

        If there is no next one, it raises :class:`RejectedFresh`, as a session does if the service refuses
        every token. Reporting another token has no effect, and neither has any other status.
        """
        self._check_open()
        if http_status != 401:
            return
        with self._lock:
            self.rejected.append(token)
            if token.fingerprint != self._tokens[self._current].fingerprint:
                return
            if self._current + 1 < len(self._tokens):
                self._current += 1
                return
        raise RejectedFresh(
            "the static session has no other token",
            status=Status.REJECTED_FRESH,
            retry_after=_PAUSE,
        )

    def _current_token(self) -> Token:
        self._check_open()
        return self._tokens[self._current]

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("the static session is closed", status=Status.CLOSED)

    def __repr__(self) -> str:
        if self._closed:
            return f"<{type(self).__name__} closed>"
        return f"<{type(self).__name__} generation {self._current + 1}>"


class StaticSession(StaticBase):
    """Replaces a :class:`Session` in unit tests of a program: a :class:`TokenProvider` without a network.

    It returns ``token`` until the program reports it with reject(), then the next token. Its tokens
    never expire. Any number of threads may use it at once.

    >>> session = StaticSession("a token", "the next one")
    >>> session.token().access_token
    'a token'
    >>> session.reject(session.token())
    >>> session.token().access_token
    'the next one'
    """

    def token(self, timeout: float | None = None, min_remaining: float = 0) -> Token:
        """Returns the current token. Never waits."""
        return self._current_token()

    def close(self, timeout: float | None = None) -> None:
        """Ends the session: later calls raise :class:`Closed`. Never waits. May be called again."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncStaticSession(StaticBase):
    """Replaces an :class:`AsyncSession` in unit tests, as :class:`StaticSession` replaces a session."""

    async def token(self, timeout: float | None = None, min_remaining: float = 0) -> Token:
        """Returns the current token. Never waits."""
        return self._current_token()

    async def close(self, timeout: float | None = None) -> None:
        """Ends the session, as :meth:`StaticSession.close`."""
        self._closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
