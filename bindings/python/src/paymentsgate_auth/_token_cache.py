"""The last token, for as long as it may be handed out without a call of the library."""

from __future__ import annotations

from ctypes import c_uint64

from ._library import Handle, library
from ._token import Token


class TokenCache:
    """A session's last token, under the generation word that was read before it was asked for.

    The word is a number in the library's memory, which stays readable. While it is the same, and not 0, so is
    the token: it moves when there is another one, when this one must not be handed out without further
    thought, when the session is closed, and in a forked child.
    """

    __slots__ = ("entry", "word")

    def __init__(self) -> None:
        self.word = c_uint64(0)
        self.entry = CachedToken(0, None)

    def read_word(self, session: Handle) -> int:
        """The word, before the session is asked for what is to be kept under it."""
        # Each time anew: a forked child, whose word is 0, gets one of its own by asking for it.
        self.word = c_uint64.from_address(library.pg_session_generation_word(session))
        return self.word.value

    def store(self, word: int, token: Token) -> Token:
        """Keeps what the session gave after the look, and hands it out."""
        if word:
            self.entry = CachedToken(word, token)
        return token

    def token(self) -> Token | None:
        """The token, if the word has not moved."""
        entry = self.entry
        return entry.token if entry.word == self.word.value else None


class CachedToken:
    """A token and its text. Shown it tells nothing: it may be a local variable of a traceback."""

    __slots__ = ("text", "token", "word")

    def __init__(self, word: int, token: Token | None) -> None:
        self.word, self.token = word, token
        self.text = token.access_token if token else None
