"""Migrations under a version that is still running: every revision only adds, and statements of the old one go on working."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Integer, MetaData, Table, insert, inspect, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.types import BigInteger

from opencph.store import migrate as migrate_module
from opencph.store.migrate import HEAD, migrate, upgrade
from opencph.testing import own_network
from store.conftest import assert_at_head, engine_of, migrate_at_once

REVISIONS = [f"{number:04}" for number in range(1, int(HEAD) + 1)]
#: What an old version that is still running may wait for while the new one migrates.
PATIENCE_SECONDS = 30.0


@pytest.fixture
def empty_url(empty_url: str) -> str:
    """The same as everywhere, in the way the store opens it: readers and a writer do not keep each other out."""
    if empty_url.startswith("sqlite"):
        with _engine(empty_url).connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    return empty_url


def _engine(url: str) -> Engine:
    return engine_of(url, **({"connect_args": {"timeout": PATIENCE_SECONDS}} if url.startswith("sqlite") else {}))


def _columns(url: str) -> dict[tuple[str, str], dict[str, Any]]:
    engine = _engine(url)
    seen = inspect(engine)
    found = {
        (table, column["name"]): {"type": str(column["type"]), "required": not column["nullable"] and column["default"] is None}
        for table in seen.get_table_names()
        for column in seen.get_columns(table)
    }
    engine.dispose()
    return found


def _rules(url: str) -> set[tuple[str, ...]]:
    """What the rows of a table must obey beyond their columns: keys and uniqueness."""
    engine = _engine(url)
    seen = inspect(engine)
    found: set[tuple[str, ...]] = set()
    for table in seen.get_table_names():
        found.add((table, "primary", *seen.get_pk_constraint(table)["constrained_columns"]))
        found |= {(table, "unique", *unique["column_names"]) for unique in seen.get_unique_constraints(table)}
        found |= {(table, "foreign", *key["constrained_columns"]) for key in seen.get_foreign_keys(table)}
        found |= {(table, "unique", *map(str, index["column_names"])) for index in seen.get_indexes(table) if index["unique"]}
    engine.dispose()
    return found


def test_the_revisions_are_a_line_without_gaps() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate_module.__file__).parent / "migrations"))
    assert [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()] == REVISIONS[::-1]


def test_every_revision_only_adds(empty_url: str) -> None:
    upgrade(empty_url, REVISIONS[0])
    columns, rules = _columns(empty_url), _rules(empty_url)
    for revision in REVISIONS[1:]:
        upgrade(empty_url, revision)
        now, rules_now = _columns(empty_url), _rules(empty_url)
        old_tables = {table for table, _ in columns}
        assert {key: now.get(key) for key in columns} == columns, f"revision {revision} changes or drops columns"
        required = [key for key, column in now.items() if key not in columns and key[0] in old_tables and column["required"]]
        assert not required, f"revision {revision} adds columns that the version before does not fill: {required}"
        stricter = {rule for rule in rules_now - rules if rule[0] in old_tables}
        assert not stricter, f"revision {revision} forbids what the version before may write: {stricter}"
        columns, rules = now, rules_now
    assert len(columns) > 100


class OldVersion:
    """A process of an older version, as far as the database sees it: it writes and reads every table with the columns it knows."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self.tables = MetaData()
        self.tables.reflect(self.engine)
        self.tables.remove(self.tables.tables["alembic_version"])
        self.turns = 0
        self.longest = 0.0
        self.error: BaseException | None = None
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            while not self.ending.is_set():
                begun = time.monotonic()
                self._turn_until_done()
                self.turns += 1
                self.longest = max(self.longest, time.monotonic() - begun)
        except BaseException as error:
            self.error = error

    def _turn_until_done(self) -> None:
        """As the store does it: a transaction that was in a deadlock, or waited too long, is tried again."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with self.engine.begin() as connection:
                    self.turn(connection)
            except OperationalError:
                if time.monotonic() > deadline:
                    raise
            else:
                return

    def turn(self, connection: Connection) -> None:
        for table in self.tables.sorted_tables:
            connection.execute(insert(table).values({column.name: _value(column) for column in table.columns}))
        for table in self.tables.sorted_tables:
            assert connection.execute(select(table)).fetchall(), table.name
        for table in reversed(self.tables.sorted_tables):
            connection.execute(_delete_ours(table))

    def wait_for_turns(self, count: int) -> None:
        wanted, deadline = self.turns + count, time.monotonic() + PATIENCE_SECONDS
        while self.turns < wanted:
            assert self.error is None, self.error
            assert time.monotonic() < deadline, "the old version stands still"
            time.sleep(0.01)


def _value(column: Any) -> Any:
    return 7 if isinstance(column.type, BigInteger | Integer) else "ours"


def _delete_ours(table: Table) -> Any:
    first = next(iter(table.primary_key.columns))
    return table.delete().where(first == _value(first))


@pytest.mark.parametrize("old", [REVISIONS[0], REVISIONS[-2]])
def test_an_old_version_goes_on_while_the_new_one_migrates_and_after_it(empty_url: str, old: str) -> None:
    upgrade(empty_url, old)
    running = OldVersion(empty_url)
    running.thread.start()
    try:
        running.wait_for_turns(3)
        migrate(empty_url)
        running.wait_for_turns(3)
    finally:
        running.ending.set()
        running.thread.join()
        running.engine.dispose()
    assert running.error is None, running.error
    assert_at_head(empty_url)


def test_many_processes_that_start_on_an_older_database_migrate_it_once(empty_url: str) -> None:
    upgrade(empty_url, REVISIONS[0])
    migrate_at_once(empty_url, processes=4, timeout=120)
    assert_at_head(empty_url)


@pytest.mark.parametrize("command", ["up", "api", "worker", "gateway"])
def test_no_part_starts_on_a_database_that_is_newer(empty_url: str, tmp_path: Path, command: str) -> None:
    migrate(empty_url)
    engine = _engine(empty_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '4711'"))
    engine.dispose()
    arguments = [sys.executable, "-m", "opencph", command, "--data", str(tmp_path / "data"), "--database", empty_url]
    environment = {"PATH": "/usr/bin:/bin", "OPENCPH_LISTEN": "127.0.0.1:0"}
    environment |= {name: value for name, value in os.environ.items() if name == "PYTHONPATH"}
    with own_network() as network:
        environment["OPENCPH_NETWORK"] = network.replace("/16", "/20")
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120, env=environment)
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("opencph ")]
    assert done.returncode == 1
    assert "the database is at revision '4711', which this version of OpenCPH does not know" in said
    assert said.endswith("install the newer version that made it")
