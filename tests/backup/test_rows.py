"""Rows through a backup: every table, either database, and the numbers that must never be used again."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select, text

from backup.made import settings_of
from opencph.backup import rows
from opencph.backup.making import back_up
from opencph.backup.restoring import restore
from opencph.store import tables
from opencph.store.database import Query, command, open_database, scalar, tuple_row
from opencph.store.migrate import HEAD
from upgrade.old import fill

EMPTY = rows.LEFT_OUT


def everything(url: str) -> dict[str, list[str]]:
    database = open_database(url)
    try:
        with database.read() as tx:
            return {
                table.name: sorted(map(repr, tx.rows(Query(select(table), tuple_row))))
                for table in tables.metadata.sorted_tables
                if table.name not in EMPTY
            }
    finally:
        database.close()


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_every_row_of_every_table_comes_back(
    tmp_path: Path, database_url: str, target: str, request: pytest.FixtureRequest
) -> None:
    fill(database_url, HEAD, rows_of_each=rows.PAGE_ROWS * 2 + 1)
    before = everything(database_url)
    assert all(before.values()), f"tables without a row: {[name for name, found in before.items() if not found]}"
    (tmp_path / "data").mkdir()
    made = back_up(settings_of(tmp_path / "data", database_url), tmp_path / "b")
    assert sum(made.rows.values()) == sum(map(len, before.values()))
    url = request.getfixturevalue("postgresql_url") if target == "postgresql" else f"sqlite:///{tmp_path}/new/opencph.db"
    restore(settings_of(tmp_path / "new", url if target == "postgresql" else ""), made.file)
    after = everything(url)
    # Nobody works on the jobs any more, and the images' data was nowhere.
    before["jobs"] = sorted(row.replace("'somebody', 77", "None, 0") for row in before["jobs"])
    before["images"] = sorted(row.replace(" 1, 1700000000000, 170", " 2, 1700000000000, 170") for row in before["images"])
    assert after == before


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_a_number_that_was_used_is_not_used_again(
    tmp_path: Path, database_url: str, target: str, request: pytest.FixtureRequest
) -> None:
    fill(database_url, HEAD, rows_of_each=5)
    database = open_database(database_url)
    with database.write() as tx:
        tx.run(command(text("DELETE FROM findings WHERE seq = (SELECT max(seq) FROM findings)")))
    highest = database.row(Query[int](text("SELECT max(seq) FROM findings"), scalar)) or 0
    database.close()
    (tmp_path / "data").mkdir()
    made = back_up(settings_of(tmp_path / "data", database_url), tmp_path / "b")
    url = request.getfixturevalue("postgresql_url") if target == "postgresql" else ""
    settings = settings_of(tmp_path / "new", url)
    restore(settings, made.file)
    database = open_database(settings.database_url)
    with database.write() as tx:
        tx.run(command(text("INSERT INTO findings (time_ms, what, text) VALUES (1, 'a', 'b')")))
    assert database.row(Query[int](text("SELECT max(seq) FROM findings"), scalar)) == highest + 2
    database.close()
