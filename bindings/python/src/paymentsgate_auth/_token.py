"""A pair as it came from the service."""

from __future__ import annotations

from typing import NoReturn

from ._library import Handle, library, text_from


class Token:
    """An access token with the refresh token that buys the next pair.

    Immutable; any number of threads may use it at once, in a forked child too. Made by :class:`Client` and
    :class:`Session` alone. Shown and logged it is its fingerprint; the texts are secrets and leave only
    through their properties.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    @property
    def access_token(self) -> str:
        """For ``Authorization: Bearer …``. A secret."""
        return str(library.pg_token_access_token(self._handle).decode())

    @property
    def refresh_token(self) -> str | None:
        """None if the service gave none, and for a session's token: the session keeps it to itself.

        A secret, and more so than the access token."""
        return text_from(library.pg_token_refresh_token(self._handle))

    @property
    def fingerprint(self) -> str:
        """The name under which the access token may be shown: the first 64 bits of its SHA-256."""
        return str(library.pg_token_fingerprint(self._handle).decode())

    @property
    def lifetime(self) -> float:
        """The whole life of the access token in seconds, counted from just before its request was sent."""
        return float(library.pg_token_lifetime_ms(self._handle) / 1000)

    @property
    def lifetime_disagreement(self) -> float:
        """How far the service's own statements of the lifetime are apart, in seconds; 0 within a minute."""
        return float(library.pg_token_lifetime_disagreement_ms(self._handle) / 1000)

    @property
    def remaining(self) -> float:
        """What is left of the access token's life now, in seconds; 0 when it has expired."""
        return float(library.pg_token_remaining_ms(self._handle) / 1000)

    @property
    def generation(self) -> int:
        """Which pair of its session the token belongs to, from 1 on; 0 for a token of a client."""
        return int(library.pg_token_generation(self._handle))

    def __repr__(self) -> str:
        return f"<Token {self.fingerprint}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Token cannot be pickled or copied; if its secrets must travel, take its two texts")
