"""The fixtures of the fleet's jobs: a world on each kind of database."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs_fleet.small_world import World


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    """One installation, empty but for its project."""
    with tempfile.TemporaryDirectory(prefix="ocph-") as directory:
        made = World(Path(directory), database_url)
        made.prepare()
        yield made
        made.fleet.close()
