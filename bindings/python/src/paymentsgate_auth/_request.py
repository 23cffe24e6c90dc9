"""A request to the API on its way into the library."""

from __future__ import annotations

import json as _json
from collections.abc import Iterable, Mapping
from ctypes import c_char_p
from typing import Any

from ._library import Text

Headers = Mapping[str, str] | Iterable[tuple[str, str]]
Body = bytes | bytearray | memoryview

# C would take a NUL for the end of the text. This character nobody may send: the library refuses it.
_NUL_REPLACEMENT = "\x01"


def request_arguments(
    method: str, path: str, headers: Headers | None, body: Body | None, json: object
) -> tuple[Any, ...]:
    """What is asked for, as the library takes it. Shown, the arguments tell nothing of it."""
    if json is not None:
        if body is not None:
            raise TypeError("request: give a body or json, not both")
        body = _json.dumps(json, allow_nan=False).encode()
    if not isinstance(body, Body | None):
        raise TypeError(f"request: a body is bytes, not {type(body).__name__}")
    content = None if body is None else Text(bytes(body))
    return _text(method), _text(path), _texts(headers), content, len(content or ())


def _texts(headers: Headers | None) -> Any:
    """Names and values in turn, with a NULL behind them."""
    if headers is None:
        return None
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    texts = [_text(text)._as_parameter_ for pair in pairs for text in pair]
    return (c_char_p * (len(texts) + 1))(*texts)


def _text(text: str) -> Text:
    return Text(text.replace("\0", _NUL_REPLACEMENT))
