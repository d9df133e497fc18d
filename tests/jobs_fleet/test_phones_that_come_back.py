"""What becomes of jobs for phones whose host is killed: a phone is brought up before they begin with it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import bindparam, update

from jobs_fleet.conftest import file_of, light_phones
from jobs_fleet.small_world import JobRow, World, eventually
from jobs_fleet.test_shared_storage import ended, push_files, put
from opencph.adb import client
from opencph.adb.client import connect
from opencph.fleet import boots, command_jobs, findings, sync_commands
from opencph.fleet.adb_check import answers_adb
from opencph.fleet.commands import run_shell_command
from opencph.fleet.ids import new_id
from opencph.fleet.phone_data import batch_export_cloud_phone_data
from opencph.fleet.reconcile import Reconciler
from opencph.fleet.shares import delete_share_files
from opencph.fleet.statuses import PhoneStatus
from opencph.fleet.sync_commands import run_sync_command
from opencph.handset.control import HOST_LOCK
from opencph.handset.host import lock_holder
from opencph.objects import open_store
from opencph.runtimes.builtin import BuiltinRuntime
from opencph.store import tables
from opencph.store.database import command
from opencph.wire.commands import BatchExportCloudPhoneDataRequest, CommandRequest, StorageInfo
from opencph.wire.object_names import ObjectName
from opencph.wire.shares import DeleteShareFilesRequest

FILE = "/data/local/tmp/once"
_SET_STATUS = command(update(tables.phones).where(tables.phones.c.phone_id == bindparam("of")).values(status=bindparam("to")))


class CountingRuntime(BuiltinRuntime):
    """The runtime, with the phones of every call to boot some."""

    def __init__(self, world: World) -> None:
        super().__init__(world.settings.data, boots_at_once=200)
        self.started: list[list[str]] = []

    async def start(self, generation_id: str, phone_ids: Sequence[str]) -> Mapping[str, str]:
        self.started.append(list(phone_ids))
        return await super().start(generation_id, phone_ids)


@asynccontextmanager
async def bought(world: World, model: str = "test.c3") -> AsyncIterator[tuple[CountingRuntime, str]]:
    """A worker without a reconciler, and a server that is normal."""
    runtime = CountingRuntime(world)
    async with light_phones(world, runtime):
        (server_id,) = await world.bought(model=model)
        runtime.started.clear()
        yield runtime, server_id


async def kill_host(world: World, server_id: str) -> None:
    lock = world.settings.data / "builtin" / world.server(server_id).generation_id / HOST_LOCK
    pid = lock_holder(lock)
    assert pid is not None, "the server has no host"
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: lock_holder(lock) is None, "the host has ended")


def shell(world: World, line: str, phone_ids: Sequence[str]) -> list[str]:
    body = CommandRequest(command="shell", content=line, phone_ids=tuple(phone_ids))
    items = run_shell_command(world.fleet, world.caller, new_id(), body).jobs
    assert all(item.job_id for item in items), items
    return [item.job_id or "" for item in items]


async def all_of(world: World, job_ids: Sequence[str]) -> list[JobRow]:
    return [await world.ended(job_id, 60) for job_id in job_ids]


def outcomes(jobs: Sequence[JobRow]) -> list[tuple[int, str | None]]:
    return [(job.status, job.error_msg) for job in jobs]


def found(world: World) -> list[str]:
    with world.database.read() as tx:
        return [one.what for one in findings.recent(tx)]


def test_a_command_for_phones_whose_host_was_killed_runs_once_in_each(handsets: World) -> None:
    world = handsets

    async def main() -> None:
        async with bought(world) as (runtime, server_id):
            phones = world.phones(server_id)
            await kill_host(world, server_id)
            jobs = await all_of(world, shell(world, f"echo once >>{FILE}", [phone.phone_id for phone in phones]))
            assert outcomes(jobs) == [(2, None)] * 3
            assert [await file_of(phone.ip, FILE) for phone in phones] == [b"once\n"] * 3
            assert [sorted(some) for some in runtime.started] == [sorted(phone.phone_id for phone in phones)], "brought up at once"
            assert found(world) == ["phones_down"], "it was found, and told"
            assert {phone.status for phone in world.phones(server_id)} == {2}
            async with await connect(phones[0].ip) as phone:
                assert (await phone.shell("ls /data/local/tmp/.cph")).code != 0, "marks are left"

    asyncio.run(main())


def test_the_phones_that_nobody_asked_for_come_up_too_and_one_that_was_stopped_stays_off(handsets: World) -> None:
    world = handsets

    async def main() -> None:
        async with bought(world) as (runtime, server_id):
            first, second, third = world.phones(server_id)
            (item,) = world.stop(third.phone_id).jobs
            assert (await world.ended(item.job_id or "")).status == 2
            await kill_host(world, server_id)
            assert outcomes(await all_of(world, shell(world, "id", [first.phone_id]))) == [(2, None)]
            assert await answers_adb(second.ip, 5) is None
            assert await answers_adb(third.ip, 0.5) is not None
            assert world.phones(server_id)[2].status == PhoneStatus.STOPPED
            assert all(third.phone_id not in some for some in runtime.started)

    asyncio.run(main())


@pytest.mark.parametrize("status", [PhoneStatus.STOPPED, PhoneStatus.STOPPING, PhoneStatus.FROZEN, PhoneStatus.STOP_FAILED])
def test_a_phone_that_was_stopped_after_its_command_was_accepted_is_not_booted(handsets: World, status: int) -> None:
    world = handsets

    async def main() -> None:
        runtime = CountingRuntime(world)
        try:
            async with world.working(runtime):
                (server_id,) = await world.bought()
            phone = world.phones(server_id)[0]
            job_ids = shell(world, "id", [phone.phone_id])
            world.execute(_SET_STATUS, of=phone.phone_id, to=status)
            await kill_host(world, server_id)
            runtime.started.clear()
            async with world.working(runtime):
                (job,) = await all_of(world, job_ids)
            assert (job.status, job.error_code) == (-1, "CPS.0141")
            assert "batch-restart" in (job.error_msg or "") and phone.phone_id in (job.error_msg or "")
            assert runtime.started == []
        finally:
            await runtime.shutdown()

    asyncio.run(main())


def test_a_phone_that_the_reconciler_called_abnormal_gets_its_command_and_reads_running_again(handsets: World) -> None:
    world = handsets

    async def main() -> None:
        async with bought(world) as (runtime, server_id):
            phone = world.phones(server_id)[0]
            await kill_host(world, server_id)
            job_ids = shell(world, f"echo once >>{FILE}", [phone.phone_id])
            world.execute(_SET_STATUS, of=phone.phone_id, to=PhoneStatus.ABNORMAL)
            assert outcomes(await all_of(world, job_ids)) == [(2, None)]
            await Reconciler(world.fleet, runtime).reconcile()
            assert {one.status for one in world.phones(server_id)} == {2}

    asyncio.run(main())


def test_a_command_that_was_begun_and_lost_its_host_fails_and_is_not_begun_again(handsets: World) -> None:
    world = handsets

    async def main() -> None:
        async with bought(world) as (_, server_id):
            phone = world.phones(server_id)[0]
            job_ids = shell(world, f"echo once >>{FILE}; sleep 50", [phone.phone_id])
            disk = world.settings.data / "builtin" / world.server(server_id).generation_id / "phones" / phone.phone_id
            begun = disk / FILE.lstrip("/")
            await eventually(lambda: begun.exists() and begun.read_bytes() == b"once\n", "the command has begun")
            await kill_host(world, server_id)
            (job,) = await all_of(world, job_ids)
            assert (job.status, job.error_code) == (-1, "CPS.0191")
            assert outcomes(await all_of(world, shell(world, "id", [phone.phone_id]))) == [(2, None)]
            assert await file_of(phone.ip, FILE) == b"once\n"
            async with await connect(phone.ip) as connection:
                assert (await connection.shell("ls /data/local/tmp/.cph")).code != 0, "the marks of the one that failed are left"

    asyncio.run(main())


def test_jobs_of_phones_whose_host_is_frozen_end_in_time_and_say_so(handsets: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = handsets
    monkeypatch.setattr(boots, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(client, "QUIET_SECONDS", 0.5)

    async def main() -> None:
        async with bought(world) as (runtime, server_id):
            phone = world.phones(server_id)[0]
            home = world.settings.data / "builtin" / world.server(server_id).generation_id
            files = put(world, "share.tar", {"data/share_me/a": b"A"})
            begun = shell(world, f"echo once >>{FILE}; sleep 50", [phone.phone_id])
            await eventually((home / "phones" / phone.phone_id / FILE.lstrip("/")).exists, "the command has begun")
            host = lock_holder(home / HOST_LOCK)
            assert host is not None
            os.kill(host, signal.SIGSTOP)
            (job,) = await all_of(world, begun)
            assert (job.status, job.error_code) == (-1, "CPS.0191") and "says nothing any more" in (job.error_msg or "")
            (job,) = await all_of(world, shell(world, "id", [phone.phone_id]))
            assert (job.status, job.error_code) == (-1, "CPS.0141") and "no ADB answer" in (job.error_msg or "")
            ((status, message),) = await ended(world, push_files(world, server_id, files))
            assert status == -1 and "3 of 3 phones failed" in (message or "")
            assert runtime.started == [], "that is the reconciler's: who does not answer may be at work"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("seq 1 5 && sleep 50", "12345"),
        ("seq 1 5 | cat; seq 1 5 >&2; sleep 50", "1234512345"),
        ("cat /data/local/tmp/said /data/local/tmp/fifo", "12345"),  # only reads: leaves no mark
        ("head -c 5000 /dev/zero; sleep 50", "\ufffd" * (1024 // 3)),
    ],
)
def test_a_command_whose_time_is_up_fails_with_what_it_printed_until_then(
    handsets: World, monkeypatch: pytest.MonkeyPatch, line: str, printed: str
) -> None:
    world = handsets
    monkeypatch.setattr(command_jobs, "SHELL_SECONDS", 6.0)
    monkeypatch.setattr(sync_commands, "PHONE_SECONDS", 6.0)

    async def main() -> None:
        async with bought(world) as (_, server_id):
            phones = [phone.phone_id for phone in world.phones(server_id)]
            before = "seq 1 5 >/data/local/tmp/said; mkfifo /data/local/tmp/fifo"  # their sandboxes are there then
            assert outcomes(await all_of(world, shell(world, before, phones))) == [(2, None)] * 3
            job_ids = shell(world, line, phones)
            body = CommandRequest(command="shell", content=line, phone_ids=tuple(phones))
            answer = await asyncio.to_thread(run_sync_command, world.fleet, world.caller, new_id(), body)
            ends = [(job.status, job.error_code, job.execute_msg) for job in answer.jobs]
            ends += [(job.status, job.error_code, job.execute_msg) for job in await all_of(world, job_ids)]
            for status, code, message in ends:
                assert (status, code, (message or "").replace("\n", "")) == (-1, "CPS.0054", printed), ends
            async with await connect(world.phones(server_id)[0].ip) as phone:
                assert (await phone.shell("ls /data/local/tmp/.cph")).code != 0, "marks are left"

    asyncio.run(main())


def test_sixty_phones_of_one_killed_host_come_up_in_one_go(handsets: World) -> None:
    world = handsets

    async def main() -> None:
        async with bought(world, model="test.c60") as (runtime, server_id):
            phones = world.phones(server_id)
            await kill_host(world, server_id)
            jobs = await all_of(world, shell(world, f"echo once >>{FILE}", [phone.phone_id for phone in phones]))
            assert outcomes(jobs) == [(2, None)] * 60
            assert [len(some) for some in runtime.started] == [60]

    asyncio.run(main())


def test_phones_that_cannot_come_up_fail_their_jobs_with_the_cause_and_are_tried_once(handsets: World) -> None:
    world = handsets

    async def main() -> None:
        async with bought(world) as (runtime, server_id):
            phones = world.phones(server_id)
            home = world.settings.data / "builtin" / world.server(server_id).generation_id
            await kill_host(world, server_id)
            home.rename(world.settings.data / "aside")
            jobs = await all_of(world, shell(world, "id", [phone.phone_id for phone in phones]))
            assert {job.error_code for job in jobs} == {"CPS.0141"}
            for job, phone in zip(jobs, phones, strict=True):
                message = job.error_msg or ""
                assert phone.phone_id in message and "does not exist in this runtime" in message and "batch-restart" in message
            assert len(runtime.started) == 1

    asyncio.run(main())


def test_a_phone_that_takes_too_long_to_come_up_fails_its_job_in_time(handsets: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = handsets
    monkeypatch.setattr(boots, "BRING_UP_SECONDS", 0.5)

    async def main() -> None:
        async with bought(world) as (runtime, server_id):
            phones = world.phones(server_id)

            async def never(generation_id: str, phone_ids: Sequence[str]) -> Mapping[str, str]:
                runtime.started.append(list(phone_ids))
                await asyncio.Event().wait()
                return {}

            monkeypatch.setattr(runtime, "start", never)
            await kill_host(world, server_id)
            jobs = await all_of(world, shell(world, "id", [phone.phone_id for phone in phones]))
            assert {job.error_code for job in jobs} == {"CPS.0141"}
            assert all("was not up within" in (job.error_msg or "") for job in jobs)
            assert len(runtime.started) == 1, "the others of its server got the same answer"

    asyncio.run(main())


def test_exports_and_shared_files_survive_the_death_of_the_host_before_they_begin(handsets: World) -> None:
    world = handsets

    async def main() -> None:
        async with bought(world) as (_, server_id):
            phones = world.phones(server_id)
            files = put(world, "share.tar", {"data/share_me/a": b"A"})
            await kill_host(world, server_id)
            assert await ended(world, push_files(world, server_id, files)) == [(2, None)]
            assert [await file_of(phone.ip, "/data/share_me/a") for phone in phones] == [b"A"] * 3

            await kill_host(world, server_id)
            info = StorageInfo(
                phone_id=phones[1].phone_id,
                include_files=("/data/share_me",),
                exclude_files=(),
                object=ObjectName("files", "out.tar"),
            )
            body = BatchExportCloudPhoneDataRequest(storage_infos=(info,))
            (item,) = batch_export_cloud_phone_data(world.fleet, world.caller, new_id(), body).jobs
            assert outcomes(await all_of(world, [item.job_id or ""])) == [(2, None)]
            assert open_store(world.settings).head("files", "out.tar").size > 0

            await kill_host(world, server_id)
            gone = DeleteShareFilesRequest(file_paths=("/data/share_me/a",), server_ids=(server_id,))
            assert await ended(world, delete_share_files(world.fleet, world.caller, new_id(), gone)) == [(2, None)]
            assert [await file_of(phone.ip, "/data/share_me/a") for phone in phones] == [None] * 3

    asyncio.run(main())


def test_a_synchronous_command_waits_for_the_reconciler_to_bring_its_phones_back(handsets: World) -> None:
    world = handsets

    async def main() -> None:
        async with bought(world) as (runtime, server_id):
            phones = world.phones(server_id)
            await kill_host(world, server_id)
            body = CommandRequest(command="shell", content="echo here", phone_ids=tuple(phone.phone_id for phone in phones))
            call = asyncio.create_task(asyncio.to_thread(run_sync_command, world.fleet, world.caller, new_id(), body))
            await Reconciler(world.fleet, runtime).reconcile()
            answer = await asyncio.wait_for(call, 40)
            assert [(job.status, job.execute_msg) for job in answer.jobs] == [(2, "here\n")] * 3, answer

    asyncio.run(main())


def test_a_synchronous_command_says_of_phones_that_stay_away_that_they_do_not_answer(
    handsets: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = handsets
    monkeypatch.setattr(sync_commands, "COME_BACK_SECONDS", 0.5)

    async def main() -> None:
        async with bought(world, model="test.c60") as (_, server_id):
            body = CommandRequest(command="shell", content="id", server_ids=(server_id,))
            await kill_host(world, server_id)
            answer = await asyncio.to_thread(run_sync_command, world.fleet, world.caller, new_id(), body)
            assert [job.error_code for job in answer.jobs] == ["CPS.0141"] * 60
            assert all(f"{job.phone_id} does not answer" in (job.error_msg or "") for job in answer.jobs), answer

    asyncio.run(main())
