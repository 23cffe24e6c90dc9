"""The agent as the tests start it, and requests to its sockets."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sandbox import Sandbox

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "examples/deploy"
COMMAND = ROOT / "build/paymentsgate-auth"
PATIENCE_S = 30

Found = TypeVar("Found")


@dataclass(frozen=True)
class Answer:
    status: int
    text: str


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(str(self._path))


def get(place: Path | int, path: str) -> Answer:
    """A request to a unix socket, or to a port of 127.0.0.1."""
    if isinstance(place, Path):
        connection: http.client.HTTPConnection = _UnixConnection(place)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", place, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read().decode())
    finally:
        connection.close()


def eventually(find: Callable[[], Found | None]) -> Found:
    """What `find` returns as soon as it is neither None nor False. A refused connection is not there yet."""
    deadline = time.monotonic() + PATIENCE_S
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = found = find()
            if found is not None and found is not False:
                return found
        except OSError as error:
            last = error
        time.sleep(0.02)
    raise AssertionError(f"not within {PATIENCE_S} s; at last: {last!r}")


def answers(place: Path | int, path: str, status: int) -> Callable[[], Answer | None]:
    """For `eventually`: an answer with a status."""

    def ask() -> Answer | None:
        answer = get(place, path)
        return answer if answer.status == status else None

    return ask


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def settings(sandbox: Sandbox) -> dict[str, str]:
    """The settings for the emulator, as variables."""
    return {
        "PAYMENTSGATE_BASE_URL": sandbox.address["https"],
        "PAYMENTSGATE_CREDENTIALS_FILE": sandbox.address["credentials_file"],
        "PAYMENTSGATE_TLS_CA_FILE": sandbox.address["ca_file"],
        "PAYMENTSGATE_STORE": "memory:",
    }


@contextmanager
def running(
    command: list[str | Path], environment: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is ended if it still runs. The environment has nothing but what is given, and PATH."""
    environment = {"PATH": os.environ["PATH"], **environment}
    with log.open("wb") as output, subprocess.Popen(command, env=environment, stderr=output) as process:
        try:
            yield process
        except BaseException:
            print(log.read_text())
            raise
        finally:
            process.kill()


def stop(process: subprocess.Popen[bytes], within_s: float) -> None:
    """SIGTERM, after which the program must end in order."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(within_s) == 0
