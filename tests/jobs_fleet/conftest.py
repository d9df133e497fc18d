"""The fixtures of the fleet's jobs: a world on each kind of database, one for real light phones, and those phones at work."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from jobs_fleet.small_world import World
from opencph.adb.client import AdbError, connect
from opencph.runtimes.builtin import BuiltinRuntime
from opencph.testing import own_network


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    """One installation, empty but for its project."""
    with tempfile.TemporaryDirectory(prefix="ocph-") as directory, own_network() as network:
        made = World(Path(directory), database_url, network.replace("/16", "/20"))
        made.prepare()
        yield made
        made.fleet.close()


@pytest.fixture
def handsets() -> Iterator[World]:
    """A world whose data directory is short enough for sockets."""
    from opencph.store.migrate import migrate

    directory = Path(tempfile.mkdtemp(prefix="ocph-", dir="/tmp"))
    url = f"sqlite:///{directory}/opencph.db"
    migrate(url)
    try:
        with own_network() as network:
            world = World(directory, url, network.replace("/16", "/20"))
            world.prepare()
            try:
                yield world
            finally:
                world.fleet.close()
    finally:
        shutil.rmtree(directory)


@asynccontextmanager
async def light_phones(world: World, runtime: BuiltinRuntime | None = None) -> AsyncIterator[BuiltinRuntime]:
    """A jobs engine whose phones are real light ones; they end with the block."""
    runtime = runtime or BuiltinRuntime(world.settings.data, boots_at_once=200)
    try:
        async with world.working(runtime):
            yield runtime
    finally:
        await runtime.shutdown()


async def file_of(ip: str, path: str) -> bytes | None:
    """The contents of a file in a phone; None when there is none."""
    async with await connect(ip) as phone:
        try:
            return await phone.pull(path)
        except AdbError:
            return None
