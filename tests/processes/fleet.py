"""Real processes on one store: workers, a Redis server, and the emulator's journal, controlled by a test."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import Sandbox

WORKER = Path(__file__).with_name("worker.py")
LOOPBACK = "127.0.0.1"
# The timeout of events that must happen, even on a busy machine.
PATIENCE_S = 60.0
# Short-lived tokens are handed out until this much of their life is left.
MARGIN_S = 5

Line = dict[str, Any]


def boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def eventually(happened: Callable[[], object], what: str, patience: float = PATIENCE_S) -> Any:
    """The first true result of ``happened``. It does not measure speed, only whether the event happens."""
    give_up = time.monotonic() + patience
    while time.monotonic() < give_up:
        if found := happened():
            return found
        time.sleep(0.02)
    raise AssertionError(f"after {patience:.0f} s still not: {what}")


class Worker:
    """A process that runs ``worker.py``. Its output is in a file, which remains after its end."""

    def __init__(self, name: str, folder: Path, prefix: Sequence[str], task: dict[str, Any]) -> None:
        self.name = name
        self.killed_at: float | None = None
        self._said = folder / f"{name}.jsonl"
        task["settings"] = {**task["settings"], "user_agent": name}
        command = [*prefix, sys.executable, str(WORKER), json.dumps(task)]
        with self._said.open("wb") as out, (folder / f"{name}.err").open("wb") as err:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        self._errors = folder / f"{name}.err"

    def lines(self, what: str | None = None) -> list[Line]:
        """Its lines so far, or those of one kind."""
        text = self._said.read_text()
        whole = text[: text.rfind("\n") + 1].splitlines()
        lines = [json.loads(line) for line in whole]
        return [line for line in lines if what in (None, line["what"])]

    def last(self, what: str) -> Line | None:
        lines = self.lines(what)
        return lines[-1] if lines else None

    def generation(self) -> int:
        """The generation of the last token that the service accepted from it; 0: none yet."""
        return max((line["generation"] for line in self.lines("used") if line["status"] == 200), default=0)

    def is_running(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self.killed_at = boot()
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        if self.is_running():
            self.kill()
        if complaint := self._errors.read_text():
            raise AssertionError(f"{self.name} complains: {complaint}")


@dataclass
class Redis:
    """A Redis server that writes everything to its disk before it answers (unless ``keeps`` is false)."""

    folder: Path
    keeps: bool = True
    address: str = LOOPBACK
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        with socket.socket() as listener:
            listener.bind((self.address, 0))
            self.port = listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"redis://{self.address}:{self.port}"

    def start(self) -> None:
        options = {
            "port": self.port,
            "bind": self.address,
            "dir": self.folder,
            "logfile": "redis.log",
            "save": "",
            "appendonly": "yes" if self.keeps else "no",
            "appendfsync": "always",
            "protected-mode": "no",
        }
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        self._process = subprocess.Popen(["redis-server", *arguments])
        eventually(lambda: self.cli("PING") == "PONG", "redis-server answers")

    def kill(self) -> None:
        """Kills it, as a loss of power does."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self.kill()

    def cli(self, *words: str) -> str:
        command = ["redis-cli", "-h", self.address, "-p", str(self.port), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.strip()

    def locks(self) -> dict[str, str]:
        """The held leases, each with its owner."""
        found = self.cli("KEYS", "pg:*:lock").split()
        return {key: owner for key in found if (owner := self.cli("GET", key))}

    def free(self, lock: str) -> None:
        """Ends a lease, as the server does by itself after six seconds."""
        self.cli("DEL", lock)


class Service(Sandbox):
    """The emulator, with methods for these tests."""

    def calls(self) -> tuple[int, int]:
        """Issue and Refresh calls so far, including running ones."""
        routes = self.counters()["routes"]
        issue, refresh = (routes.get(name, {"calls": 0})["calls"] for name in ("issue", "refresh"))
        return issue, refresh

    def journal(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.ask("GET", "/journal")
        return entries

    def hold_next_refresh(self, seconds: float) -> None:
        """The service processes the call, and its answer is late."""
        action = {"kind": "delay", "ms": int(seconds * 1000)}
        self.fault(route="refresh", point="after", action=action)

    def holder(self, refreshes: int) -> str:
        """The name of the process that makes the refresh after this many."""
        eventually(lambda: self.calls()[1] > refreshes, f"refresh number {refreshes + 1} begins")
        name: str = self.counters()["routes"]["refresh"]["last"]["headers"]["user-agent"]
        return name


@contextlib.contextmanager
def service(*options: str) -> Iterator[Service]:
    """An emulator for one test."""
    binary = os.environ["PG_SANDBOX"]
    with subprocess.Popen([binary, *options], stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            yield Service(json.loads(process.stdout.readline()))
        finally:
            process.terminate()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pg-fleet-") as folder:
        yield Path(folder)


def task(service: Service, store: str, pause_s: float, use_s: float, **settings: str) -> dict[str, Any]:
    """The arguments of a worker."""
    address = service.address
    return {
        "settings": {
            "base_url": address["https"],
            "credentials_file": address["credentials_file"],
            "tls_ca_file": address["ca_file"],
            "tls_system_roots": "false",
            "store": store,
            **settings,
        },
        "wallet": address["http"],
        "pause_s": pause_s,
        "use_s": use_s,
        "margin_s": MARGIN_S,
    }
