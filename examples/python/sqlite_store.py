"""Stores the pair of a session in a SQLite database that any number of processes share.

    python sqlite_store.py FILE          a token, from the database if it has a fresh one
    python sqlite_store.py FILE --check  whether the store fulfils the library's contract

The service and the credentials come from the environment, as for session.py. A database on a server needs the
same four statements: docs/custom-store.md has them for PostgreSQL.
"""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from paymentsgate_auth import PaymentsGateError, Record, Session, check_store

SCHEMA = """
CREATE TABLE IF NOT EXISTS paymentsgate_record
    (key TEXT PRIMARY KEY, version INTEGER NOT NULL, bytes BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS paymentsgate_lock
    (key TEXT PRIMARY KEY, owner TEXT NOT NULL, until_ms INTEGER NOT NULL);
"""
# SQLite 3.42 has unixepoch('subsec').
NOW_MS = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


class SqliteStore:
    """Four operations. Each is a single statement, and so atomic.

    Each uses its own connection, so it is safe in any thread, and in a forked child.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = path
        with self._database() as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(SCHEMA)

    def lock(self, key: str, owner: str, lease: float) -> bool:
        with self._database() as database:
            changed = database.execute(
                f"INSERT INTO paymentsgate_lock AS held VALUES (:key, :owner, {NOW_MS} + :lease) "
                "ON CONFLICT (key) DO UPDATE SET owner = excluded.owner, until_ms = excluded.until_ms "
                f"WHERE held.owner = excluded.owner OR held.until_ms <= {NOW_MS}",
                {"key": key, "owner": owner, "lease": round(lease * 1000)},
            )
            return changed.rowcount == 1

    def unlock(self, key: str, owner: str) -> None:
        with self._database() as database:
            database.execute("DELETE FROM paymentsgate_lock WHERE key = ? AND owner = ?", (key, owner))

    def load(self, key: str) -> Record | None:
        with self._database() as database:
            sql = "SELECT version, bytes FROM paymentsgate_record WHERE key = ?"
            row = database.execute(sql, (key,)).fetchone()
            return None if row is None else Record(*row)

    def save(self, key: str, expected_version: int, version: int, data: bytes) -> bool:
        with self._database() as database:
            if expected_version == 0:
                changed = database.execute(
                    "INSERT INTO paymentsgate_record VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                    (key, version, data),
                )
            else:
                changed = database.execute(
                    "UPDATE paymentsgate_record SET version = ?, bytes = ? WHERE key = ? AND version = ?",
                    (version, data, key, expected_version),
                )
            return changed.rowcount == 1

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        # The timeout is shorter than the library's. Each statement is a transaction.
        with closing(sqlite3.connect(self._path, timeout=4, isolation_level=None)) as database:
            # Saved data survives a power failure.
            database.execute("PRAGMA synchronous = FULL")
            yield database


def main() -> None:
    store = SqliteStore(sys.argv[1])
    if "--check" in sys.argv:
        check_store(store)
        print("the store keeps its contract")
        return
    with Session.from_env(store=store) as session:
        token = session.token(timeout=30)
        print(f"token  {token.fingerprint}  generation {token.generation}  {token.remaining:.0f} s left")


if __name__ == "__main__":
    try:
        main()
    except PaymentsGateError as error:
        sys.exit(f"{type(error).__name__}: {error}")
