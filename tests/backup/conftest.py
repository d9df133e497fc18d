"""Starting an installation to be backed up, and the restored one after it, on the same addresses."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backup.running import Installations
from e2e.running import processes_with
from opencph.testing import own_network

if TYPE_CHECKING:
    from postgresql_cluster import PostgresqlCluster


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a short path; at its end nothing may be left that runs on it."""
    path = Path(tempfile.mkdtemp(prefix="cph-", dir="/tmp"))
    yield path
    left = processes_with(path)
    for process in left:
        process.kill()
    shutil.rmtree(path, ignore_errors=True)
    assert not left, f"left running: {[(process.pid, process.cmdline()) for process in left]}"


@pytest.fixture
def installations(directory: Path) -> Iterator[Installations]:
    """Starts `opencph up` on directories below `directory`; all are stopped at the end."""
    with own_network() as network:
        made = Installations(directory, network)
        yield made
        made.stop()


@pytest.fixture
def postgresql_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A PostgreSQL database without any table."""
    cluster: PostgresqlCluster = request.getfixturevalue("postgresql_cluster")
    url = cluster.create_database(template="template1")
    yield url
    cluster.drop_database(url)
