"""A PostgreSQL server for the tests, and a store on it that uses the statements in the documents."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from paymentsgate_auth import Record


@contextmanager
def server() -> Iterator[str]:
    """The connection arguments. The server refuses to run as root."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    user = [] if os.getuid() else ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]

    def run(program: str, *words: str) -> None:
        command = [*user, str(programs / program), "--pgdata", str(folder / "data"), *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{program}\n{done.stdout}{done.stderr}"

    folder = Path(tempfile.mkdtemp())
    try:
        if user:
            shutil.chown(folder, "nobody", "nogroup")
        run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")
        options = f"-c unix_socket_directories={folder} -c listen_addresses="
        run("pg_ctl", "start", "--wait", "--log", str(folder / "log"), "--options", options)
        try:
            yield f"host={folder} user=postgres dbname=postgres"
        finally:
            run("pg_ctl", "stop", "--wait", "--mode=immediate")
    finally:
        shutil.rmtree(folder)


class PostgresqlStore:
    """Each statement runs in its own transaction on its own connection."""

    def __init__(self, where: str, code: str) -> None:
        self._where = where
        tables, *named = re.split("^-- ", code, flags=re.MULTILINE)
        self._statements = {comment.split(":")[0]: comment.split("\n", 1)[1] for comment in named}
        with psycopg.connect(where, autocommit=True) as database:
            database.execute(tables.encode())

    def lock(self, key: str, owner: str, lease: float) -> bool:
        return bool(self._rows("lock", key, owner, round(lease * 1000)))

    def unlock(self, key: str, owner: str) -> None:
        self._rows("unlock", key, owner)

    def load(self, key: str) -> Record | None:
        rows = self._rows("load", key)
        return Record(*rows[0]) if rows else None

    def save(self, key: str, expected_version: int, version: int, data: bytes) -> bool:
        if expected_version == 0:
            return bool(self._rows("save where the expected version is 0", key, version, data))
        return bool(self._rows("save otherwise", key, version, data, expected_version))

    def _rows(self, name: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._where, autocommit=True, cursor_factory=psycopg.RawCursor) as database:
            cursor = database.execute(self._statements[name].encode(), values)
            return cursor.fetchall() if cursor.description else []
