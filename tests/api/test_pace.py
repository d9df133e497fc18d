"""How fast one user may ask."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.edge_client import World
from opencph.api.pace import BURST_SECONDS, REMEMBERED_MAX, Pace
from opencph.wire.errors import CphError


def allowed(pace: Pace, user: str, now: float, tries: int) -> int:
    """How many of so many requests at one moment are let through."""
    through = 0
    for _ in range(tries):
        try:
            pace.count(user, now)
        except CphError as error:
            assert (error.code, error.status, error.retry_seconds) == ("APIGW.0308", 429, 1)
        else:
            through += 1
    return through


def test_a_user_has_a_burst_then_the_rate_and_takes_nothing_from_another() -> None:
    pace, burst = Pace(100), int(100 * BURST_SECONDS)
    assert allowed(pace, "one", 50.0, 1000) in (burst, burst + 1)
    assert allowed(pace, "one", 50.0, 1000) == 0
    assert 99 <= allowed(pace, "one", 51.0, 1000) <= 101, "a second later a second's worth"
    assert allowed(pace, "other", 51.0, 1000) in (burst, burst + 1)
    assert allowed(pace, "one", 1000.0, 1000) in (burst, burst + 1), "a long rest is worth no more than a burst"


def test_users_without_number_are_not_remembered() -> None:
    pace = Pace(100)
    for number in range(3 * REMEMBERED_MAX):
        pace.count(f"user {number}", now=float(number))
    assert len(pace._empty_until) <= REMEMBERED_MAX


@pytest.fixture
def world() -> Iterator[World]:
    data = Path(tempfile.mkdtemp(prefix="ocph-"))
    made = World(data, f"sqlite:///{data / 'opencph.db'}", requests_per_second=1000)
    made.edge._pace = Pace(1)  # now that everything is made
    yield made
    made.close()
    shutil.rmtree(data)


def test_who_asks_too_fast_is_told_so_by_every_kind_of_call_and_others_are_served(world: World) -> None:
    place = f"/v1/{world.mine.project_id}/cloud-phone/phones"
    assert world.call("GET", place, token=world.mine.token).status == 200
    for method, path in (("GET", place), ("POST", f"{place}/batch-restart"), ("GET", "/v3/projects")):
        replies = [
            world.call(method, path, {"phones": []} if method == "POST" else None, token=world.mine.token) for _ in range(20)
        ]
        held = next(reply for reply in replies if reply.status == 429)  # in the gateway's shape, also before identity
        assert (held.code, held.headers["retry-after"]) == ("APIGW.0308", "1")
        assert "1 requests in a second" in held.message
    other = f"/v1/{world.other.project_id}/cloud-phone/phones"
    assert world.call("GET", other, token=world.other.token).status == 200
    assert world.call("GET", "/healthz").status == 200
