"""The port to the database: named queries compiled once, and transactions that run them straight on the driver.

SQLAlchemy Core writes the SQL (one schema, two dialects); it does not run it. A `Query` is compiled at first use per
dialect and executed with the driver's own cursor, which keeps a hot read at a few microseconds. Two implementations, one
test suite: `store.sqlite.SqliteDatabase` and `store.postgresql.PostgresqlDatabase`. Open one with `open_database(url)`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, Literal, Protocol, TypeVar

from sqlalchemy import ColumnElement, bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import Dialect as EngineDialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.types import BigInteger, Boolean

from opencph.metrics.families import STORE_ERRORS

Dialect = Literal["sqlite", "postgresql"]
Value = str | int | bytes | float | None
Compiled = tuple[str, dict[str, Value]]
#: The time for one statement. The second where somebody waits for an answer: longer than the longest wait for a turn to write.
STATEMENT_SECONDS, QUICK_STATEMENT_SECONDS = 30, 6
Row = TypeVar("Row")

_DIALECTS: dict[Dialect, EngineDialect] = {
    "sqlite": sqlite.dialect(paramstyle="named"),
    "postgresql": postgresql.dialect(paramstyle="pyformat"),  # type: ignore[no-untyped-call]
}


class StoreError(Exception):
    """The database could not do it."""


class StoreBusyError(StoreError):
    """The database is locked by another process; try again in a moment. Counted, wherever it is raised."""

    def __init__(self, *told: object) -> None:
        super().__init__(*told)
        STORE_ERRORS.add("busy")


class StoreUnavailableError(StoreError):
    """The database cannot be reached or written; see its own log and the free space of its disk. Counted too."""

    def __init__(self, *told: object) -> None:
        super().__init__(*told)
        STORE_ERRORS.add("unavailable")


class StoreFullError(StoreUnavailableError):
    """The database cannot be written: no space left on its disk. The message says so, and may be told to anybody."""

    def __init__(self) -> None:
        super().__init__("the database cannot be written: no space left on its disk")


class StoreUncertainError(StoreUnavailableError):
    """The database went away while it committed: what was written is there, or is not, and nobody knows before it is back."""


class StoreConflictError(StoreError):
    """A unique or foreign key says no: the row exists already, or what it names does not."""


class _InList(ColumnElement[bool]):
    inherit_cache = True
    type = Boolean()

    def __init__(self, column: ColumnElement[Any], name: str) -> None:
        self.column = column
        self.values: BindParameter[str] = bindparam(name)

    def self_group(self, against: Any = None) -> _InList:
        return self  # SQLAlchemy would write `(... IN ...) = 1`, for which SQLite uses no index


@compiles(_InList, "sqlite")
def _in_list_sqlite(element: _InList, compiler: Any, **kw: Any) -> str:
    column, values = compiler.process(element.column, **kw), compiler.process(element.values, **kw)
    return f"({column} IN (SELECT value FROM json_each({values})))"


@compiles(_InList, "postgresql")
def _in_list_postgresql(element: _InList, compiler: Any, **kw: Any) -> str:
    # An array, and not a sub-select to be joined: of that PostgreSQL would guess the size, and scan the table.
    column, values = compiler.process(element.column, **kw), compiler.process(element.values, **kw)
    return f"({column} = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST({values} AS jsonb)))))"


def in_list(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """`column IN (the JSON array bound to name)`: one bound value for any number of ids. Bind it with `json_list()`."""
    return _InList(column, name)


def json_list(values: Iterable[str]) -> str:
    """The value to bind for an `in_list` of text."""
    return json.dumps(list(values))


class now_ms(ColumnElement[int]):  # noqa: N801 (reads as the SQL function it is)
    """The database's own clock, in milliseconds since the epoch: one clock for workers on several machines."""

    inherit_cache = True
    type = BigInteger()


@compiles(now_ms, "sqlite")
def _now_ms_sqlite(element: now_ms, compiler: Any, **kw: Any) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


@compiles(now_ms, "postgresql")
def _now_ms_postgresql(element: now_ms, compiler: Any, **kw: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"


class Query(Generic[Row]):
    """A named statement and the type of its rows.

    `row` is called with the columns of a row, in order: a NamedTuple, a msgspec Struct, `tuple_row`, or `scalar` for one
    column. Parameters are `bindparam("name")` in the statement and keyword arguments when it runs; every one must be given.
    """

    __slots__ = ("postgresql", "row", "sqlite", "statement")

    def __init__(self, statement: Executable, row: Callable[..., Row]) -> None:
        self.statement = statement
        self.row = row
        self.sqlite: Compiled | None = None
        self.postgresql: Compiled | None = None

    def compiled(self, dialect: Dialect) -> Compiled:
        """The SQL text in `dialect` and the literal values the statement itself carries (`== 1`, `limit(1)`)."""
        found = self.sqlite if dialect == "sqlite" else self.postgresql
        if found is None:
            compiled = self.statement.compile(dialect=_DIALECTS[dialect])  # type: ignore[attr-defined]
            aliases = "%("  # SQLAlchemy's own second name of a literal
            binds: Mapping[str, BindParameter[Any]] = getattr(compiled, "binds", {})  # DDL has none
            literals = {n: b.value for n, b in binds.items() if not b.required and not n.startswith(aliases)}
            found = (str(compiled), literals)
            if dialect == "sqlite":
                self.sqlite = found
            else:
                self.postgresql = found
        return found


def scalar(value: Any) -> Any:
    """Row type of a query of one column."""
    return value


def tuple_row(*columns: Value) -> tuple[Value, ...]:
    """Row type of a query whose rows are read by position."""
    return columns


def command(statement: Executable) -> Query[tuple[Value, ...]]:
    """A statement that returns no rows: insert, update, delete."""
    return Query(statement, tuple_row)


class Transaction(Protocol):
    """One transaction. All errors of the driver arrive as StoreError; after one it can only be left, and rolls back."""

    dialect: Dialect

    def rows(self, query: Query[Row], **params: Value) -> list[Row]:
        """Every row of the answer."""
        ...

    def row(self, query: Query[Row], **params: Value) -> Row | None:
        """The first row, or None."""
        ...

    def run(self, query: Query[Any], **params: Value) -> int:
        """Run a statement; returns how many rows it touched."""
        ...

    def run_many(self, query: Query[Any], params: Sequence[Mapping[str, Value]]) -> None:
        """Run a statement once per set of parameters."""
        ...

    def lock(self, name: str) -> None:
        """Hold the lock `name` until the transaction ends (SQLite has one writer anyway; PostgreSQL: advisory lock)."""
        ...


class Database(Protocol):
    """A database. Safe to use from several threads, and in a forked child, which opens connections of its own."""

    dialect: Dialect
    url: str
    #: True where a read is a few microseconds in this process and may run on an event loop (SQLite).
    reads_inline: bool

    def row(self, query: Query[Row], **params: Value) -> Row | None:
        """The first row of one reading statement, or None, without a transaction around it: the cheapest read there is."""
        ...

    def rows(self, query: Query[Row], **params: Value) -> list[Row]:
        """Every row of one reading statement, without a transaction around it."""
        ...

    def read(self) -> AbstractContextManager[Transaction]:
        """A consistent snapshot for reading."""
        ...

    def write(self) -> AbstractContextManager[Transaction]:
        """A transaction: commits when the block ends, rolls back when it raises. Waits up to 5 s for its turn."""
        ...

    def begin_snapshot(self) -> Hashable:
        """From here to `end_snapshot()` all reads of this thread see one snapshot, and share its locks.

        For an event loop whose turn answers several readers: on SQLite it halves the price of each. No write in between.
        Returns the snapshot's version: while two of one thread are equal, every read gives what it gave. None says nothing.
        """
        ...

    def end_snapshot(self) -> None:
        """Let go of the snapshot; reads stand alone again."""
        ...

    def wait_for_change(self, seconds: float) -> bool:
        """Block until another connection has committed something, at most `seconds`. True if it may have.

        SQLite watches `PRAGMA data_version` every 10 ms; PostgreSQL listens on the channel `opencph`, which every write
        transaction notifies. The first call of a thread is True at once, since what happened before is not known. Call it from
        a thread of its own; raises StoreUnavailableError while the database is away.
        """
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


def open_database(url: str, *, statement_seconds: int = STATEMENT_SECONDS) -> Database:
    """Open `sqlite:///PATH` or `postgresql://...`. Raises StoreUnavailableError when it cannot.

    A server that is there and does not answer a statement within `statement_seconds` and a moment is given up; a file has no such
    limit, but that of waiting for one's turn to write.
    """
    if url.startswith("sqlite:///"):
        from opencph.store.sqlite import SqliteDatabase

        return SqliteDatabase(url)
    if url.startswith(("postgresql://", "postgres://")):
        try:
            from opencph.store.postgresql import PostgresqlDatabase
        except ModuleNotFoundError as error:
            raise StoreUnavailableError(f"PostgreSQL needs the package {error.name}: pip install 'opencph[postgresql]'") from error
        return PostgresqlDatabase(url, statement_seconds)
    raise StoreUnavailableError(f"database URL {url.split('://')[0]!r}: use sqlite:///PATH or postgresql://USER@HOST/NAME")
