"""A program that has secrets, and which of them are in its memory and in its core dump."""

from __future__ import annotations

import resource
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# The library looks at idle connections every 20 seconds.
PATIENCE_S = 60.0


def _segments(pid: int) -> Iterator[bytes]:
    """What the process may have written: its writable mappings."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            addresses, mode = line.split()[:2]
            begin, end = (int(address, 16) for address in addresses.split("-"))
            if mode.startswith("rw"):
                memory.seek(begin)
                with suppress(OSError):  # it was unmapped meanwhile
                    yield memory.read(end - begin)


def _held(contents: Iterable[bytes], secrets: dict[str, str]) -> set[str]:
    found: set[str] = set()
    for content in contents:
        found |= {name for name, secret in secrets.items() if secret.encode() in content}
    return found


class Holder:
    """The process. `secrets` are those that it has told, and those that it was given."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process = process
        self._folder = folder
        self.secrets: dict[str, str] = {}

    def give(self, **secrets: str) -> None:
        """Writes the secrets to its input, one on each line."""
        assert self._process.stdin
        self.secrets.update(secrets)
        self._process.stdin.write("".join(f"{secret}\n" for secret in secrets.values()).encode())
        self._process.stdin.flush()

    def await_stage(self, stage: str) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            name, _, text = line.decode().rstrip("\n").partition(" ")
            if name == "stage":
                assert text == stage
                return
            self.secrets[name] = text
        errors = (self._folder / "errors").read_text()
        raise AssertionError(f"the program ended before the stage {stage}: {errors}")

    def go_on(self) -> None:
        assert self._process.stdin
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def await_held(self, expected: set[str]) -> set[str]:
        """The names of the secrets in its memory. Some is freed a little after a call or a connection."""
        give_up = time.monotonic() + PATIENCE_S
        while True:
            held = _held(_segments(self._process.pid), self.secrets)
            if held <= expected or time.monotonic() > give_up:
                return held
            time.sleep(0.05)

    def killed(self) -> set[str] | None:
        """Kills it: the names of the secrets in its core dump and its error output.

        None if the system writes no core dump into the folder of a process."""
        self._process.send_signal(signal.SIGABRT)
        self._process.wait(PATIENCE_S)
        cores = list(self._folder.glob("core*"))
        written = [*cores, self._folder / "errors"]
        return _held((path.read_bytes() for path in written), self.secrets) if cores else None


@contextmanager
def started(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[Holder]:
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            cwd=folder,
        )
    with process:
        try:
            _, hard = resource.prlimit(process.pid, resource.RLIMIT_CORE)
            resource.prlimit(process.pid, resource.RLIMIT_CORE, (hard, hard))
            yield Holder(process, folder)
        finally:
            process.kill()
