"""What several security tests share: an api in the process of the test, with things of two projects. `raw_http` has a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from api.edge_client import World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for each module, on SQLite."""
    data: Path = tmp_path_factory.mktemp("world")
    made = World(data, f"sqlite:///{data / 'opencph.db'}")
    yield made
    made.close()
