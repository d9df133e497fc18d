"""The fixtures every test may use: a migrated, empty database of each kind."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from opencph.store.database import Database, open_database
from opencph.store.migrate import migrate

if TYPE_CHECKING:
    from postgresql_cluster import PostgresqlCluster

hypothesis.settings.register_profile("tests", deadline=None)  # speed is not asserted here, and machines are busy
hypothesis.settings.load_profile("tests")

# One seed for all processes of a parallel run: they must find the same tests.
os.environ.setdefault("CRASH_SEED", str(random.randrange(10_000)))

sys.path.insert(0, str(Path(__file__).parent))  # helpers beside this file; import-mode importlib adds nothing itself


@pytest.fixture(scope="session")
def _sqlite_template() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ocph-") as directory:
        path = Path(directory) / "template.db"
        migrate(f"sqlite:///{path}")
        yield path


def _cluster_or_skip() -> PostgresqlCluster:
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("no PostgreSQL: the package psycopg is missing; pip install 'opencph[postgresql]'")
    from postgresql_cluster import PostgresqlCluster, missing

    if reason := missing():
        pytest.skip(reason)
    return PostgresqlCluster()


@pytest.fixture(scope="session")
def postgresql_cluster() -> Iterator[PostgresqlCluster]:
    """A private PostgreSQL, shared by the session's tests; new databases in it are migrated."""
    cluster = _cluster_or_skip()
    try:
        template = cluster.create_database()
        migrate(template)
        cluster.template = template.removeprefix("postgresql://opencph@/").split("?")[0]
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture
def own_postgresql_cluster() -> Iterator[PostgresqlCluster]:
    """A PostgreSQL of the test's own, to stop and start."""
    cluster = _cluster_or_skip()
    try:
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a migrated, empty database; the test runs once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("_sqlite_template")
        with tempfile.TemporaryDirectory(prefix="ocph-") as directory:
            shutil.copy(template, f"{directory}/opencph.db")
            yield f"sqlite:///{directory}/opencph.db"
    else:
        cluster: PostgresqlCluster = request.getfixturevalue("postgresql_cluster")
        url = cluster.create_database()
        yield url
        cluster.drop_database(url)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated, empty database, open."""
    opened = open_database(database_url)
    yield opened
    opened.close()
