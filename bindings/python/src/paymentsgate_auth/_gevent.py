"""Waits in a program that gevent has patched: the calling greenlet waits, and the others continue."""

from __future__ import annotations

import sys
from typing import Any


def is_patched() -> bool:
    """Whether gevent has replaced the blocking functions of this program."""
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey is not None and any(map(monkey.is_module_patched, ("socket", "threading")))


def wait_readable(descriptor: int, timeout: float | None) -> None:
    """Waits until a descriptor is readable, or the timeout in seconds has passed."""
    from gevent import Timeout  # type: ignore[import-untyped]
    from gevent.socket import wait_read  # type: ignore[import-untyped]

    with Timeout(timeout, False):
        wait_read(descriptor)


def pause(seconds: float) -> None:
    from gevent import sleep

    sleep(seconds)
