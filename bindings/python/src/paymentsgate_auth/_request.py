"""Converts a request to the API into arguments of the library."""

from __future__ import annotations

import json as _json
from collections.abc import Iterable, Mapping
from ctypes import c_char_p
from typing import Any

from ._library import Text

Headers = Mapping[str, str] | Iterable[tuple[str, str]]
Body = bytes | bytearray | memoryview

# C would end a text at a NUL. The library refuses this character everywhere, so the text is refused.
_NUL_REPLACEMENT = "\x01"


def request_arguments(
    method: str, path: str, headers: Headers | None, body: Body | None, json: object
) -> tuple[Any, ...]:
    """The request as arguments of the library. Their repr shows nothing of the content."""
    if json is not None:
        if body is not None:
            raise TypeError("request: give a body or json, not both")
        body = _json.dumps(json, allow_nan=False).encode()
    if not isinstance(body, Body | None):
        raise TypeError(f"request: the body must be bytes, not {type(body).__name__}")
    content = None if body is None else Text(bytes(body))
    return _text(method), _text(path), _texts(headers), content, len(content or ())


def _texts(headers: Headers | None) -> Any:
    """Alternating names and values, with a NULL at the end."""
    if headers is None:
        return None
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    texts = [_text(text)._as_parameter_ for pair in pairs for text in pair]
    return (c_char_p * (len(texts) + 1))(*texts)


def _text(text: str) -> Text:
    return Text(text.replace("\0", _NUL_REPLACEMENT))
