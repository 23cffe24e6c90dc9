"""A complete answer from the API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from ctypes import string_at
from typing import Any

from ._library import Handle, library


class Headers(Mapping[str, str]):
    """Headers by name, in upper or lower case. For a repeated header, the first value is used."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def get_all(self, name: str) -> list[str]:
        """All values of a header, in the order of the answer."""
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
    """A complete answer with any status. Its repr shows only the status: the content may be secret."""

    def __init__(self, event: Handle) -> None:
        """Copies the answer from the event, and frees the event."""
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
        """The headers, by name in upper or lower case."""
        self.body = string_at(library.pg_response_body(response), library.pg_response_body_length(response))
        """The whole body."""
        event.free()

    @property
    def text(self) -> str:
        """The body as UTF-8. Invalid bytes become the replacement character."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The body parsed as JSON. Raises ``ValueError`` if it is not JSON."""
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"<Response {self.status}>"
