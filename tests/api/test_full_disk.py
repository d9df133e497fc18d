"""What callers are told while the database cannot be written or reached, by an api that runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.edge_client import World
from opencph.api.errors import refusal
from opencph.api.health import Readiness
from opencph.store import processes
from opencph.store.database import StoreFullError, StoreUnavailableError
from small_disk import fill, small_file_system


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own, of 8 MiB."""
    with small_file_system("8m") as place:
        yield place


def test_a_call_that_meets_a_full_disk_says_so_and_succeeds_when_there_is_room_again(small_disk: Path) -> None:
    world = World(small_disk / "data", f"sqlite:///{small_disk}/data/opencph.db")
    try:
        body = {"keypair": {"name": "one-more"}}
        path = f"/v3/{world.mine.project_id}/keypairs"
        filler = fill(small_disk)
        for number in range(50):  # the write-ahead log may have some room of its own
            reply = world.call("POST", path, body | {"keypair": {"name": f"pair-{number}"}})
            if reply.status >= 400:
                break
        assert (reply.status, reply.code) == (503, "CPS.0003")
        assert "no space left on its disk" in reply.message
        assert world.call("GET", f"/v1/{world.mine.project_id}/cloud-phone/phones").status == 200
        filler.unlink()
        assert world.call("POST", path, body).status == 200
    finally:
        world.close()


def test_readiness_says_that_the_disk_is_full_while_those_who_live_cannot_say_so(small_disk: Path) -> None:
    world = World(small_disk / "data", f"sqlite:///{small_disk}/data/opencph.db")
    try:
        assert world.call("GET", "/readyz").body["missing"] == ["worker", "gateway"]  # none runs, and writing is no trouble
        filler = fill(small_disk)
        for _ in range(300):  # the write-ahead log may have some room of its own
            try:
                processes.try_writing(world.database)
            except StoreFullError:
                break
        readiness = Readiness(world.database)
        told = asyncio.run(readiness.look())
        assert told.missing == ("database", "worker", "gateway")
        assert "the database cannot be written" in told.reason and "no space left on its disk" in told.reason
        filler.unlink()
        assert asyncio.run(Readiness(world.database).look()).missing == ("worker", "gateway")
    finally:
        world.close()


def test_only_what_is_for_everybody_is_told_of_a_database_that_is_away() -> None:
    away = refusal(StoreUnavailableError("the database cannot be reached: db.internal:5432"), "r", "X", log=False)
    assert away.status == 503 and "db.internal" not in str(away.body)
    assert "no space left on its disk" in str(refusal(StoreFullError(), "r", "X", log=False).body)


def test_the_identity_service_gives_a_503_its_title() -> None:
    told = refusal(StoreUnavailableError("gone"), "r", "KeystoneCreateUserTokenByPassword", identity=True, log=False)
    assert told.status == 503
    assert "title='Service Unavailable'" in str(told.body)
