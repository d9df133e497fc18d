"""A fleet on a fresh database of each kind, with one project that owns a VPC, a subnet and a key pair."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.fleet_world import FleetWorld
from opencph.settings import Settings
from opencph.store.database import Database


@pytest.fixture
def world_with(database: Database, tmp_path: Path) -> Callable[..., FleetWorld]:
    """A fleet with settings of the test's own."""
    return lambda **settings: FleetWorld(database, Settings(data=tmp_path, **settings))


@pytest.fixture
def world(world_with: Callable[..., FleetWorld]) -> FleetWorld:
    """A fleet with the default settings, on SQLite and on PostgreSQL."""
    return world_with()
