"""A backup of an installation that is worked with, restored into either database: same answers, same data, and it goes on."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import re
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkcph import v1 as sdk

from backup.running import Installations, get, settled, token_of
from bench.soak.actors import KEPT, Commander, Trader, User, World, missing_tools
from bench.soak.invariants import Look
from bench.soak.record import Record
from opencph.adb.client import connect
from opencph.testing import RunningCph, purchase

PATHS = (
    "/cloud-phone/phones?limit=100&server_id={}",
    "/cloud-phone/servers/{}",
    "/cloud-phone/phones?server_id={}&offset=2&limit=3",
)


class Owner(User):
    """The user whose servers are looked at before and after."""

    def push(self, phone_id: str, data: bytes) -> None:
        async def main() -> None:
            async with await connect(self.access(phone_id, "adb").phone_ip) as phone:
                await phone.push(data, KEPT)

        asyncio.run(main())
        self.world.kept[phone_id] = hashlib.sha256(data).hexdigest()


def read(cph: RunningCph, token: str, server_id: str) -> list[Any]:
    answers = [settled(get(cph, token, path.format(server_id))) for path in PATHS]
    return [*answers, *(settled(get(cph, token, f"/cloud-phone/phones/{phone['phone_id']}")) for phone in answers[0]["phones"])]


def an_image() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        member = tarfile.TarInfo("data/of-the-image")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"image"))
    return target.getvalue()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("source", "target"), [("sqlite", "postgresql"), ("postgresql", "sqlite")])
def test_what_is_restored_is_what_was(
    installations: Installations, directory: Path, source: str, target: str, request: pytest.FixtureRequest
) -> None:
    if missing := missing_tools():
        pytest.skip(f"no {missing[0]}: sudo apt-get install adb openssh-client")
    cluster = request.getfixturevalue("postgresql_cluster")
    old_url = cluster.create_database(template="template1") if source == "postgresql" else ""
    new_url = cluster.create_database(template="template1") if target == "postgresql" else ""
    old_options = ["--data", directory / "old", *(["--database", old_url] if old_url else [])]
    new_options = ["--data", directory / "new", *(["--database", new_url] if new_url else [])]

    cph = installations.start("old", old_url)
    world = World(cph, Record(), directory, 120.0)
    owner = Owner(world)
    token = token_of(cph)
    kept, doomed = owner.buy("kept"), owner.buy("doomed")
    for server_id in (kept, doomed):
        owner.push(str(owner.phones(server_id)[0].phone_id), os.urandom(300_000))
    owner.change(kept)
    for phone in owner.phones(kept):
        owner.push(str(phone.phone_id), os.urandom(100_000))
    world.kept = {one: digest for one, digest in world.kept.items() if one in phones_of(owner, kept, doomed)}
    (directory / "object").write_bytes(os.urandom(50_000))
    (directory / "image.tar").write_bytes(an_image())
    installations.opencph("objects", "put", directory / "object", "obs://things/a/b", *old_options)
    image = "24110020241130d006101e2100000e18"
    image_id = installations.opencph(
        "images", "import", directory / "image.tar", "--name", "own", "--base", image, *old_options
    ).stdout.strip()
    before = {server_id: read(cph, token, server_id) for server_id in (kept, doomed)}

    busy = [Trader(world, 1), Trader(world, 2), Commander(world, 3)]
    threads = [threading.Thread(target=actor.run) for actor in busy]
    for thread in threads:
        thread.start()
    world.until("the others are at work", lambda: world.record.done["change"] >= 2 and world.record.done["command"] >= 2, 60.0)
    made = installations.opencph("backup", directory, *old_options)
    (file,) = directory.glob("*.tar.zst")
    assert file.stat().st_mode & 0o777 == 0o600
    assert made.stderr == ""
    deletion = owner.cph.delete_cloud_phone_server(sdk.DeleteCloudPhoneServerRequest(body={"server_ids": [doomed]}))
    owner.finish("delete", deletion.job_id)
    later = owner.buy("later")
    told = installations.opencph("restore", file, "--data", directory / "aside")
    assert "uses the addresses" in told.stderr and "stop that one before you start this one" in told.stderr
    world.over.set()
    for thread in threads:
        thread.join()
    assert not world.record.unexpected, "\n".join(world.record.lines())
    assert list((directory / "old/builtin/.trash").iterdir()) == []
    cph.stop()

    assert installations.opencph("restore", file, "--check").stdout.startswith("whole: ")
    restored = installations.opencph("restore", file, *new_options)
    assert restored.stderr == ""
    assert (directory / "new").stat().st_mode & 0o777 == 0o700
    again = installations.opencph("restore", file, *new_options, status=1)
    assert again.stderr.count("\n") == 1 and "is not empty" in again.stderr

    cph = installations.start("new", new_url)
    world = World(cph, record := Record(), directory, 120.0)
    new_owner = Owner(world)
    world.kept = owner.world.kept
    look = Look(world, new_url or f"sqlite:///{directory}/new/opencph.db")
    try:
        look.at_rest()
        assert not wrong(record), "\n".join([*record.lines(), *cph.output])
        assert {server_id: read(cph, token, server_id) for server_id in (kept, doomed)} == before
        with pytest.raises(ClientRequestException) as gone:
            new_owner.server(later)
        assert gone.value.status_code == 404
        installations.opencph("objects", "get", "obs://things/a/b", directory / "back", *new_options)
        assert (directory / "back").read_bytes() == (directory / "object").read_bytes()
        bought = new_owner.cph.create_net2_cloud_phone_server(
            sdk.CreateNet2CloudPhoneServerRequest(body=purchase(cph.credentials, "imaged") | {"image_id": image_id})
        )
        new_owner.wait_for_server(bought.server_ids[0])
        new_owner.change(kept)
        world.kept = {}
        look.at_rest()
        look.emptied()
        assert not wrong(record), "\n".join([*record.lines(), *cph.output])
    finally:
        look.close()


def wrong(record: Record) -> list[str]:
    """What is not as it should be. Commands that were under way fail: their phone is not up yet, or they had begun in it and are
    not begun again (docs/compatibility.md, "Can a command run twice?"). All else goes on."""
    under_way = r"\(phone_command\).*(not in running status|the phone went down while the command ran)"
    return [one for one in record.unexpected if not re.search(under_way, one)]


def phones_of(owner: User, *server_ids: str) -> set[str]:
    return {str(phone.phone_id) for server_id in server_ids for phone in owner.phones(server_id)}
