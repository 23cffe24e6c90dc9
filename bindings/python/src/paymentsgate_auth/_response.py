"""A complete answer of the API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from ctypes import string_at
from typing import Any

from ._library import Handle, library


class Headers(Mapping[str, str]):
    """Headers by name, whose case does not matter. Of one that came several times the first counts."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def get_all(self, name: str) -> list[str]:
        """Every value of a header, in the order in which they came."""
        return [value for each, value in self._pairs if each == name.lower()]

    def __getitem__(self, name: str) -> str:
        for value in self.get_all(name):
            return value
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._pairs))

    def __len__(self) -> int:
        return len(dict(self._pairs))

    def __repr__(self) -> str:
        return f"<Headers {', '.join(self)}>"


class Response:
    """A complete answer, of any status. Shown it is its status: what is in it is the caller's business."""

    def __init__(self, event: Handle) -> None:
        response = library.pg_event_response(event)
        self.status = int(library.pg_response_status(response))
        """The HTTP status."""
        self.headers = Headers(
            [
                (
                    library.pg_response_header_name(response, index).decode(),
                    library.pg_response_header_value(response, index).decode(),
                )
                for index in range(library.pg_response_header_count(response))
            ]
        )
        """The headers, by name in any case."""
        self.body = string_at(library.pg_response_body(response), library.pg_response_body_length(response))
        """The whole body."""

    @property
    def text(self) -> str:
        """The body as UTF-8; what is none of it becomes the character for that."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """What the body says in JSON. Raises ``ValueError`` if it is none."""
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"<Response {self.status}>"
