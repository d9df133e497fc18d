"""A database that has had its first start."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from opencph.iam.bootstrap import Credentials, bootstrap
from opencph.settings import Settings
from opencph.store.database import Database


@pytest.fixture
def settings(database_url: str) -> Iterator[Settings]:
    with tempfile.TemporaryDirectory(prefix="ocph-") as directory:
        yield Settings(data=Path(directory), database=database_url, network="127.70.0.0/16")


@pytest.fixture
def credentials(database: Database, settings: Settings) -> Credentials:
    """What the first start wrote."""
    bootstrap(database, settings)
    return msgspec.json.decode((settings.data / "credentials.json").read_bytes(), type=Credentials)
