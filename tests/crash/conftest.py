"""One installation for the crash tests of a module: its server lives through all of them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.installation import Installation
from opencph.store.migrate import migrate


@pytest.fixture(scope="module")
def installation(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """An installation without a worker; what a test starts is ended after the last one. A module may say DATABASE."""
    directory = Path(tempfile.mkdtemp(prefix="ocph-", dir="/tmp"))  # short: socket paths are limited
    if getattr(request.module, "DATABASE", "sqlite") == "postgresql":
        url = request.getfixturevalue("postgresql_cluster").create_database()
    else:
        url = f"sqlite:///{directory}/opencph.db"
        migrate(url)
    made = Installation(directory, url)
    try:
        yield made
        made.stop_workers()
    finally:
        made.close()
        left = made.processes()
        shutil.rmtree(directory)
    assert left == []


@pytest.fixture(scope="module")
def server_id(installation: Installation) -> str:
    """A server that is normal. No worker runs."""
    installation.start_worker()
    (bought,) = installation.world.buy()
    installation.ended()
    installation.stop_workers()
    installation.serves(bought)
    return bought


@pytest.fixture(autouse=True)
def _no_worker_is_left(installation: Installation) -> Iterator[None]:
    yield
    installation.kill_workers()
