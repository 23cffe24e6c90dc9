"""The library's JSON against Python's: both accept the same answers, and find the same tokens in them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from paymentsgate_auth import Client, PaymentsGateError, Status

CORPUS = sorted((Path(__file__).parents[3] / "fuzz" / "corpus" / "json").iterdir())


def strict(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object, in which no key comes twice."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key comes twice")
    return dict(pairs)


def refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")


def pair_by_python(body: bytes) -> tuple[str, str | None] | None:
    try:
        text = body.decode().removeprefix("\ufeff")
        answer = json.loads(text, object_pairs_hook=strict, parse_constant=refuse)
    except ValueError:
        return None
    access = answer.get("access_token") if isinstance(answer, dict) else None
    refresh = answer.get("refresh_token") if isinstance(answer, dict) else None
    is_token = isinstance(access, str) and all("!" <= character <= "~" for character in access) and access
    return (str(access), refresh or None) if is_token and isinstance(refresh, str | None) else None


@contextmanager
def answering(body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def pair_by_library(client: Client) -> tuple[str, str | None] | None:
    try:
        token = client.issue()
    except PaymentsGateError as error:
        if error.status != Status.MALFORMED_ANSWER:
            raise
        return None
    return token.access_token, token.refresh_token


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.name)
def test_python_reads_the_answer_as_the_library_does(file: Path, settings: dict[str, str]) -> None:
    body = file.read_bytes()
    with answering(body) as url, Client(settings, base_url=url) as client:
        assert pair_by_library(client) == pair_by_python(body)
