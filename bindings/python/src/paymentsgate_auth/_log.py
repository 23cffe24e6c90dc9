"""Writes the library's log lines to Python's ``logging``."""

from __future__ import annotations

import atexit
import logging
import threading

from ._event import EventKind, LogLevel
from ._library import Handle
from ._subscription import Subscription

_LEVELS = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARN: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}
# How long close() waits for the last lines of a session that has ended.
LAST_LINES = 1.0

_writers: dict[threading.Thread, Subscription] = {}


def write_log(session: Handle, logger: logging.Logger) -> threading.Thread:
    """Writes the log lines of a session up to the logger's level, in a thread that ends with the session."""
    level = next((level for level in _LEVELS if logger.isEnabledFor(_LEVELS[level])), LogLevel.NONE)
    subscription = Subscription(session, level)
    thread = threading.Thread(target=_write, args=(subscription, logger), name="pg-log", daemon=True)
    _writers[thread] = subscription
    thread.start()
    return thread


def _write(subscription: Subscription, logger: logging.Logger) -> None:
    try:
        for event in subscription:
            if event.kind is EventKind.LOG:
                logger.log(_LEVELS.get(event.level, logging.DEBUG), "%s", event.text)
    finally:
        del _writers[threading.current_thread()]


@atexit.register
def _finish() -> None:
    """Ends the threads, because none may hold a lock of a logger when the interpreter exits."""
    for thread, subscription in list(_writers.items()):
        subscription.close()
        thread.join()
