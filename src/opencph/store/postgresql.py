"""The database port on PostgreSQL, through psycopg 3 and its connection pool."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors
from psycopg_pool import ConnectionPool, PoolTimeout

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

LOCK_TIMEOUT_MS = 5_000
POOL_SIZE_MAX = 16
POOL_WAIT_SECONDS = 5.0
CHANNEL = "opencph"


def _translate(error: psycopg.Error | PoolTimeout) -> StoreError:
    if isinstance(error, errors.IntegrityError):
        return StoreConflictError(str(error).splitlines()[0])
    if isinstance(error, errors.LockNotAvailable | errors.DeadlockDetected | errors.SerializationFailure):
        return StoreBusyError("the database is locked by another process")
    if isinstance(error, errors.DiskFull):
        return StoreUnavailableError("the database cannot be written: no space left on its disk")
    if isinstance(error, psycopg.OperationalError | PoolTimeout):
        return StoreUnavailableError(f"the database cannot be reached: {str(error).splitlines()[0]}")
    return StoreError(str(error).splitlines()[0])


class PostgresqlTransaction:
    """A transaction on one PostgreSQL connection."""

    dialect: Dialect = "postgresql"
    __slots__ = ("_connection",)

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self._connection = connection

    def _execute(self, query: Query[Any], params: dict[str, Value]) -> psycopg.Cursor[tuple[Any, ...]]:
        sql, literals = query.compiled("postgresql")
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
        if not params:
            return
        sql, literals = query.compiled("postgresql")
        with self._connection.cursor() as cursor:
            cursor.executemany(sql, [{**literals, **one} for one in params])

    def lock(self, name: str) -> None:
        number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)
        self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (number,))


class PostgresqlDatabase:
    """PostgreSQL at `postgresql://...`."""

    dialect: Dialect = "postgresql"
    reads_inline = False

    def __init__(self, url: str) -> None:
        self.url = url
        self._local = threading.local()
        self._listeners: list[psycopg.Connection[tuple[Any, ...]]] = []
        self._pool = ConnectionPool(
            url,
            min_size=1,
            max_size=POOL_SIZE_MAX,
            timeout=POOL_WAIT_SECONDS,
            kwargs={"autocommit": False, "options": f"-c lock_timeout={LOCK_TIMEOUT_MS}"},
            open=False,
        )
        try:
            self._pool.open(wait=True, timeout=POOL_WAIT_SECONDS)
        except (psycopg.Error, PoolTimeout) as error:
            self._pool.close()
            raise _translate(error) from error

    @contextmanager
    def read(self) -> Iterator[PostgresqlTransaction]:
        try:
            with self._pool.connection() as connection:
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                yield PostgresqlTransaction(connection)
        except (psycopg.Error, PoolTimeout) as error:
            raise _translate(error) from error

    @contextmanager
    def write(self) -> Iterator[PostgresqlTransaction]:
        try:
            with self._pool.connection() as connection:
                yield PostgresqlTransaction(connection)
                connection.execute(f"NOTIFY {CHANNEL}")
        except (psycopg.Error, PoolTimeout) as error:
            raise _translate(error) from error

    def wait_for_change(self, seconds: float) -> bool:
        listener: psycopg.Connection[tuple[Any, ...]] | None = getattr(self._local, "listener", None)
        try:
            if listener is None or listener.closed:
                listener = psycopg.connect(self.url, autocommit=True)
                listener.execute(f"LISTEN {CHANNEL}")
                self._local.listener = listener
                self._listeners.append(listener)
                return True  # what happened before we listened is not known
            return any(True for _ in listener.notifies(timeout=seconds, stop_after=1))
        except psycopg.Error as error:
            self._local.listener = None
            raise _translate(error) from error

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._pool.close()
