"""The port to the database: named queries compiled once, and transactions that run them straight on the driver.

SQLAlchemy Core writes the SQL (one schema, two dialects); it does not run it. A `Query` is compiled at first use per
dialect and executed with the driver's own cursor, which keeps a hot read at a few microseconds. Two implementations, one
test suite: `store.sqlite.SqliteDatabase` and `store.postgresql.PostgresqlDatabase`. Open one with `open_database(url)`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, Literal, Protocol, TypeVar

from sqlalchemy import ColumnElement, bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import Dialect as EngineDialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.types import Boolean, Text

Dialect = Literal["sqlite", "postgresql"]
Value = str | int | bytes | float | None
Row = TypeVar("Row")

_DIALECTS: dict[Dialect, EngineDialect] = {
    "sqlite": sqlite.dialect(paramstyle="named"),
    "postgresql": postgresql.dialect(paramstyle="pyformat"),  # type: ignore[no-untyped-call]
}


class StoreError(Exception):
    """The database could not do it."""


class StoreBusyError(StoreError):
    """The database is locked by another process; try again in a moment."""


class StoreUnavailableError(StoreError):
    """The database cannot be reached or written; see its own log and the free space of its disk."""


class StoreConflictError(StoreError):
    """A unique or foreign key says no: the row exists already, or what it names does not."""


class _JsonValues(ColumnElement[str]):
    """The texts of a bound JSON array, as a sub-select."""

    inherit_cache = True
    type = Text()

    def __init__(self, name: str) -> None:
        self.values: BindParameter[str] = bindparam(name)


@compiles(_JsonValues, "sqlite")
def _json_values_sqlite(element: _JsonValues, compiler: Any, **kw: Any) -> str:
    return f"(SELECT value FROM json_each({compiler.process(element.values, **kw)}))"


@compiles(_JsonValues, "postgresql")
def _json_values_postgresql(element: _JsonValues, compiler: Any, **kw: Any) -> str:
    return f"(SELECT jsonb_array_elements_text(CAST({compiler.process(element.values, **kw)} AS jsonb)))"


def in_list(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """`column IN (the JSON array bound to name)`: one bound value for any number of ids. Bind it with `json_list()`."""
    return column.op("IN", is_comparison=True, return_type=Boolean())(_JsonValues(name))


def json_list(values: Iterable[str]) -> str:
    """The value to bind for an `in_list` of text."""
    return json.dumps(list(values))


class Query(Generic[Row]):
    """A named statement and the type of its rows.

    `row` is called with the columns of a row, in order: a NamedTuple, a msgspec Struct, `tuple_row`, or `scalar` for one
    column. Parameters are `bindparam("name")` in the statement and keyword arguments when it runs; every one must be given.
    """

    __slots__ = ("_compiled", "row", "statement")

    def __init__(self, statement: Executable, row: Callable[..., Row]) -> None:
        self.statement = statement
        self.row = row
        self._compiled: dict[Dialect, tuple[str, dict[str, Value]]] = {}

    def compiled(self, dialect: Dialect) -> tuple[str, dict[str, Value]]:
        """The SQL text in `dialect` and the literal values the statement itself carries (`== 1`, `limit(1)`)."""
        found = self._compiled.get(dialect)
        if found is None:
            compiled = self.statement.compile(dialect=_DIALECTS[dialect])  # type: ignore[attr-defined]
            aliases = "%("  # SQLAlchemy's own second name of a literal
            literals = {n: b.value for n, b in compiled.binds.items() if not b.required and not n.startswith(aliases)}
            found = self._compiled[dialect] = (str(compiled), literals)
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
    """One transaction. All errors of the driver arrive as StoreError."""

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
    """A database. Safe to use from several threads; every thread gets its own connection."""

    dialect: Dialect
    url: str
    #: True where a read is a few microseconds in this process and may run on an event loop (SQLite).
    reads_inline: bool

    def read(self) -> AbstractContextManager[Transaction]:
        """A consistent snapshot for reading."""
        ...

    def write(self) -> AbstractContextManager[Transaction]:
        """A transaction: commits when the block ends, rolls back when it raises. Waits up to 5 s for its turn."""
        ...

    def wait_for_change(self, seconds: float) -> bool:
        """Block until another connection has committed something, at most `seconds`. True if it may have.

        SQLite watches `PRAGMA data_version` every 20 ms; PostgreSQL listens on the channel `opencph`, which every write
        transaction notifies. Call it from a thread of its own.
        """
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


def open_database(url: str) -> Database:
    """Open `sqlite:///PATH` or `postgresql://...`. Raises StoreUnavailableError when it cannot."""
    if url.startswith("sqlite:///"):
        from opencph.store.sqlite import SqliteDatabase

        return SqliteDatabase(url)
    if url.startswith(("postgresql://", "postgres://")):
        from opencph.store.postgresql import PostgresqlDatabase

        return PostgresqlDatabase(url)
    raise StoreUnavailableError(f"database URL {url.split('://')[0]!r}: use sqlite:///PATH or postgresql://USER@HOST/NAME")
