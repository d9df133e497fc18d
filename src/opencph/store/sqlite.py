"""The database port on SQLite: WAL, one writer, a connection per thread."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opencph.store.database import (
    Dialect,
    Query,
    Row,
    StoreBusyError,
    StoreConflictError,
    StoreError,
    StoreUnavailableError,
    Value,
)

BUSY_TIMEOUT_MS = 5_000
CHANGE_POLL_SECONDS = 0.02


def _translate(error: sqlite3.Error) -> StoreError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if isinstance(error, sqlite3.IntegrityError):
        return StoreConflictError(str(error))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusyError("the database is locked by another process")
    if code == sqlite3.SQLITE_FULL:
        return StoreUnavailableError("the database cannot be written: no space left on its disk")
    if isinstance(error, sqlite3.OperationalError | sqlite3.DatabaseError) and code in (
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    ):
        return StoreUnavailableError(f"the database cannot be used: {error}")
    return StoreError(str(error))


class SqliteTransaction:
    """A transaction on one SQLite connection."""

    dialect: Dialect = "sqlite"
    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def _execute(self, query: Query[Any], params: dict[str, Value]) -> sqlite3.Cursor:
        sql, literals = query.compiled("sqlite")
        return self._connection.execute(sql, {**literals, **params} if literals else params)

    def rows(self, query: Query[Row], **params: Value) -> list[Row]:
        make = query.row
        return [make(*columns) for columns in self._execute(query, params)]

    def row(self, query: Query[Row], **params: Value) -> Row | None:
        columns = self._execute(query, params).fetchone()
        return None if columns is None else query.row(*columns)

    def run(self, query: Query[Any], **params: Value) -> int:
        return self._execute(query, params).rowcount

    def run_many(self, query: Query[Any], params: Sequence[Mapping[str, Value]]) -> None:
        sql, literals = query.compiled("sqlite")
        self._connection.executemany(sql, [{**literals, **one} for one in params] if literals else params)

    def lock(self, name: str) -> None:
        """Nothing to do: a SQLite write transaction is alone."""


class SqliteDatabase:
    """SQLite at `sqlite:///PATH`. The file is made with mode 0600."""

    dialect: Dialect = "sqlite"
    reads_inline = True

    def __init__(self, url: str) -> None:
        self.url = url
        self.path = Path(url.removeprefix("sqlite:///"))
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        try:
            self.path.touch(mode=0o600, exist_ok=True)
        except OSError as error:
            raise StoreUnavailableError(f"cannot open the database file {self.path}: {error.strerror}") from error
        self._connection()  # fail now, not at the first request

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            return connection
        try:
            connection = sqlite3.connect(
                self.path,
                timeout=BUSY_TIMEOUT_MS / 1000,
                isolation_level=None,
                cached_statements=512,
                check_same_thread=False,
            )
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")  # a commit that was answered survives a power cut
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA cache_size=-16000")
            connection.execute("PRAGMA mmap_size=268435456")
        except sqlite3.Error as error:
            raise _translate(error) from error
        self._local.connection = connection
        with self._lock:
            self._all.append(connection)
        return connection

    @contextmanager
    def read(self) -> Iterator[SqliteTransaction]:
        connection = self._connection()
        try:
            connection.execute("BEGIN")
            try:
                yield SqliteTransaction(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise _translate(error) from error

    @contextmanager
    def write(self) -> Iterator[SqliteTransaction]:
        connection = self._connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield SqliteTransaction(connection)
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise _translate(error) from error

    def wait_for_change(self, seconds: float) -> bool:
        connection = self._connection()
        deadline = time.monotonic() + seconds
        try:
            while True:
                version = connection.execute("PRAGMA data_version").fetchone()[0]
                if version != getattr(self._local, "data_version", version):
                    self._local.data_version = version
                    return True
                self._local.data_version = version
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                time.sleep(min(CHANGE_POLL_SECONDS, left))
        except sqlite3.Error as error:
            raise _translate(error) from error

    def close(self) -> None:
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()
        self._local = threading.local()
