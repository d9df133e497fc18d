"""Shared file systems: what one phone writes every phone of every attached server reads, at once, and no longer when detached."""

from __future__ import annotations

import asyncio
from pathlib import Path

from jobs_fleet.conftest import file_of, light_phones
from jobs_fleet.memory_runtime import MemoryRuntime
from jobs_fleet.small_world import World
from opencph.adb.client import connect
from opencph.fleet.ids import new_id
from opencph.fleet.share_filesystems import attach_share_filesystem, detach_share_filesystem
from opencph.handset.config import PhoneConfig
from opencph.wire.server_actions import ServerJobsResponse
from opencph.wire.share_filesystems import AttachShareFilesystemRequest, DetachShareFilesystemRequest

UNKNOWN = "0" * 32
PLACE = "/mnt/sfs_turbo/team-1"


def attach(world: World, *server_ids: str, path: str = "/") -> ServerJobsResponse:
    body = AttachShareFilesystemRequest(type="sfs_turbo", id="team-1", server_ids=server_ids, path=path)
    return attach_share_filesystem(world.fleet, world.caller, new_id(), body)


def detach(world: World, *server_ids: str) -> ServerJobsResponse:
    body = DetachShareFilesystemRequest(type="sfs_turbo", id="team-1", server_ids=server_ids)
    return detach_share_filesystem(world.fleet, world.caller, new_id(), body)


async def done(world: World, answer: ServerJobsResponse) -> None:
    for item in answer.jobs:
        job = await world.ended(item.job_id or "")
        assert (job.status, job.error_msg) == (2, None)


def test_phones_are_told_and_items_have_their_own_codes(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            assert detach(world, server_id).jobs[0].error_code == "CPS.0086"
            answer = attach(world, UNKNOWN, "x", server_id, path="/a/b")
            assert [item.error_code for item in answer.jobs] == ["CPS.0015", "CPS.0097", None]
            assert (await world.ended(answer.jobs[2].job_id or "")).status == 2
            generation = runtime.generations[world.server(server_id).generation_id]
            shares = [phone.spec.shares for phone in generation.phones.values()]
            directory = world.settings.data.resolve() / "share-filesystems" / world.caller.project_id / "team-1/a/b"
            assert shares == [{"team-1": str(directory)}] * 3 and directory.is_dir()
            await done(world, detach(world, server_id))
            assert [phone.spec.shares for phone in generation.phones.values()] == [{}] * 3
            await done(world, attach(world, server_id))
            await world.ended(world.delete(server_id))
        await runtime.close()

    asyncio.run(main())


async def shell(ip: str, command: str) -> tuple[int, bytes]:
    async with await connect(ip) as phone:
        result = await phone.shell(command)
        return result.code, result.stdout


def test_no_link_in_a_share_leads_a_phone_elsewhere(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            top = world.settings.data.resolve() / "share-filesystems" / world.caller.project_id / "team-1"
            await done(world, attach(world, server_id))
            (top / "trap").symlink_to("/etc")
            job = await world.ended(attach(world, server_id, path="/trap/x").jobs[0].job_id or "")
            assert job.status == -1 and not Path("/etc/x").exists()
            config = PhoneConfig(phone_id="p", name="p", ip="127.0.0.1", directory=top, shares={"a": str(top), "b": f"{top}/trap"})
            assert config.real_shares() == {"a": str(top)}
        await runtime.close()

    asyncio.run(main())


def test_what_one_phone_writes_all_phones_of_attached_servers_read(handsets: World) -> None:
    world = handsets

    async def main() -> None:
        async with light_phones(world):
            first, second = await world.bought(count=2)
            one, two = world.phones(first)[0].ip, world.phones(second)[0].ip
            assert (await shell(one, f"ls {PLACE}"))[0] != 0  # and a sandbox without it is there
            await done(world, attach(world, first, second))
            assert await shell(one, f"echo hello > {PLACE}/file && cat {PLACE}/file") == (0, b"hello\n")
            assert await shell(two, f"cat {PLACE}/file") == (0, b"hello\n")
            assert await file_of(two, f"{PLACE}/file") == b"hello\n"
            async with await connect(two) as phone:
                await phone.push(b"pushed", f"{PLACE}/pushed")
            assert await shell(one, f"cat {PLACE}/pushed") == (0, b"pushed")
            await done(world, detach(world, second))
            assert await file_of(two, f"{PLACE}/file") is None and (await shell(two, f"cat {PLACE}/file"))[0] != 0
            assert await file_of(one, f"{PLACE}/file") == b"hello\n"

    asyncio.run(main())
