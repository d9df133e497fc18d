"""What the tests of migrations share: a database without tables, what it says of itself, processes that migrate it at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, create_engine, text

from opencph.store.migrate import HEAD

if TYPE_CHECKING:
    from postgresql_cluster import PostgresqlCluster


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/opencph.db"
    else:
        cluster: PostgresqlCluster = request.getfixturevalue("postgresql_cluster")
        url = cluster.create_database(template="template1")
        yield url
        cluster.drop_database(url)


def engine_of(url: str, **options: object) -> Engine:
    return create_engine(url.replace("postgresql://", "postgresql+psycopg://"), **options)


def assert_at_head(url: str) -> None:
    engine = engine_of(url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [HEAD]
    engine.dispose()


def migrate_at_once(url: str, processes: int, timeout: float) -> None:
    """Processes that are all started first, and then migrate. All of them succeed, within `timeout` seconds each."""
    code = "import sys; from opencph.store.migrate import migrate; sys.stdin.read(1); migrate(sys.argv[1])"
    started = [
        subprocess.Popen([sys.executable, "-c", code, url], stdin=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(processes)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in started:
        _, errors = process.communicate(timeout=timeout)
        assert process.returncode == 0, errors.decode()
