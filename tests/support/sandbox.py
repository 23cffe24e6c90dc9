"""The emulator for tests: starts it, controls it through its admin port, and ends it."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Sandbox:
    """A running emulator. ``address`` is the line of JSON that it printed."""

    def __init__(self, address: dict[str, Any]) -> None:
        self.address = address

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """One request to the admin port."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address["admin"] + path, data, method=method)
        with _DIRECT.open(request, timeout=10) as answer:
            return json.load(answer)

    def reset(self) -> None:
        self.ask("POST", "/reset")

    def fault(self, **fault: object) -> None:
        self.ask("POST", "/faults", fault)

    def switch(self, **switches: object) -> None:
        self.ask("PATCH", "/switches", switches)

    def advance(self, seconds: int) -> None:
        self.ask("POST", "/clock", {"advance_s": seconds})

    def counters(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.ask("GET", "/counters")
        return answer

    def secrets(self) -> list[str]:
        """The secrets that must not be shown: the account's keys, and the last tokens of the emulator."""
        credentials = json.loads(Path(self.address["credentials_file"]).read_text())
        found = [credentials["public_key"], credentials["private_key"]]
        found += [base64.b64decode(key).decode() for key in found]
        for route in self.counters()["routes"].values():
            call = route["last"] or {"headers": {}, "body": ""}
            found.append(call["headers"].get("authorization", "").removeprefix("Bearer "))
            try:
                body = json.loads(call["body"])
            except ValueError:
                continue
            found += [body.get("refresh_token", ""), body.get("public_key", "")]
        return [secret for secret in found if secret]


# The environment's proxies are for the program under test, not for its tests.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def started() -> Iterator[Sandbox]:
    """The emulator that the variable PG_SANDBOX names. It ends if its parent is killed."""
    binary = os.environ.get("PG_SANDBOX")
    if not binary:
        raise RuntimeError("set PG_SANDBOX to the emulator, pg-sandbox; make build leaves it in build/")
    with subprocess.Popen([binary], stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            yield Sandbox(json.loads(process.stdout.readline()))
        finally:
            process.terminate()


def closed_port() -> str:
    """The address of a port without a server."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"
