"""A custom store in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from paymentsgate_auth import Record


class MemoryStore:
    """Its arguments, and the exception that every call raises, if set."""

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self.locks: dict[str, tuple[str, float]] = {}
        self.records: dict[str, Record] = {}
        self.error: BaseException | None = None
        self.ignores_versions = False

    def lock(self, key: str, owner: str, lease: float) -> bool:
        with self._call():
            holder, until = self.locks.get(key, (owner, 0.0))
            if holder != owner and until > time.monotonic():
                return False
            self.locks[key] = owner, time.monotonic() + lease
            return True

    def unlock(self, key: str, owner: str) -> None:
        with self._call():
            if self.locks.get(key, ("", 0))[0] == owner:
                del self.locks[key]

    def load(self, key: str) -> Record | None:
        with self._call():
            return self.records.get(key)

    def save(self, key: str, expected_version: int, version: int, data: bytes) -> bool:
        with self._call():
            there = self.records.get(key, Record(0, b"")).version
            if there != expected_version and not self.ignores_versions:
                return False
            self.records[key] = Record(version, data)
            return True

    @contextmanager
    def _call(self) -> Iterator[None]:
        with self.mutex:
            if self.error:
                raise self.error
            yield
