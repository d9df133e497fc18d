"""A real api process on a port of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.api_service import Service, get_token, start, stop


@pytest.fixture
def start_service() -> Iterator[Callable[[str], Service]]:
    """Starts an api process of the test's own on a database, and stops it."""
    started: list[Service] = []

    def begin(database_url: str) -> Service:
        service = start(Path(tempfile.mkdtemp(prefix="ocph-")), database_url, "127.72.0.0/16")
        started.append(service)
        return service

    yield begin
    for service in started:
        stop(service)
        shutil.rmtree(service.data)


@pytest.fixture(params=["sqlite", "postgresql"], scope="module")
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """An api process for the tests of a module, once on each database."""
    data = Path(tempfile.mkdtemp(prefix="ocph-"))
    if request.param == "sqlite":
        url = f"sqlite:///{data / 'opencph.db'}"
    else:
        url = request.getfixturevalue("postgresql_cluster").create_database()
    running = start(data, url, "127.71.0.0/16")
    yield running
    code = stop(running)
    log = (data / "log").read_text()
    if request.param == "postgresql":
        request.getfixturevalue("postgresql_cluster").drop_database(url)
    shutil.rmtree(data)
    assert code == 0, log
    assert "Traceback" not in log, log


@pytest.fixture(scope="module")
def token(service: Service) -> str:
    """A project token."""
    return get_token(service, {"project": {"name": service.credentials["region"]}})
