"""A custom store: the program's own database, which all its processes and machines share."""

from __future__ import annotations

import atexit
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_int32,
    c_size_t,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
    cast,
    sizeof,
    string_at,
)
from typing import Any, NamedTuple, Protocol, runtime_checkable

from ._error import DeadlineExceeded, PaymentsGateError, check
from ._library import Handle, library, milliseconds

# How long the exit of the interpreter waits for calls of a store that are in progress.
_LAST_CALLS = 5.0


class Record(NamedTuple):
    """The result of :meth:`Store.load`: the bytes of a record, and the version saved with them."""

    version: int
    data: bytes


@runtime_checkable
class Store(Protocol):
    """A custom store, for the keyword ``store`` of a session.

    docs/custom-store.md has the contract, and :func:`check_store` tests it. The library calls the methods on
    its own threads, several at once. They must be atomic with respect to all other threads, processes and
    machines. They may block; after five seconds the library stops waiting. An exception means that the store
    is unavailable for now. The session's errors quote its text, so the text must not contain the bytes of a
    record. The methods must not call the session. At exit the interpreter closes such sessions, and waits for
    the calls in progress; after that no store is called.
    """

    def lock(self, key: str, owner: str, lease: float) -> bool:
        """Takes the lock for ``lease`` seconds, or renews it for its owner. False: another owner has it."""

    def unlock(self, key: str, owner: str) -> None:
        """Releases the lock if ``owner`` has it."""

    def load(self, key: str) -> Record | None:
        """Returns the latest record, no matter which process saved it, or None."""

    def save(self, key: str, expected_version: int, version: int, data: bytes) -> bool:
        """Durably replaces the record and its version if the stored version is ``expected_version``.

        0 means that there must be no record yet. False: the store has another version, and nothing has
        changed.
        """


class _Table(Structure):
    _fields_ = (
        ("size", c_size_t),
        ("context", c_void_p),
        ("lock", c_void_p),
        ("unlock", c_void_p),
        ("load", c_void_p),
        ("save", c_void_p),
        ("free", c_void_p),
    )


# The context is the id of an entry, which no other entry has while this one is here. The callbacks live as
# long as this module, so none is freed during a call.
_stores: dict[int, list[Store]] = {}
_callbacks: list[Any] = []


def _callback(*types: Any) -> Callable[[Callable[..., int]], int]:
    """Makes a callback for the library and returns its address. An exception becomes the reply's failure."""

    def decorate(function: Callable[..., int]) -> int:
        def guarded(context: int, *arguments: Any) -> int:
            reply = arguments[-1]
            try:
                [store] = _stores[context]
                return function(store, *arguments)
            except BaseException as error:
                # Only the text is passed on, not the cause or the frames with their variables.
                text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
                answer: int = library.pg_reply_failure(reply, text.encode("utf-8", "replace"))
                return answer

        _callbacks.append(CFUNCTYPE(c_int32, c_void_p, *types, c_void_p)(guarded))
        return _address(_callbacks[-1])

    return decorate


def _address(callback: Any) -> int:
    return cast(callback, c_void_p).value or 0


@_callback(c_char_p, c_char_p, c_uint32)
def _lock(store: Store, key: bytes, owner: bytes, lease_ms: int, _: int) -> int:
    return int(bool(store.lock(key.decode(), owner.decode(), lease_ms / 1000)))


@_callback(c_char_p, c_char_p)
def _unlock(store: Store, key: bytes, owner: bytes, _: int) -> int:
    store.unlock(key.decode(), owner.decode())
    return 1


@_callback(c_char_p)
def _load(store: Store, key: bytes, reply: int) -> int:
    record = store.load(key.decode())
    if record is None:
        return 0
    version, data = record
    data = bytes(data)
    answer: int = library.pg_reply_record(reply, version, data, len(data))
    return answer


@_callback(c_char_p, c_uint64, c_uint64, POINTER(c_uint8), c_size_t)
def _save(store: Store, key: bytes, expected: int, version: int, data: Any, length: int, _: int) -> int:
    return int(bool(store.save(key.decode(), expected, version, string_at(data, length))))


def _release(context: int, stores: dict[int, list[Store]] = _stores) -> None:
    # A session may be freed when the interpreter that exits has already cleared the names of this module.
    stores.pop(context, None)


_free = CFUNCTYPE(None, c_void_p)(_release)


def _table(store: Store) -> _Table:
    entry = [store]
    _stores[id(entry)] = entry
    return _table_of(entry)


def _table_of(entry: list[Store]) -> _Table:
    return _Table(sizeof(_Table), id(entry), _lock, _unlock, _load, _save, _address(_free))


def set_store(config: Handle, store: Store) -> None:
    """Sets a store. It is kept until the last session that uses it is gone."""
    table = _table(store)
    try:
        check(library.pg_config_set_store, config, byref(table))
    except PaymentsGateError:
        _stores.pop(table.context)
        raise


def check_store(store: Store) -> None:
    """Tests every rule of the contract, with keys that begin with ``check-``.

    Call it in the program's tests, against a database like the real one. It takes about a second, and its
    records stay in the database. It raises :class:`InvalidCall` for the first rule that is broken,
    :class:`StoreError` for a failure of the store, and :class:`DeadlineExceeded` for a call that does not
    return.
    """
    table = _table(store)
    try:
        check(library.pg_store_check, byref(table))
    except DeadlineExceeded:
        # A call that has not returned still uses the store.
        raise
    except PaymentsGateError:
        _stores.pop(table.context)
        raise
    _stores.pop(table.context)


# The sessions on custom stores. Not in a WeakSet, because other threads must not change one while it is read.
_open_sessions: dict[int, weakref.ref[Handle]] = {}


def close_at_exit(session: Handle) -> None:
    """Closes the session when the interpreter exits."""
    number = id(session)
    _open_sessions[number] = weakref.ref(session, lambda _: _open_sessions.pop(number, None))


@atexit.register
def _close_all() -> None:
    sessions = [session for reference in list(_open_sessions.values()) if (session := reference())]
    end = time.monotonic() + _LAST_CALLS
    try:
        # First close all of them, then wait for each.
        for session in sessions:
            _close(session, 0)
        for session in sessions:
            _close(session, max(0, end - time.monotonic()))
    finally:
        # Also after Ctrl-C during a wait.
        _retire_all(end)


def _retire_all(end: float) -> None:
    """Lets no thread of the library enter an interpreter that has ended, or return into it from a store.

    Sessions that are freed may still have calls in progress.
    """
    tables = [_table_of(entry) for entry in list(_stores.values())]
    # First let no call begin, then wait for those in progress.
    for table in tables:
        _retire(table, 0)
    for table in tables:
        _retire(table, max(0, end - time.monotonic()))


def _retire(table: _Table, timeout: float) -> None:
    with suppress(PaymentsGateError):
        check(library.pg_store_retire, byref(table), milliseconds(timeout))


def _close(session: Handle, timeout: float) -> None:
    with suppress(PaymentsGateError):
        check(library.pg_session_close, session, milliseconds(timeout))
