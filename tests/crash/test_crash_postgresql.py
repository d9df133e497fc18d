"""The change, killed at its turning points, with the database in PostgreSQL. All points run on SQLite, in `test_crash`."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from crash.installation import Installation
from opencph.runtimes import ADB_PORT

DATABASE = "postgresql"


@pytest.mark.parametrize("point", ["verify:recorded", "swap:after", "swap:recorded", "retire:after"])
def test_a_change_goes_through_wherever_its_worker_is_killed(installation: Installation, server_id: str, point: str) -> None:
    world = installation.world
    old, counts = world.server(server_id).generation_id, world.counts()
    job_id = world.change(server_id)
    installation.die_at(f"change_server:{point}")
    installation.phones_answer(server_id)
    installation.start_worker()
    installation.ended()
    assert world.job(job_id).status == 2, installation.words()
    assert world.server(server_id).generation_id != old
    installation.serves(server_id)
    assert world.counts() == counts
    installation.nothing_leaks()


def test_a_change_that_fails_is_undone_though_its_worker_is_killed(installation: Installation, server_id: str) -> None:
    world = installation.world
    server, counts = world.server(server_id), world.counts()
    job_id = world.change(server_id)
    with closing(socket.create_server((installation.new_phone_ips(server_id)[0], ADB_PORT))):
        installation.die_at("change_server:build:undo_after")
        installation.start_worker()
        installation.ended()
    assert world.job(job_id).error_code == "CPS.0092"
    installation.serves(server_id)
    assert (world.server(server_id), world.counts()) == (server, counts)
    installation.nothing_leaks()
