"""Migrations: what the revisions make is what `store.tables` says, and many processes may start at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from opencph.store import migrate as migrate_module
from opencph.store.database import StoreError, command, open_database
from opencph.store.migrate import HEAD, migrate, upgrade
from opencph.store.tables import metadata
from store.conftest import assert_at_head, engine_of, migrate_at_once


def _schema(url: str) -> dict[str, Any]:
    """All that the database itself says about its tables."""
    engine = engine_of(url)
    found: dict[str, Any] = {}
    seen = inspect(engine)
    for table in sorted(seen.get_table_names()):
        found[table] = {
            "columns": [{**column, "type": str(column["type"])} for column in seen.get_columns(table)],
            "primary key": seen.get_pk_constraint(table),
            "foreign keys": sorted(map(repr, seen.get_foreign_keys(table))),
            "unique": sorted(map(repr, seen.get_unique_constraints(table))),
            "indexes": sorted(
                (str(index["name"]), index["column_names"], index["unique"], *map(str, index.get("dialect_options", {}).values()))
                for index in seen.get_indexes(table)
            ),
        }
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            rows = connection.execute(text("SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%' ORDER BY name"))
            found["autoincrement"] = [row[0] for row in rows]
    engine.dispose()
    return found


def test_the_revisions_make_the_schema_of_the_tables(empty_url: str) -> None:
    open_database(empty_url).close()
    upgrade(empty_url)
    engine = engine_of(empty_url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_a_database_made_from_nothing_equals_one_made_by_the_revisions(empty_url: str) -> None:
    migrate(empty_url)
    made_at_once = _schema(empty_url)
    assert set(metadata.tables) < set(made_at_once)
    engine = engine_of(empty_url)
    with engine.begin() as connection:
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
    engine.dispose()
    upgrade(empty_url)
    assert _schema(empty_url) == made_at_once


def test_head_is_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate_module.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_migrating_twice_changes_nothing(empty_url: str) -> None:
    migrate(empty_url)
    before = _schema(empty_url)
    migrate(empty_url)
    assert _schema(empty_url) == before


def test_a_migrated_database_is_recognised_without_loading_alembic(empty_url: str) -> None:
    migrate(empty_url)
    code = "import sys; from opencph.store.migrate import migrate; migrate(sys.argv[1]); print('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, empty_url], capture_output=True, text=True).stdout == "False\n"


def test_an_older_database_is_upgraded(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate(empty_url)
    upgraded: list[str] = []
    monkeypatch.setattr(migrate_module, "HEAD", "9999")
    monkeypatch.setattr(migrate_module, "upgrade", upgraded.append)
    migrate(empty_url)
    assert upgraded == [empty_url]


def test_a_database_newer_than_the_code_is_refused_and_left_alone(empty_url: str) -> None:
    migrate(empty_url)
    database = open_database(empty_url)
    with database.write() as tx:
        tx.run(command(text("UPDATE alembic_version SET version_num = '4711'")))
    database.close()
    with pytest.raises(StoreError, match=r"revision '4711'.*install the newer version"):
        migrate(empty_url)


def test_many_processes_that_start_at_once_migrate_once(empty_url: str) -> None:
    migrate_at_once(empty_url, processes=6, timeout=60)
    assert_at_head(empty_url)
