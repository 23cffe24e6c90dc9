"""A token: an access token, with its refresh token if there is one."""

from __future__ import annotations

from typing import NoReturn

from ._library import Handle, library, text_from


class Token:
    """An access token, with the refresh token for the next pair.

    It is immutable, and any number of threads may use it at once, also in a forked child. Only clients and
    sessions make tokens; in tests, :class:`StaticSession` does. Its repr is the fingerprint. The texts are
    secrets, and only their properties return them.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    @property
    def access_token(self) -> str:
        """The text for ``Authorization: Bearer …``. It is a secret."""
        return str(library.pg_token_access_token(self._handle).decode())

    @property
    def refresh_token(self) -> str | None:
        """None if the service sent none, and for a session's token, whose refresh token stays in the session.

        It is a secret, even more sensitive than the access token."""
        return text_from(library.pg_token_refresh_token(self._handle))

    @property
    def fingerprint(self) -> str:
        """The first 64 bits of the access token's SHA-256. It is not secret, and names the token in logs."""
        return str(library.pg_token_fingerprint(self._handle).decode())

    @property
    def lifetime(self) -> float:
        """The whole lifetime of the access token in seconds, from just before its request was sent."""
        return float(library.pg_token_lifetime_ms(self._handle) / 1000)

    @property
    def lifetime_disagreement(self) -> float:
        """The difference between the service's statements of the lifetime, in seconds; 0 within a minute."""
        return float(library.pg_token_lifetime_disagreement_ms(self._handle) / 1000)

    @property
    def remaining(self) -> float:
        """The time until the access token expires, in seconds; 0 if it has expired."""
        return float(library.pg_token_remaining_ms(self._handle) / 1000)

    @property
    def generation(self) -> int:
        """The number of the pair in its session, starting at 1; 0 for a token of a client."""
        return int(library.pg_token_generation(self._handle))

    def __repr__(self) -> str:
        return f"<Token {self.fingerprint}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Token cannot be pickled or copied; to pass its secrets on, use its two texts")
