"""The database port on PostgreSQL, through psycopg 3 and a small pool of connections."""

from __future__ import annotations

import hashlib
import os
import select
import threading
import time
import traceback
import weakref
from collections.abc import Generator, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from opencph.store.database import (
    STATEMENT_SECONDS,
    Dialect,
    Query,
    Row,
    StoreBusyError,
    StoreConflictError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
    StoreUncertainError,
    Value,
)

Outcome = TypeVar("Outcome")

CHANNEL = "opencph"
CONNECT_TIMEOUT_SECONDS = 5
CONNECTIONS_MAX = 16  # per process
CONNECTION_WAIT_SECONDS = 5.0
#: a waiter gives up, and a transaction whose process hangs lets go of its locks, as soon as of its leases
SESSION_OPTIONS = "-c lock_timeout=5s -c idle_in_transaction_session_timeout=8s"
#: The server cuts a statement off itself. One that has not even done that is given up so much later, with its connection.
GIVE_UP_SECONDS = 2.0
#: So long nobody else is sent to a server that did not answer: who queues behind those who waited for it need not wait again.
SILENCE_SECONDS = 1.0


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that is closed when its server is there but does not answer: stopped, or on a disk that hangs."""

    answer_seconds = STATEMENT_SECONDS + GIVE_UP_SECONDS
    #: It was closed for that.
    silent = False

    def wait(self, gen: Generator[Any, Any, Outcome], interval: float = 0.1, timeout: float | None = None) -> Outcome:
        """Every statement comes through here. A `timeout` is that of who listens for notifications, and no failure."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.answer_seconds)
        except psycopg.OperationalError as error:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            self.silent = True
            self.close()
            raise psycopg.OperationalError(f"no answer for {self.answer_seconds:g} s") from error


def _translate(error: psycopg.Error) -> StoreError:
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, errors.IntegrityError):
        return StoreConflictError(first_line)
    if isinstance(error, errors.LockNotAvailable | errors.DeadlockDetected | errors.SerializationFailure):
        return StoreBusyError("the database is locked by another process")
    if isinstance(error, errors.QueryCanceled):
        return StoreBusyError(f"the database took too long: {first_line}")
    if isinstance(error, errors.DiskFull):
        return StoreFullError()
    if isinstance(error, errors.InvalidCatalogName | errors.InvalidAuthorizationSpecification):
        return StoreUnavailableError(f"the database cannot be opened: {first_line}")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | errors.IdleInTransactionSessionTimeout):
        return StoreUnavailableError(f"the database cannot be reached: {first_line}")
    return StoreError(first_line)


class _Pool:
    """Connections at rest, the warmest on top. No threads of its own, and nothing to heal: what is broken is thrown away."""

    def __init__(self, conninfo: str, answer_seconds: float) -> None:
        self._conninfo = conninfo
        self._answer_seconds = answer_seconds
        self._idle: list[Connection] = []
        self._free = threading.Semaphore(CONNECTIONS_MAX)
        self._closed = False
        self._silent_until = 0.0

    def take(self) -> Connection:
        if self._silent_until and time.monotonic() < self._silent_until:
            raise StoreUnavailableError("the database cannot be reached: it did not answer a moment ago")
        if not self._free.acquire(timeout=CONNECTION_WAIT_SECONDS):
            raise StoreBusyError(f"all {CONNECTIONS_MAX} database connections of this process are busy")
        try:
            while True:
                try:
                    connection = self._idle.pop()
                except IndexError:
                    return connect(self._conninfo, self._answer_seconds)
                if _is_quiet(connection):
                    return connection
                connection.close()
        except BaseException as error:
            self._free.release()
            if isinstance(error, psycopg.Error):
                if isinstance(error, errors.ConnectionTimeout):
                    self._silent_until = time.monotonic() + SILENCE_SECONDS
                raise _translate(error) from error
            raise

    def give(self, connection: Connection) -> None:
        if connection.silent:
            self._silent_until = time.monotonic() + SILENCE_SECONDS
        if self._closed or connection.closed or connection.pgconn.transaction_status != TransactionStatus.IDLE:
            connection.close()
        else:
            self._idle.append(connection)
        self._free.release()

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()


def connect(conninfo: str, answer_seconds: float) -> Connection:
    """A new connection; transactions are begun by hand. Raises psycopg.Error."""
    try:
        connection = Connection.connect(conninfo, autocommit=True)
    except psycopg.Error as error:
        traceback.clear_frames(error.__traceback__)  # one that was given up half-way hangs on them, and is open as long as they are
        raise
    connection.answer_seconds = answer_seconds
    return connection


def _may_be_done(error: psycopg.Error) -> bool:
    """Whether what failed so may have been done all the same: the connection ended, and the server did not say that it refuses."""
    return isinstance(error, psycopg.OperationalError) and (error.sqlstate is None or error.sqlstate.startswith("57P"))


def _is_quiet(connection: Connection) -> bool:
    """False when the server has something to say to a connection at rest, which is that it has gone."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)


class PostgresqlTransaction:
    """A transaction on one PostgreSQL connection."""

    dialect: Dialect = "postgresql"
    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def rows(self, query: Query[Row], **params: Value) -> list[Row]:
        sql, literals = query.postgresql or query.compiled("postgresql")
        if literals:
            params.update(literals)
        make = query.row
        try:
            return [make(*columns) for columns in self._connection.execute(sql, params).fetchall()]
        except psycopg.Error as error:
            raise _translate(error) from error

    def row(self, query: Query[Row], **params: Value) -> Row | None:
        sql, literals = query.postgresql or query.compiled("postgresql")
        if literals:
            params.update(literals)
        try:
            columns = self._connection.execute(sql, params).fetchone()
        except psycopg.Error as error:
            raise _translate(error) from error
        return None if columns is None else query.row(*columns)

    def run(self, query: Query[Any], **params: Value) -> int:
        sql, literals = query.postgresql or query.compiled("postgresql")
        if literals:
            params.update(literals)
        try:
            return self._connection.execute(sql, params).rowcount
        except psycopg.Error as error:
            raise _translate(error) from error

    def run_many(self, query: Query[Any], params: Sequence[Mapping[str, Value]]) -> None:
        if not params:
            return
        sql, literals = query.postgresql or query.compiled("postgresql")
        try:
            with self._connection.cursor() as cursor:
                cursor.executemany(sql, [{**literals, **one} for one in params])
        except psycopg.Error as error:
            raise _translate(error) from error

    def lock(self, name: str) -> None:
        number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)
        try:
            self._connection.execute("SELECT pg_advisory_xact_lock(%s::bigint)", (number,))
        except psycopg.Error as error:
            raise _translate(error) from error


class _Block:
    """A transaction as a `with` block: begin and end are one round trip each."""

    __slots__ = ("_begin", "_connection", "_end", "_pool", "_writes")

    def __init__(self, pool: _Pool, begin: str, end: str, *, writes: bool) -> None:
        self._pool = pool
        self._begin = begin
        self._end = end
        self._writes = writes

    def __enter__(self) -> PostgresqlTransaction:
        self._connection = connection = self._pool.take()
        try:
            connection.execute(self._begin)
        except BaseException as error:
            connection.close()
            self._pool.give(connection)
            if isinstance(error, psycopg.Error):
                raise _translate(error) from error
            raise
        return PostgresqlTransaction(connection)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        connection = self._connection
        try:
            if kind is None:
                connection.execute(self._end)
        except psycopg.Error as failure:
            if self._writes and _may_be_done(failure):
                raise StoreUncertainError(f"the database went away while it committed: {failure}") from failure
            raise _translate(failure) from failure
        finally:
            try:
                if not connection.closed and connection.pgconn.transaction_status != TransactionStatus.IDLE:
                    connection.execute("ROLLBACK")
            except psycopg.Error:
                connection.close()
            self._pool.give(connection)


_open: weakref.WeakSet[PostgresqlDatabase] = weakref.WeakSet()
_abandoned: list[object] = []


class PostgresqlDatabase:
    """PostgreSQL at `postgresql://...`."""

    dialect: Dialect = "postgresql"
    reads_inline = False

    def __init__(self, url: str, statement_seconds: int = STATEMENT_SECONDS) -> None:
        self.url = url
        self._answer_seconds = statement_seconds + GIVE_UP_SECONDS
        try:
            given = conninfo_to_dict(url)
        except psycopg.Error as error:
            raise StoreUnavailableError(f"database URL: {str(error).strip()}") from error
        options = f"{SESSION_OPTIONS} -c statement_timeout={statement_seconds}s {given.pop('options', None) or ''}".strip()
        given.setdefault("connect_timeout", CONNECT_TIMEOUT_SECONDS)
        given.setdefault("application_name", "opencph")
        given.setdefault("tcp_user_timeout", 10_000)  # ms; a machine that vanished is noticed
        self._conninfo = make_conninfo("", **given, options=options)
        self._start_afresh()
        self._pool.give(self._pool.take())  # fail now, not at the first request
        _open.add(self)

    def _start_afresh(self) -> None:
        self._local = threading.local()
        self._listeners: list[Connection] = []
        self._pool = _Pool(self._conninfo, self._answer_seconds)

    def _abandon(self) -> None:
        """In a forked child: forget the parent's connections; what we would say on them the server would hear from the parent."""
        _abandoned.append((self._pool, self._local, self._listeners))
        self._start_afresh()

    def row(self, query: Query[Row], **params: Value) -> Row | None:
        pool = self._pool
        connection = pool.take()
        try:
            return PostgresqlTransaction(connection).row(query, **params)
        finally:
            pool.give(connection)

    def rows(self, query: Query[Row], **params: Value) -> list[Row]:
        pool = self._pool
        connection = pool.take()
        try:
            return PostgresqlTransaction(connection).rows(query, **params)
        finally:
            pool.give(connection)

    def read(self) -> AbstractContextManager[PostgresqlTransaction]:
        return _Block(self._pool, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "COMMIT", writes=False)

    def write(self) -> AbstractContextManager[PostgresqlTransaction]:
        return _Block(self._pool, "BEGIN", f"NOTIFY {CHANNEL}; COMMIT", writes=True)

    def begin_snapshot(self) -> Hashable:
        """Nothing to do: a read that crosses a network runs in a thread of its own, and shares with nobody."""

    def end_snapshot(self) -> None:
        """Nothing to do, as `begin_snapshot`."""

    def wait_for_change(self, seconds: float) -> bool:
        listener: Connection | None = getattr(self._local, "listener", None)
        try:
            if listener is None or listener.closed:
                listener = connect(self._conninfo, self._answer_seconds)
                listener.execute(f"LISTEN {CHANNEL}")
                self._local.listener = listener
                self._listeners.append(listener)
                return True  # what happened before we listened is not known
            return any(True for _ in listener.notifies(timeout=seconds, stop_after=1))
        except psycopg.Error as error:
            self._local.listener = None
            if listener is not None:
                listener.close()
                if listener in self._listeners:
                    self._listeners.remove(listener)
            raise _translate(error) from error

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._pool.close()


def _after_fork_in_child() -> None:
    for database in list(_open):
        database._abandon()


os.register_at_fork(after_in_child=_after_fork_in_child)
