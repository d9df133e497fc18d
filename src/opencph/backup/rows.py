"""The rows of a backup: out of either database in one snapshot, and into either. Nothing of what they mean.

Rows travel as JSON, table by table, and not as the database's own files or dumps: so a backup of SQLite can become a PostgreSQL
and back, and no client tool of PostgreSQL must have the server's version. Columns are asked of the database, not of
`store.tables`, so that a database of an older revision can be backed up by a newer version before it is upgraded.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from sqlalchemy import Column, MetaData, Table, Text, bindparam, func, insert, select, text, tuple_
from sqlalchemy.sql.elements import BindParameter

from opencph.backup import BackupError
from opencph.store.database import Database, Query, StoreError, Transaction, Value, command, open_database, scalar, tuple_row
from opencph.store.migrate import create_tables, revision_of
from opencph.store.tables import metadata

PAGE_ROWS = 1000
#: rows of what was alive then and where, which is not where the backup comes back
LEFT_OUT = frozenset({"processes", "homes", "alembic_version"})


class Page(NamedTuple):
    """Some rows of a table."""

    table: str
    columns: tuple[str, ...]
    rows: list[tuple[Value, ...]]


class _Column(NamedTuple):
    table: str
    name: str
    key: int  # its place in the primary key, from 1; 0: none


_SQLITE_COLUMNS = (
    "SELECT m.name, c.name, c.pk FROM sqlite_master m JOIN pragma_table_info(m.name) c "
    "WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY m.name, c.cid"
)
_COLUMNS = {
    "sqlite": Query(text(_SQLITE_COLUMNS), _Column),
    "postgresql": Query(
        text(
            "SELECT c.table_name, c.column_name, coalesce(k.ordinal_position, 0)::int FROM information_schema.columns c "
            "LEFT JOIN information_schema.table_constraints t ON t.table_schema = c.table_schema AND t.table_name = c.table_name "
            "AND t.constraint_type = 'PRIMARY KEY' "
            "LEFT JOIN information_schema.key_column_usage k ON k.constraint_schema = t.constraint_schema "
            "AND k.constraint_name = t.constraint_name AND k.table_name = c.table_name AND k.column_name = c.column_name "
            "WHERE c.table_schema = current_schema() ORDER BY c.table_name, c.ordinal_position"
        ),
        _Column,
    ),
}
_SEQUENCES = {
    "sqlite": Query(text("SELECT name, seq FROM sqlite_sequence"), tuple_row),
    "postgresql": Query(
        text("SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = current_schema() AND last_value IS NOT NULL"),
        tuple_row,
    ),
}


#: how long a transaction of ours may be busy with a file; nobody waits for it, so it need not be as quick as others must
FILE_MS = 300_000
_WAITS_FOR_FILES = Query(select(func.set_config("idle_in_transaction_session_timeout", str(FILE_MS), True)), scalar)


def waits_for_files(tx: Transaction) -> None:
    """Tell the database that between two statements of this transaction files are read or written."""
    if tx.dialect == "postgresql":
        tx.row(_WAITS_FOR_FILES)


def tables(tx: Transaction) -> dict[str, list[_Column]]:
    """The columns of every table there is."""
    found: dict[str, list[_Column]] = {}
    for column in tx.rows(_COLUMNS[tx.dialect]):
        found.setdefault(column.table, []).append(column)
    return found


def revision(tx: Transaction) -> str:
    """The revision of the schema. Raises BackupError when there is none."""
    found = revision_of(tx)
    if found is None:
        raise BackupError("the database has no installation yet; start it once with `opencph up`")
    return found


def sequences(tx: Transaction) -> dict[str, int]:
    """The highest `seq` that each table ever had: a number that was used is never used again."""
    return {str(name).removesuffix("_seq_seq"): int(value or 0) for name, value in tx.rows(_SEQUENCES[tx.dialect])}


def pages(tx: Transaction) -> Iterator[Page]:
    """All rows, PAGE_ROWS at a time, in the order of their keys."""
    for name, columns in tables(tx).items():
        if name not in LEFT_OUT:
            yield from _pages_of(tx, name, columns)


def _pages_of(tx: Transaction, name: str, columns: Sequence[_Column]) -> Iterator[Page]:
    table = Table(name, MetaData(), *(Column(column.name, Text) for column in columns))
    keys = [column.name for column in sorted((one for one in columns if one.key), key=lambda one: one.key)]
    places = [[column.name for column in columns].index(key) for key in keys]
    ordered = select(table).order_by(*(table.c[key] for key in keys)).limit(PAGE_ROWS)
    names: list[BindParameter[str]] = [bindparam(f"after_{n}") for n in range(len(keys))]
    first = Query(ordered, tuple_row)
    following = Query(ordered.where(tuple_(*(table.c[key] for key in keys)) > tuple_(*names)), tuple_row)
    rows = tx.rows(first)
    while rows:
        yield Page(name, tuple(column.name for column in columns), rows)
        if len(rows) < PAGE_ROWS:
            return
        rows = tx.rows(following, **{f"after_{n}": rows[-1][place] for n, place in enumerate(places)})


def encode(page: Page) -> bytes:
    """A page as lines of JSON."""
    return b"\n".join(map(msgspec.json.encode, (page.columns, *page.rows))) + b"\n"


_NAMES = msgspec.json.Decoder(list[str])
_ROW = msgspec.json.Decoder(list[str | int | float | None])


def decode(table: str, data: bytes) -> Page:
    """The page of a member. Raises BackupError."""
    try:
        head, *lines = data.splitlines()
        columns = tuple(_NAMES.decode(head))
        rows: list[tuple[Value, ...]] = [tuple(_ROW.decode(line)) for line in lines]
    except (ValueError, msgspec.MsgspecError) as error:
        raise BackupError(f"the backup is damaged: rows of {table}: {error}") from error
    if any(len(row) != len(columns) for row in rows):
        raise BackupError(f"the backup is damaged: rows of {table} with too many or too few columns")
    return Page(table, columns, rows)


class SqliteLoader:
    """Loads pages into an empty SQLite of some revision, all in one transaction."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA synchronous=OFF")  # it counts only once it is whole and synced
        self._connection.execute("BEGIN")
        self._known: dict[str, set[str]] = {}
        for table, column, _key in self._connection.execute(_SQLITE_COLUMNS):
            self._known.setdefault(table, set()).add(column)
        for table in self._known.keys() - LEFT_OUT:
            self._connection.execute(f'DELETE FROM "{table}"')  # noqa: S608 (a name of ours)

    def load(self, page: Page) -> None:
        """Insert rows. Raises BackupError for a table or a column that this revision has not."""
        known = self._known.get(page.table, set())
        if page.table in LEFT_OUT or not known or not set(page.columns) <= known or len(set(page.columns)) != len(page.columns):
            raise BackupError(f"the backup has rows of {page.table!r} that do not fit its revision")
        names = ", ".join(f'"{column}"' for column in page.columns)
        marks = ", ".join("?" * len(page.columns))
        try:
            self._connection.executemany(f'INSERT INTO "{page.table}" ({names}) VALUES ({marks})', page.rows)  # noqa: S608
        except (sqlite3.Error, OverflowError) as error:
            raise BackupError(f"the backup is damaged: rows of {page.table}: {error}") from error

    def finish(self, numbers: dict[str, int]) -> None:
        """Set the counters and commit. Raises BackupError when rows name others that are not there."""
        for table, number in numbers.items():
            if "seq" in self._known.get(table, ()):
                self._connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
                self._connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, number))
        broken = self._connection.execute("PRAGMA foreign_key_check").fetchone()
        if broken is not None:
            raise BackupError(f"the backup is damaged: a row of {broken[0]} names one of {broken[2]} that is not in it")
        self._connection.execute("COMMIT")
        self._connection.execute("PRAGMA journal_mode=WAL")
        self.close()

    def close(self) -> None:
        """Let go; what was not finished is gone."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()


def check_empty(url: str) -> None:
    """Raises BackupError when the database has tables, or cannot be reached."""
    try:
        database = open_database(url)
        try:
            with database.read() as tx:
                found = list(tables(tx))
        finally:
            database.close()
    except StoreError as error:
        raise BackupError(str(error)) from error
    if found:
        raise BackupError(
            f"the database is not empty (it has the table {found[0]}): a backup is restored into an empty one; "
            "make another with CREATE DATABASE, or drop this one"
        )


def copy(source: Database, url: str) -> None:
    """Every row of a SQLite at the newest revision into an empty database, in one transaction. Raises StoreError."""
    target = open_database(url)
    try:
        with source.read() as old, target.write() as new:
            waits_for_files(new)
            create_tables(new)
            for table in metadata.sorted_tables:
                columns: dict[str, BindParameter[str]] = {column.name: bindparam(column.name) for column in table.columns}
                statement = command(insert(table).values(columns))
                found = [_Column(table.name, column.name, 0) for column in table.columns]
                keys = {column.name: place for place, column in enumerate(table.primary_key.columns, 1)}
                found = [column._replace(key=keys.get(column.name, 0)) for column in found]
                for page in _pages_of(old, table.name, found):
                    new.run_many(statement, [dict(zip(page.columns, row, strict=True)) for row in page.rows])
            for name, number in sequences(old).items():
                if number and new.dialect == "postgresql":
                    new.row(Query(select(func.setval(f"{name}_seq_seq", number)), scalar))
    finally:
        target.close()
