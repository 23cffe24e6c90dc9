"""The last token, for as long as it may be handed out without a call of the library."""

from __future__ import annotations

from ctypes import c_uint64, c_void_p

from ._library import Handle, library
from ._token import Token


class Kept:
    """A session's last token, beside the generation word that was read before it was asked for.

    The word is a number in the library's memory. While it is the same, and not 0, so is the token: it moves
    when there is another one, when this one must not be handed out without further thought, and in a forked
    child.
    """

    __slots__ = ("last", "word")

    def __init__(self) -> None:
        self.word, self.last = c_uint64(0), Last(0, None)

    def watch(self, session: Handle) -> None:
        """Takes the word of a session, which is to be freed by :meth:`free`: the word lives as long as it."""
        self.word = _word_of(session)

    def free(self, session: object) -> None:
        """Frees a session. Nothing is kept any more, even for finalizers that come after its own."""
        self.word, self.last = c_uint64(0), Last(0, None)
        library.pg_session_free(session)

    def keep(self, word: int, token: Token) -> Token:
        """Keeps a token that was asked for after the word had been read, and hands it out."""
        if word:
            self.last = Last(word, token)
        return token

    def token(self) -> Token | None:
        """The token, if the word has not moved."""
        last = self.last
        return last.token if last.word == self.word.value else None


class Last:
    """A token and its text. Shown it tells nothing: it may be a local variable of a traceback."""

    __slots__ = ("text", "token", "word")

    def __init__(self, word: int, token: Token | None) -> None:
        self.word, self.token = word, token
        self.text = token.access_token if token else None


def _word_of(session: Handle) -> c_uint64:
    if not hasattr(library, "pg_session_generation_word"):
        # Nothing is kept.
        return c_uint64(0)
    library.pg_session_generation_word.restype = c_void_p
    return c_uint64.from_address(library.pg_session_generation_word(session))
