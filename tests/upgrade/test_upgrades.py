"""A data directory of every older version: `opencph up` takes it over, with the same answers and data, and servers can be changed.

Until there is a release, an older version is an older schema: a real installation's rows are put into a database that the revisions
themselves made up to there, with what first starts wrote then. Every release adds a backup of its own (docs/releasing.md).
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import MetaData, func, select

from backup.running import Installations
from bench.soak.actors import SoakError
from opencph.adb.client import AdbError
from opencph.store.migrate import HEAD, migrate
from opencph.store.tables import metadata as newest
from opencph.testing import RunningCph, own_network
from upgrade import release
from upgrade.old import columns, engine_of, fill, make

REVISIONS = [f"{number:04}" for number in range(1, int(HEAD) + 1)]
RELEASES = sorted((Path(__file__).parent / "releases").glob("*.tar.zst"))
MADE_NOW = "made now"
LIMIT = 3


class Old(NamedTuple):
    """A real installation that was stopped."""

    data: Path
    network: str
    known: dict[str, Any]


@pytest.fixture(scope="module")
def old() -> Iterator[Old]:
    with tempfile.TemporaryDirectory(prefix="cph-", dir="/tmp") as name, own_network() as network:
        installations = Installations(Path(name), network)
        try:
            known = release.populate(installations.start("data"), Path(name))
        finally:
            installations.stop()
        yield Old(Path(name) / "data", network, known)


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="cph-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def age(old: Old, url: str, revision: str) -> None:
    """A database at `revision` with the rows of `old`, and the limits that first starts wrote down before 0008."""
    make(url, revision)
    source, target = engine_of(f"sqlite:///{old.data}/opencph.db"), engine_of(url)
    there = MetaData()
    there.reflect(target, only=lambda name, _: name != "alembic_version")
    with source.connect() as reading, target.begin() as writing:
        for table in newest.sorted_tables:
            if table.name not in there.tables or table.name in ("processes", "homes"):
                continue
            known = [column for column in table.columns if column.name in there.tables[table.name].columns]
            found = [dict(row._mapping) for row in reading.execute(select(*known))]
            if found:
                writing.execute(there.tables[table.name].insert(), found)
            if "seq" in table.columns and target.dialect.name == "postgresql" and found:
                writing.exec_driver_sql(f"SELECT setval('{table.name}_seq_seq', {max(row['seq'] for row in found)})")
        if revision < "0008":
            project_id = writing.execute(select(there.tables["projects"].c.project_id)).scalar_one()
            limits = [{"project_id": project_id, "resource": name, "quota_limit": LIMIT} for name in ("servers", "phones", "eips")]
            writing.execute(there.tables["quotas"].insert(), limits)
    source.dispose()
    target.dispose()


def takes_over(cph: RunningCph, directory: Path, known: dict[str, Any]) -> None:
    """The installation answers what it did, has its data, and changes a server."""
    actor = release.actor_of(cph, directory)

    def answering() -> bool:
        with suppress(OSError, AdbError):
            return all(release.phone_file(ip) == release.CONTENTS for ip in known["files"])
        return False

    def back() -> bool:
        return all(actor.server(server_id).status == 5 for server_id in known["servers"])

    # What is told at first is what was written down at the end of the old version: phones that answer are of the new one.
    actor.world.until("phones answer, with their data", answering, 60.0)
    actor.world.until("the servers are back", back, 60.0)
    with suppress(SoakError):  # phones that are on their way up are told as that
        actor.world.until("the answers are those of before", lambda: release.answers(cph) == known["answers"], 60.0)
    assert release.answers(cph) == known["answers"]
    for ip in known["files"]:
        assert release.phone_file(ip) == release.CONTENTS
    actor.change(known["servers"][0])
    bought = actor.buy("after")
    assert actor.phones(bought)
    assert not actor.record.unexpected, "\n".join([*actor.record.lines(), *cph.output])


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("revision", "dialect"), [*((one, "sqlite") for one in REVISIONS), ("0001", "postgresql"), (HEAD, "postgresql")]
)
def test_a_data_directory_of_an_older_schema_is_taken_over(
    old: Old, directory: Path, revision: str, dialect: str, request: pytest.FixtureRequest
) -> None:
    shutil.copytree(
        old.data, directory / "data", symlinks=True, ignore=shutil.ignore_patterns("opencph.db*", ".home", "run", "logs")
    )
    url = ""
    if dialect == "postgresql":
        url = request.getfixturevalue("postgresql_cluster").create_database(template="template1")
    age(old, url or f"sqlite:///{directory}/data/opencph.db", revision)
    installations = Installations(directory, old.network)
    try:
        takes_over(installations.start("data", url), directory, old.known)
    finally:
        installations.stop()


@pytest.mark.parametrize("revision", REVISIONS)
def test_rows_of_every_older_table_survive_every_revision_after(tmp_path: Path, database_url: str, revision: str) -> None:
    url = f"{database_url}.old" if database_url.startswith("sqlite") else database_url
    if url == database_url:
        engine = engine_of(url)
        with engine.begin() as connection:
            newest.drop_all(connection)
            connection.exec_driver_sql("DROP TABLE alembic_version")
        engine.dispose()
    make(url, revision)
    fill(url, revision)
    before = columns(url)
    migrate(url)
    assert before.keys() <= columns(url).keys()
    engine = engine_of(url)
    with engine.connect() as connection:
        counts = {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in newest.sorted_tables
            if table.name in before
        }
    engine.dispose()
    assert counts == {name: 0 if name == "quotas" and revision < "0008" else 3 for name in counts}


@pytest.fixture(scope="module")
def made_now() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cph-", dir="/tmp") as name:
        release.make(Path(name) / "now.tar.zst")
        yield Path(name) / "now.tar.zst"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fixture", [*(path.name for path in RELEASES), MADE_NOW])
def test_the_backup_of_every_release_is_taken_over(directory: Path, fixture: str, request: pytest.FixtureRequest) -> None:
    file: Path = request.getfixturevalue("made_now") if fixture == MADE_NOW else Path(__file__).parent / "releases" / fixture
    known = json.loads(file.with_name(file.name + ".json").read_text())
    with ExitStack() as stack:
        network = stack.enter_context(release.on_its_network(known))
        installations = Installations(directory, network)
        stack.callback(installations.stop)
        installations.opencph("restore", file, "--data", directory / "data")
        takes_over(installations.start("data"), directory, known)
