"""Custom images: made from an archive or a running phone, laid down when phones are made or reset, shared between projects."""

from __future__ import annotations

import asyncio
import io
import tarfile
from pathlib import Path

import msgspec
import pytest

from jobs_fleet.conftest import file_of, light_phones
from jobs_fleet.small_world import IMAGE, World
from opencph.adb.client import connect
from opencph.fleet import images
from opencph.fleet.ids import new_id
from opencph.fleet.image_making import ImageMakingError, capture_image, import_image
from opencph.iam import Caller
from opencph.wire.custom_images import (
    AddImageMemberRequest,
    ListImageMembersQuery,
    ListImagesQuery,
    UpdateImageMemberRequest,
)
from opencph.wire.errors import CphError
from opencph.wire.images import ListCloudPhoneImagesQuery

FILE = "/data/local/tmp/golden"


def archive(directory: Path, name: str = FILE, content: bytes = b"gold") -> Path:
    path = directory / "image.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo(name.lstrip("/"))
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return path


def made(world: World, directory: Path, name: str = "golden") -> str:
    return import_image(world.fleet, archive(directory), name=name, base_image_id=IMAGE, project=world.caller.project_id)


def other(world: World) -> Caller:
    return msgspec.structs.replace(world.caller, project_id="other")


def code(call: object, *arguments: object) -> str:
    with pytest.raises(CphError) as error:
        call(*arguments)  # type: ignore[operator]
    return error.value.code


def test_an_imported_image_is_listed_and_only_its_project_sees_it(world: World, tmp_path: Path) -> None:
    image_id = made(world, tmp_path)
    listed = images.list_images(world.fleet, world.caller, new_id(), ListImagesQuery(image_type="private"))
    (info,) = listed.image_infos
    assert (info.image_id, info.image_name, info.status, info.image_version) == (image_id, "golden", 1, "AOSP 7.1")
    assert info.image_size > 0 and info.project_id == world.caller.project_id and listed.total == 1
    query = ListCloudPhoneImagesQuery(image_type="private")
    (usable,) = images.list_cloud_phone_images(world.fleet, world.caller, new_id(), query).phone_images
    assert (usable.image_id, usable.is_public, usable.receive_status) == (image_id, 2, None)
    assert images.list_images(world.fleet, other(world), new_id(), ListImagesQuery()).total == 0
    assert code(images.delete_image, world.fleet, other(world), new_id(), image_id) == "CPS.0166"
    images.delete_image(world.fleet, world.caller, new_id(), image_id)
    assert images.list_images(world.fleet, world.caller, new_id(), ListImagesQuery()).total == 0
    assert not images.archive(world.fleet, image_id).exists()


def test_a_shared_image_can_be_used_once_it_is_accepted(world: World, tmp_path: Path) -> None:
    image_id, fleet, there = made(world, tmp_path), world.fleet, other(world)

    def usable() -> bool:
        with world.database.read() as tx:
            try:
                images.check_usable(tx, fleet, there.project_id, image_id, {"test.c3"})
            except CphError as error:
                assert error.code == "CPS.0166"
                return False
            return True

    def answer(status: str) -> None:
        images.update_image_member(fleet, there, new_id(), image_id, UpdateImageMemberRequest(status=status))

    def receive_status() -> list[int | None]:
        query = ListCloudPhoneImagesQuery(image_type="share")
        return [one.receive_status for one in images.list_cloud_phone_images(fleet, there, new_id(), query).phone_images]

    assert code(answer, "accepted") == "CPS.0166"
    images.add_image_member(fleet, world.caller, new_id(), image_id, AddImageMemberRequest(member="other"))
    assert not usable() and receive_status() == [0]
    answer("accepted")
    assert usable() and receive_status() == [1]
    (info,) = images.list_images(fleet, there, new_id(), ListImagesQuery(image_type="share")).image_infos
    assert (info.src_project_id, info.project_id) == (world.caller.project_id, None)
    shared_by = ListImagesQuery(src_project_id=world.caller.project_id)
    assert images.list_images(fleet, there, new_id(), shared_by).total == 1
    assert images.list_images(fleet, there, new_id(), ListImagesQuery(src_project_id="other")).total == 0
    assert code(images.list_images, fleet, there, new_id(), ListImagesQuery(src_project_id="zz")) == "CPS.0046"
    answer("rejected")
    assert not usable() and receive_status() == []
    members = images.list_image_members(fleet, world.caller, new_id(), image_id, ListImageMembersQuery()).members
    assert [(one.member_id, one.image_id) for one in members] == [("other", image_id)]
    for nobody in ("nobody", world.caller.project_id):
        request = AddImageMemberRequest(member=nobody)
        assert code(images.add_image_member, fleet, world.caller, new_id(), image_id, request) == "CPS.0046"
    after_it = ListImageMembersQuery(marker="other")
    assert images.list_image_members(fleet, world.caller, new_id(), image_id, after_it).members == []
    for marker in ("zz", world.caller.project_id):
        query = ListImageMembersQuery(marker=marker)
        assert code(images.list_image_members, fleet, world.caller, new_id(), image_id, query) == "CPS.0002"
    images.delete_image_member(fleet, world.caller, new_id(), image_id, "other")
    assert code(images.delete_image_member, fleet, world.caller, new_id(), image_id, "other") == "CPS.0046"


@pytest.mark.parametrize("name", ["/etc/passwd", "../data/x", "system/x"])
def test_an_archive_that_leads_elsewhere_makes_no_image(world: World, tmp_path: Path, name: str) -> None:
    path = archive(tmp_path, name)
    with pytest.raises(ImageMakingError):
        import_image(world.fleet, path, name="bad", base_image_id=IMAGE, project=world.caller.project_id)
    assert images.list_images(world.fleet, world.caller, new_id(), ListImagesQuery()).total == 0


def test_names_bases_and_projects_that_are_not_there_make_no_image(world: World, tmp_path: Path) -> None:
    path, project = archive(tmp_path), world.caller.project_id
    for name, base, where in (
        ("", IMAGE, project),
        ("x" * 129, IMAGE, project),
        ("x", "nothing", project),
        ("x", IMAGE, "nowhere"),
    ):
        with pytest.raises(ImageMakingError):
            import_image(world.fleet, path, name=name, base_image_id=base, project=where)


def test_phones_have_the_files_of_their_image_and_a_phone_makes_one(handsets: World, tmp_path: Path) -> None:
    world = handsets

    async def main() -> None:
        async with light_phones(world):
            (server_id,) = await world.bought()
            image_id = await asyncio.to_thread(made, world, tmp_path)
            one, two, _ = world.phones(server_id)
            (item,) = world.reset(one.phone_id, image_id=image_id).jobs
            assert (await world.ended(item.job_id or "")).status == 2
            assert (await file_of(one.ip, FILE), await file_of(two.ip, FILE)) == (b"gold", None)
            async with await connect(one.ip) as phone:
                assert (await phone.shell("getprop ro.build.version.release")).stdout.startswith(b"7")
                await phone.push(b"more", FILE)
            captured = await asyncio.to_thread(lambda: capture_image(world.fleet, one.phone_id, name="captured"))
            (item,) = world.reset(two.phone_id, image_id=captured).jobs
            assert (await world.ended(item.job_id or "")).error_msg is None
            assert await file_of(two.ip, FILE) == b"more"
            assert world.phones(server_id)[1].image_id == captured

    asyncio.run(main())
