"""`kill -9` of hosts and of everything: servers serve again, in bounded time, with their data. Every step is in `test_matrix`."""

from __future__ import annotations

from contextlib import suppress

import psutil
import pytest

from crash.installation import Installation


def test_a_killed_host_is_back_within_ten_seconds_with_its_data(installation: Installation, server_id: str) -> None:
    world = installation.world
    installation.start_worker()
    phone = world.phones(server_id)[0]
    installation.push(phone.ip, b"kept", "/data/local/tmp/kept")
    installation.kill_host(world.server(server_id).generation_id)
    installation.eventually_serves(server_id, seconds=10)
    assert installation.pull(phone.ip, "/data/local/tmp/kept") == b"kept"
    assert world.server(server_id).status == 5
    installation.ended()
    installation.nothing_leaks()


def test_everything_killed_at_once_comes_back_with_its_data(installation: Installation, server_id: str) -> None:
    """As after a power cut: worker, zygote and hosts are gone, the disk is not."""
    world = installation.world
    installation.start_worker()
    phone = world.phones(server_id)[0]
    installation.push(phone.ip, b"kept", "/data/local/tmp/kept")
    installation.kill_workers()
    for process in installation.processes():
        with suppress(psutil.Error):
            process.kill()
    installation.start_worker()
    installation.eventually_serves(server_id, seconds=15)
    assert installation.pull(phone.ip, "/data/local/tmp/kept") == b"kept"
    installation.ended()
    installation.nothing_leaks()


@pytest.mark.parametrize("which", ["old", "new"])
def test_a_change_goes_through_when_a_host_is_killed_on_the_way(installation: Installation, server_id: str, which: str) -> None:
    world = installation.world
    old = world.server(server_id).generation_id
    job_id = world.change(server_id)
    installation.die_at("change_server:boot:recorded")
    (new,) = set(world.generation_states()) - {old}
    installation.kill_host(old if which == "old" else new)
    installation.start_worker()
    installation.ended()
    assert world.job(job_id).status == 2, world.job(job_id)
    assert world.server(server_id).generation_id == new
    installation.serves(server_id)
    installation.nothing_leaks()
