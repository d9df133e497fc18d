"""Databases as older versions made them: at any revision, with rows in every table that it has."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, MetaData, Table, create_engine, inspect

from opencph.store.database import open_database
from opencph.store.migrate import upgrade


def engine_of(url: str) -> Engine:
    """An engine for looking and filling."""
    return create_engine(url.replace("postgresql://", "postgresql+psycopg://"))


def make(url: str, revision: str) -> None:
    """The schema of a revision, made by the revisions themselves."""
    open_database(url).close()
    upgrade(url, revision)


def fill(url: str, revision: str, rows_of_each: int = 3) -> None:
    """Put rows into every table of a database at `revision`, whatever its columns are."""
    engine = engine_of(url)
    metadata = MetaData()
    metadata.reflect(engine, only=lambda name, _: name != "alembic_version")
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            count = rows_of_each if table.name in ("jobs", "audit", "findings", "phones") else 3
            connection.execute(table.insert(), [_row(table, number) for number in range(1, count + 1)])
        if engine.dialect.name == "postgresql":
            for table in metadata.sorted_tables:
                if "seq" in table.columns:
                    connection.exec_driver_sql(f"SELECT setval('{table.name}_seq_seq', (SELECT max(seq) FROM {table.name}))")
    engine.dispose()


def _row(table: Table, number: int) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for column in table.columns:
        keys = list(column.foreign_keys)
        if keys:
            target = keys[0].column
            row[column.name] = number if target.name == "seq" else f"{target.table.name}-{(number - 1) % 3 + 1}"
        elif column.name in ("status", "enabled"):
            row[column.name] = 1
        elif column.name.endswith("_ms"):
            row[column.name] = 77 if column.name == "lease_until_ms" else 1_700_000_000_000
        elif column.name == "lease_owner":
            row[column.name] = "somebody"
        elif column.type.python_type is int:
            row[column.name] = number
        elif column.primary_key or column.unique or column.name.endswith("_id") or column.name in ("name", "address", "server_ip"):
            row[column.name] = f"{table.name}-{number}"
        else:
            row[column.name] = f"text {number} ü \U0001f4f1"
    return row


def columns(url: str) -> dict[str, list[str]]:
    """The columns of every table."""
    engine = engine_of(url)
    seen = inspect(engine)
    found = {name: [column["name"] for column in seen.get_columns(name)] for name in seen.get_table_names()}
    engine.dispose()
    return found
