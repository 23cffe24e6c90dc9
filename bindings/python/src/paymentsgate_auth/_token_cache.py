"""Caches a session's token for as long as it may be returned without calling the library."""

from __future__ import annotations

from ctypes import c_uint64

from ._library import Handle, library
from ._token import Token


class TokenCache:
    """A session's last token, with the generation word that was read before asking for the token.

    The word is a number in the library's memory, which stays readable. While its value is unchanged and not
    0, the cached token is valid. The library changes the value when there is another token, when this token
    must not be returned without asking the library, when the session is closed, and in a forked child.
    """

    __slots__ = ("entry", "word")

    def __init__(self) -> None:
        self.word = c_uint64(0)
        self.entry = CachedToken(0, None)

    def read_word(self, session: Handle) -> int:
        """Reads the word. Call it before asking the session for the token to store."""
        # Located anew each time: a forked child sees 0, and gets its own word by asking for it.
        self.word = c_uint64.from_address(library.pg_session_generation_word(session))
        return self.word.value

    def store(self, word: int, token: Token) -> Token:
        """Stores the token that the session returned after ``read_word``, and returns it."""
        if word:
            self.entry = CachedToken(word, token)
        return token

    def token(self) -> Token | None:
        """The token, if the value of the word has not changed."""
        entry = self.entry
        return entry.token if entry.word == self.word.value else None


class CachedToken:
    """A token and its text. It keeps the default repr, because a traceback may show it."""

    __slots__ = ("text", "token", "word")

    def __init__(self, word: int, token: Token | None) -> None:
        self.word, self.token = word, token
        self.text = token.access_token if token else None
