"""Starting an installation to be backed up, and the restored one after it, on the same addresses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backup.running import Installations
from e2e.running import watched_directory
from opencph.testing import own_network

if TYPE_CHECKING:
    from postgresql_cluster import PostgresqlCluster


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a short path; at its end nothing may be left that runs on it."""
    with watched_directory() as path:
        yield path


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
