"""The database port on SQLite: WAL, one writer, a connection per thread."""

from __future__ import annotations

import ctypes
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

from opencph.store.database import (
    Dialect,
    Query,
    Row,
    StoreBusyError,
    StoreConflictError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
    Value,
)

BUSY_TIMEOUT_MS = 5_000
CHANGE_POLL_SECONDS = 0.01
LOCKED = "the database is locked by another process"


def _translate(error: sqlite3.Error) -> StoreError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if isinstance(error, sqlite3.IntegrityError):
        return StoreConflictError(str(error))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusyError(LOCKED)
    if code == sqlite3.SQLITE_FULL:
        return StoreFullError()
    if code in (
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    ):
        return StoreUnavailableError(f"the database cannot be used: {error}")
    return StoreError(str(error))


class _Connection(sqlite3.Connection):
    """A connection that can be referred to weakly."""


class _Closer:
    """Closes the connection of a thread that has ended; sqlite3 itself would leave it to the garbage collector."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._pid = os.getpid()

    def __del__(self) -> None:
        if os.getpid() == self._pid:
            self._connection.close()


class SqliteTransaction:
    """A transaction on one SQLite connection."""

    dialect: Dialect = "sqlite"
    __slots__ = ("_connection", "_failed")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._failed: StoreError | None = None

    def _fail(self, error: sqlite3.Error) -> StoreError:
        # PostgreSQL lets nothing pass after an error, so neither does SQLite: what works on one must work on the other.
        self._failed = _translate(error)
        return self._failed

    def _check(self) -> None:
        if self._failed is not None:
            raise StoreError(f"this transaction failed before, and must be left: {self._failed}")

    def rows(self, query: Query[Row], **params: Value) -> list[Row]:
        if self._failed is not None:
            self._check()
        sql, literals = query.sqlite or query.compiled("sqlite")
        if literals:
            params.update(literals)
        make = query.row
        try:
            return [make(*columns) for columns in self._connection.execute(sql, params)]
        except sqlite3.Error as error:
            raise self._fail(error) from error

    def row(self, query: Query[Row], **params: Value) -> Row | None:
        if self._failed is not None:
            self._check()
        sql, literals = query.sqlite or query.compiled("sqlite")
        if literals:
            params.update(literals)
        try:
            columns = self._connection.execute(sql, params).fetchone()
        except sqlite3.Error as error:
            raise self._fail(error) from error
        return None if columns is None else query.row(*columns)

    def run(self, query: Query[Any], **params: Value) -> int:
        if self._failed is not None:
            self._check()
        sql, literals = query.sqlite or query.compiled("sqlite")
        if literals:
            params.update(literals)
        try:
            return self._connection.execute(sql, params).rowcount
        except sqlite3.Error as error:
            raise self._fail(error) from error

    def run_many(self, query: Query[Any], params: Sequence[Mapping[str, Value]]) -> None:
        self._check()
        sql, literals = query.sqlite or query.compiled("sqlite")
        try:
            self._connection.executemany(sql, [{**literals, **one} for one in params] if literals else params)
        except sqlite3.Error as error:
            raise self._fail(error) from error

    def lock(self, name: str) -> None:
        """Nothing to do: a SQLite write transaction is alone."""


class _Reading:
    __slots__ = ("_connection", "_shared")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._shared = connection.in_transaction  # the snapshot of `begin_snapshot()`, which goes on after us

    def __enter__(self) -> SqliteTransaction:
        try:
            if not self._shared:
                self._connection.execute("BEGIN")
        except sqlite3.Error as error:
            raise _translate(error) from error
        return SqliteTransaction(self._connection)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if not self._shared and self._connection.in_transaction:
                self._connection.execute("COMMIT")
        except sqlite3.Error as failure:
            if kind is None:
                raise _translate(failure) from failure


class _Writing:
    __slots__ = ("_connection", "_transaction", "_turn")

    def __init__(self, connection: sqlite3.Connection, turn: threading.Lock) -> None:
        self._connection = connection
        self._transaction = SqliteTransaction(connection)
        self._turn = turn

    def __enter__(self) -> SqliteTransaction:
        connection = self._connection
        if connection.in_transaction:
            raise StoreError("a transaction is open in this thread already")
        # SQLite makes a writer that must wait sleep for ever longer; writers of one process pass the turn on at once.
        if not self._turn.acquire(blocking=False):
            start = time.monotonic()
            if not self._turn.acquire(timeout=BUSY_TIMEOUT_MS / 1000):
                raise StoreBusyError(LOCKED)
            left_ms = max(1, BUSY_TIMEOUT_MS - int((time.monotonic() - start) * 1000))
        else:
            left_ms = BUSY_TIMEOUT_MS
        try:
            if left_ms < BUSY_TIMEOUT_MS:
                connection.execute(f"PRAGMA busy_timeout={left_ms}")
            try:
                connection.execute("BEGIN IMMEDIATE")
            finally:
                if left_ms < BUSY_TIMEOUT_MS:
                    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        except BaseException as error:
            self._turn.release()
            if isinstance(error, sqlite3.Error):
                raise _translate(error) from error
            raise
        return self._transaction

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        connection = self._connection
        try:
            if kind is None:
                self._transaction._check()
                connection.execute("COMMIT")
        except sqlite3.Error as failure:
            raise _translate(failure) from failure
        finally:
            try:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            finally:
                self._turn.release()


_open: weakref.WeakSet[SqliteDatabase] = weakref.WeakSet()


class SqliteDatabase:
    """SQLite at `sqlite:///PATH`. The file is made with mode 0600, and SQLite gives its companions the same."""

    dialect: Dialect = "sqlite"
    reads_inline = True

    def __init__(self, url: str) -> None:
        self.url = url
        self.path = Path(url.removeprefix("sqlite:///"))
        self._start_afresh()
        try:
            self.path.touch(mode=0o600, exist_ok=True)
            if self.path.stat().st_mode & 0o077:
                self.path.chmod(0o600)  # it holds secret keys
        except OSError as error:
            raise StoreUnavailableError(f"cannot open the database file {self.path}: {error.strerror}") from error
        self._connect()  # fail now, not at the first request
        _open.add(self)

    def _start_afresh(self) -> None:
        self._local = threading.local()
        self._all: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._turn = threading.Lock()

    def _abandon(self) -> None:
        """In a forked child: forget the parent's connections without closing them.

        Closing one here could run a checkpoint on behalf of the parent, and SQLite forbids it, so they must outlive us:
        https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork_
        """
        for connection in self._all:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
        self._start_afresh()

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                self.path,
                timeout=BUSY_TIMEOUT_MS / 1000,
                isolation_level=None,
                cached_statements=512,
                check_same_thread=False,  # `close()` may come from another thread
                factory=_Connection,
            )
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")  # a commit that was answered survives a power cut
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA cache_size=-16000")
            connection.execute("PRAGMA mmap_size=268435456")
            connection.execute("PRAGMA journal_size_limit=67108864")  # what a burst of writes leaves of its log
        except sqlite3.Error as error:
            raise _translate(error) from error
        self._local.connection = connection
        self._local.closer = _Closer(connection)
        with self._lock:
            self._all.add(connection)
        return connection

    def _connection(self) -> sqlite3.Connection:
        try:
            connection: sqlite3.Connection = self._local.connection
        except AttributeError:
            return self._connect()
        return connection

    def row(self, query: Query[Row], **params: Value) -> Row | None:
        sql, literals = query.sqlite or query.compiled("sqlite")
        if literals:
            params.update(literals)
        try:
            columns = self._local.connection.execute(sql, params).fetchone()
        except AttributeError:  # the first use in this thread
            columns = self._first_use(sql, params).fetchone()
        except sqlite3.Error as error:
            raise _translate(error) from error
        return None if columns is None else query.row(*columns)

    def rows(self, query: Query[Row], **params: Value) -> list[Row]:
        sql, literals = query.sqlite or query.compiled("sqlite")
        if literals:
            params.update(literals)
        make = query.row
        try:
            return [make(*columns) for columns in self._connection().execute(sql, params)]
        except sqlite3.Error as error:
            raise _translate(error) from error

    def _first_use(self, sql: str, params: dict[str, Value]) -> sqlite3.Cursor:
        try:
            return self._connect().execute(sql, params)
        except sqlite3.Error as error:
            raise _translate(error) from error

    def read(self) -> AbstractContextManager[SqliteTransaction]:
        return _Reading(self._connection())

    def write(self) -> AbstractContextManager[SqliteTransaction]:
        return _Writing(self._connection(), self._turn)

    def begin_snapshot(self) -> Hashable:
        connection = self._connection()
        try:
            connection.execute("BEGIN")
            # the first counts the commits of others, the second what this connection changed
            return connection.execute("PRAGMA data_version").fetchone()[0], connection.total_changes
        except sqlite3.Error as error:
            raise _translate(error) from error

    def end_snapshot(self) -> None:
        connection = self._connection()
        try:
            if connection.in_transaction:
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise _translate(error) from error

    def wait_for_change(self, seconds: float) -> bool:
        connection = self._connection()
        deadline = time.monotonic() + seconds
        try:
            while True:
                version = connection.execute("PRAGMA data_version").fetchone()[0]
                if version != getattr(self._local, "data_version", None):
                    self._local.data_version = version
                    return True
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                time.sleep(min(CHANGE_POLL_SECONDS, left))
        except sqlite3.Error as error:
            raise _translate(error) from error

    def close(self) -> None:
        with self._lock:
            for connection in list(self._all):
                connection.close()
        self._start_afresh()


def _after_fork_in_child() -> None:
    for database in list(_open):
        database._abandon()


os.register_at_fork(after_in_child=_after_fork_in_child)
