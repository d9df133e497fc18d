"""`kill -9` of workers at every step of every kind of job, and of hosts: the work ends, the server serves, nothing leaks.

By default a sample runs, the swap always; `CRASH_SEED=full` runs every point, `CRASH_SEED=<seed>` the sample of that seed.
The seed of a run stands in the name of its first test.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable
from contextlib import closing, suppress
from typing import cast

import psutil
import pytest

from crash.installation import Installation
from opencph.fleet import Fleet
from opencph.jobs import JobKind
from opencph.jobs.failpoints import points, undo_points
from opencph.runtimes import ADB_PORT, Runtime
from opencph.wire.phones import PhoneJobsResponse
from opencph.worker import kinds

CHOICE = os.environ.get("CRASH_SEED", "")
SEED = CHOICE if CHOICE and CHOICE != "full" else str(random.randrange(10_000))
ALWAYS = ("change_server:swap:before", "change_server:swap:after", "change_server:swap:recorded")
PER_KIND = 2
ALL_KINDS: dict[str, JobKind] = kinds(cast(Fleet, None), cast(Runtime, None))  # to be listed, not to be run


def chosen(found: list[str]) -> list[str]:
    """All points, or this seed's sample of them."""
    if CHOICE == "full":
        return found
    sample = random.Random(f"{SEED} {found[0]}").sample(found, min(PER_KIND, len(found)))
    return [point for point in found if point in sample or point in ALWAYS]


def of(*names: str) -> list[str]:
    return [point for name in names for point in chosen(points([ALL_KINDS[name]]))]


def test_every_kind_of_job_is_among_the_points() -> None:
    print(f"CRASH_SEED={SEED}")
    from crash import test_actions, test_data_jobs

    tested = {"create_server", "change_server", "delete_server", "restart_phone", "reset_phone", "stop_phone", "recover_server"}
    assert tested.union(test_actions.KINDS, test_data_jobs.KINDS) == set(ALL_KINDS)


@pytest.mark.parametrize("point", of("change_server"), ids=lambda point: f"{point}-seed{SEED}")
def test_a_change_goes_through_wherever_its_worker_is_killed(installation: Installation, server_id: str, point: str) -> None:
    world = installation.world
    before, old, counts = world.server(server_id), world.phones(server_id), world.counts()
    job_id = world.change(server_id)
    installation.die_at(point)
    installation.phones_answer(server_id)  # whichever generation it is, it is whole and serves
    installation.start_worker()
    installation.ended()
    assert world.job(job_id).status == 2, installation.words()
    installation.serves(server_id)
    assert world.server(server_id).name == before.name
    assert {phone.phone_id for phone in world.phones(server_id)}.isdisjoint(phone.phone_id for phone in old)
    assert world.counts() == counts
    installation.nothing_leaks()


@pytest.mark.parametrize("point", chosen(undo_points([ALL_KINDS["change_server"]])))
def test_a_change_that_fails_is_undone_wherever_its_worker_is_killed(
    installation: Installation, server_id: str, point: str
) -> None:
    world = installation.world
    server, phones, counts = world.server(server_id), world.phones(server_id), world.counts()
    job_id = world.change(server_id)
    taken = installation.new_phone_ips(server_id)[1]
    with closing(socket.create_server((taken, ADB_PORT))):
        installation.die_at(point)
        installation.phones_answer(server_id)
        installation.start_worker()
        installation.ended()
    job = world.job(job_id)
    assert (job.status, job.error_code) == (-1, "CPS.0092")
    assert taken in (job.error_msg or "")
    installation.serves(server_id)
    assert (world.server(server_id), world.phones(server_id), world.counts()) == (server, phones, counts)
    installation.nothing_leaks()


@pytest.mark.parametrize("point", of("create_server"))
def test_a_purchase_goes_through_wherever_its_worker_is_killed(installation: Installation, point: str) -> None:
    world = installation.world
    counts = world.counts()
    (bought,) = world.buy()
    installation.die_at(point)
    assert world.server(bought).status in (1, 5)
    installation.start_worker()
    installation.ended()
    installation.serves(bought)
    installation.nothing_leaks()
    world.delete(bought)
    installation.ended()
    assert world.counts() == counts
    installation.nothing_leaks()


@pytest.mark.parametrize("point", chosen(undo_points([ALL_KINDS["create_server"]])))
def test_a_purchase_that_fails_leaves_nothing_wherever_its_worker_is_killed(installation: Installation, point: str) -> None:
    world = installation.world
    counts, running = world.counts(), set(installation.inventory())
    (bought,) = world.buy()
    with closing(socket.create_server((world.phones(bought)[2].ip, ADB_PORT))):
        installation.die_at(point)
        installation.start_worker()
        installation.ended()
    assert world.server(bought).status == 2
    assert set(installation.inventory()) == running
    world.delete(bought)
    installation.ended()
    assert world.counts() == counts
    installation.nothing_leaks()


@pytest.mark.parametrize("point", of("delete_server"))
def test_a_deletion_goes_through_wherever_its_worker_is_killed(installation: Installation, point: str) -> None:
    world = installation.world
    counts = world.counts()
    installation.start_worker()
    bought = world.buy(2)
    installation.ended()
    installation.stop_workers()
    job_id = world.delete(*bought)
    installation.die_at(point)
    installation.start_worker()
    installation.ended()
    assert world.job(job_id).status == 2
    assert not any(world.exists(one) for one in bought)
    assert world.counts() == counts
    installation.nothing_leaks()


@pytest.mark.parametrize("point", of("restart_phone", "reset_phone", "stop_phone"))
def test_phones_come_to_their_state_wherever_the_worker_is_killed(installation: Installation, server_id: str, point: str) -> None:
    world = installation.world
    phones = world.phones(server_id)
    calls: dict[str, Callable[..., PhoneJobsResponse]] = {"restart": world.restart, "reset": world.reset, "stop": world.stop}
    kind = point.split("_")[0]
    done = 8 if kind == "stop" else 2
    answer = calls[kind](*[phone.phone_id for phone in phones])
    installation.die_at(point)
    installation.start_worker()
    installation.ended()
    assert [world.job(item.job_id or "").status for item in answer.jobs] == [2] * len(phones)
    assert [phone.status for phone in world.phones(server_id)] == [done] * len(phones)
    if done == 8:
        world.restart(*[phone.phone_id for phone in phones])
        installation.ended()
    installation.serves(server_id)
    installation.nothing_leaks()


@pytest.mark.parametrize("point", of("recover_server"))
def test_phones_of_a_killed_host_come_back_wherever_the_worker_is_killed(
    installation: Installation, server_id: str, point: str
) -> None:
    installation.kill_host(installation.world.server(server_id).generation_id)
    installation.die_at(point)
    installation.start_worker()
    installation.eventually_serves(server_id)
    installation.ended()
    installation.nothing_leaks()


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
