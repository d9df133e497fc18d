"""What a server shares is in its phones: in those that a change makes too, before they take over."""

from __future__ import annotations

import asyncio
import io
import tarfile

import pytest

from apk_maker import apk
from jobs_fleet.conftest import file_of, light_phones
from jobs_fleet.small_world import World
from opencph.adb.client import connect
from opencph.fleet import shared_storage
from opencph.fleet.ids import new_id
from opencph.fleet.job_views import show_job
from opencph.fleet.shares import delete_share_files, list_share_files, push_share_apps, push_share_files
from opencph.objects import buckets, open_store, spooled
from opencph.wire.object_names import ObjectName
from opencph.wire.server_actions import ServerJobsResponse
from opencph.wire.shares import DeleteShareFilesRequest, ListShareFilesQuery, PushShareAppsRequest, PushShareFilesRequest

PACKAGE, FILE = "com.shared.app", "/data/share_me/a"


def put(world: World, key: str, files: dict[str, bytes]) -> ObjectName:
    store = open_store(world.settings)
    buckets.make(world.database, store, world.caller.domain_id, "files")
    file = spooled(store)
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    store.put("files", key, file)
    return ObjectName("files", key)


async def ended(world: World, answer: ServerJobsResponse) -> list[tuple[int, str | None]]:
    found = []
    for item in answer.jobs:
        job = await world.ended(item.job_id or "")
        found.append((job.status, job.error_msg))
    return found


def push_app(world: World, server_id: str, name: ObjectName) -> ServerJobsResponse:
    body = PushShareAppsRequest(package_name=PACKAGE, pre_install_app=1, object=name, server_ids=(server_id,))
    return push_share_apps(world.fleet, world.caller, new_id(), body)


def push_files(world: World, server_id: str, name: ObjectName) -> ServerJobsResponse:
    return push_share_files(world.fleet, world.caller, new_id(), PushShareFilesRequest(object=name, server_ids=(server_id,)))


def test_the_new_phones_of_a_changed_server_have_what_it_shares_at_once_and_after_a_reset(handsets: World) -> None:
    world = handsets

    async def has_all(ip: str) -> bool:
        async with await connect(ip) as phone:
            listed = (await phone.shell("pm list packages -3")).stdout.decode()
        return f"package:{PACKAGE}" in listed and await file_of(ip, FILE) == b"A"

    async def main() -> None:
        async with light_phones(world):
            (server_id,) = await world.bought()
            app = put(world, f"{PACKAGE}_1.tar", {f"data/app/{PACKAGE}-1/base.apk": apk(PACKAGE)})
            assert await ended(world, push_app(world, server_id, app)) == [(2, None)]
            files = put(world, "share.tar", {FILE[1:]: b"A"})
            assert await ended(world, push_files(world, server_id, files)) == [(2, None)]
            old = [phone.phone_id for phone in world.phones(server_id)]
            job = await world.ended(world.change(server_id))
            assert (job.status, job.error_msg) == (2, None)
            phones = world.phones(server_id)
            assert not {phone.phone_id for phone in phones} & set(old)
            assert [await has_all(phone.ip) for phone in phones] == [True] * len(phones)
            async with await connect(phones[0].ip) as phone:
                await phone.shell(f"pm uninstall {PACKAGE}")
            (item,) = world.reset(phones[0].phone_id).jobs
            assert (await world.ended(item.job_id or "")).error_msg is None
            assert await has_all(phones[0].ip)

    asyncio.run(main())


def test_shared_storage_is_as_large_as_it_says(handsets: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a size of 1 MiB: what does not fit is refused and leaves nothing, what is replaced or deleted gives its room back."""
    world = handsets
    monkeypatch.setattr(shared_storage, "SHARE_BYTES_MAX", 1 << 20)

    async def main() -> None:
        async with light_phones(world):
            (server_id,) = await world.bought()

            async def capacity() -> str:
                query = ListShareFilesQuery(server_ids=(server_id,), path="/data", offset=0, limit=50)
                (item,) = list_share_files(world.fleet, world.caller, new_id(), query).jobs
                await world.ended(item.job_id or "")
                return show_job(world.fleet, world.caller, new_id(), item.job_id or "").execute_msg or ""

            small = put(world, "small.tar", {"data/share_me/small": b"x" * (600 << 10)})
            assert await ended(world, push_files(world, server_id, small)) == [(2, None)]
            full = await capacity()
            assert '"share_base_max_size":"1M"' in full and '"1M 600K 424K 58%' in full, full
            other = put(world, "other.tar", {"data/share_me/other": b"x" * (600 << 10)})
            ((status, message),) = await ended(world, push_files(world, server_id, other))
            assert status == -1 and "the shared storage" in (message or "") and "bytes left" in (message or "")
            assert await capacity() == full
            ip = world.phones(server_id)[0].ip
            assert await file_of(ip, "/data/share_me/other") is None
            assert len(list((world.settings.data / "shared" / server_id).iterdir())) == 1
            assert await ended(world, push_files(world, server_id, small)) == [(2, None)]  # in place of itself
            body = DeleteShareFilesRequest(file_paths=("/data/share_me/small",), server_ids=(server_id,))
            assert await ended(world, delete_share_files(world.fleet, world.caller, new_id(), body)) == [(2, None)]
            assert '"1M 0 1M 0%"' in await capacity()
            assert await ended(world, push_files(world, server_id, other)) == [(2, None)]

    asyncio.run(main())


def test_what_is_no_directory_of_the_shared_storage_cannot_be_listed(handsets: World) -> None:
    world = handsets

    async def main() -> None:
        async with light_phones(world):
            (server_id,) = await world.bought()
            files = put(world, "share.tar", {FILE[1:]: b"A"})
            assert await ended(world, push_files(world, server_id, files)) == [(2, None)]

            async def listed(path: str) -> tuple[int, str | None, str]:
                query = ListShareFilesQuery(server_ids=(server_id,), path=path, offset=0, limit=50)
                (item,) = list_share_files(world.fleet, world.caller, new_id(), query).jobs
                await world.ended(item.job_id or "")
                job = show_job(world.fleet, world.caller, new_id(), item.job_id or "")
                return job.status, job.error_code, f"{job.error_msg or ''}{job.execute_msg or ''}"

            for path in ("/data/nope", "/system", FILE, "/data/share"):
                status, code, words = await listed(path)
                assert (status, code) == (-1, "CPS.0199"), path
                assert f"{path} is no directory of the shared storage" in words
            for path in ("/data", "/data/share_me"):
                status, code, words = await listed(path)
                assert (status, code or "") == (2, "") and '"total":1' in words, (path, words)

    asyncio.run(main())
