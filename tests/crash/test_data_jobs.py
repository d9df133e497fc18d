"""`kill -9` of workers at every step of what goes into phones and comes out of them: commands, archives, disks, shared things."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import Callable
from typing import NamedTuple

import pytest
from sqlalchemy import bindparam, select

from apk_maker import apk
from crash.installation import Installation
from crash.test_crash import of
from jobs_fleet.small_world import Phone, eventually
from opencph.adb.client import connect
from opencph.fleet.commands import run_shell_command
from opencph.fleet.ids import new_id
from opencph.fleet.phone_data import (
    batch_export_cloud_phone_data,
    batch_import_cloud_phone_data,
    expand_phone_data_volume_size,
)
from opencph.fleet.shared_storage import APPS, FILES
from opencph.fleet.shares import delete_share_apps, delete_share_files, list_share_files, push_share_apps, push_share_files
from opencph.objects import buckets, open_store, spooled
from opencph.store import tables
from opencph.store.database import Query, scalar
from opencph.wire.commands import (
    BatchExportCloudPhoneDataRequest,
    BatchImportCloudPhoneDataRequest,
    CommandRequest,
    ExpandedPhone,
    ExpandPhoneDataVolumeSizeRequest,
    RestoreInfo,
    StorageInfo,
)
from opencph.wire.object_names import ObjectName
from opencph.wire.shares import (
    DeleteShareAppsRequest,
    DeleteShareFilesRequest,
    ListShareFilesQuery,
    PushShareAppsRequest,
    PushShareFilesRequest,
)

PHONE_KINDS = ("export_phone", "import_phone", "expand_phone")
SHARE_KINDS = ("push_share_app", "delete_share_app", "push_share_files", "delete_share_files", "list_share_files")
KINDS = ("phone_command", *PHONE_KINDS, *SHARE_KINDS)
BUCKET, CONTENTS = "files", b"whole" * 20_000
SHARED = "com.shared.app"

_SAID: Query[str] = Query(select(tables.jobs.c.execute_msg).where(tables.jobs.c.job_id == bindparam("job_id")), scalar)
_SIZE: Query[int] = Query(select(tables.phones.c.data_volume_gib).where(tables.phones.c.phone_id == bindparam("phone_id")), scalar)


class Work(NamedTuple):
    """What a test asks for, and what must be so when it is done."""

    accept: Callable[[], object]
    check: Callable[[], None]


class Site:
    """The installation, as these tests use it: everything has a name of the test's own."""

    def __init__(self, installation: Installation, server_id: str) -> None:
        self.installation, self.world, self.server_id = installation, installation.world, server_id
        self.store = open_store(self.world.settings)
        self.mark = f"m{new_id()[:8]}"
        self.directory = f"/data/local/tmp/{self.mark}"
        buckets.make(self.world.database, self.store, self.world.caller.domain_id, BUCKET)

    @property
    def phones(self) -> list[Phone]:
        return self.world.phones(self.server_id)

    def text(self, phone: Phone, line: str) -> str:
        """What a command prints in a phone."""

        async def main() -> str:
            async with await connect(phone.ip) as connection:
                return (await connection.shell(line)).stdout.decode()

        return asyncio.run(main())

    def put(self, key: str, data: bytes) -> ObjectName:
        file = spooled(self.store)
        file.write(data)
        self.store.put(BUCKET, key, file)
        return ObjectName(BUCKET, key)

    def archive(self, key: str, members: dict[str, bytes]) -> ObjectName:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name, data in members.items():
                member = tarfile.TarInfo(name.lstrip("/"))
                member.size, member.mode = len(data), 0o644
                archive.addfile(member, io.BytesIO(data))
        return self.put(key, packed.getvalue())

    def command(self, word: str, content: str, phone: Phone) -> str:
        """A command for one phone is accepted; its job."""
        body = CommandRequest(command=word, content=content, phone_ids=(phone.phone_id,))
        (job,) = run_shell_command(self.world.fleet, self.world.caller, new_id(), body).jobs
        assert job.job_id, job
        return job.job_id

    def done_first(self, *accepted: Callable[[], object]) -> None:
        """Work that a test builds upon, by a worker that nobody kills."""
        before = len(self.world.jobs())
        self.installation.start_worker()
        for accept in accepted:
            accept()
        self.installation.ended()
        self.installation.stop_workers()
        assert {job.status for job in self.world.jobs()[before:]} <= {2}, self.world.jobs()[before:]

    def killed_at(self, point: str, accept: Callable[[], object]) -> None:
        """Accept work, lose the worker at the point, and let another one end it."""
        accept()
        self.installation.die_at(point)
        self.installation.start_worker()
        self.installation.ended()

    def kept_archives(self) -> set[str]:
        """What the shared storage of the server holds on disk."""
        directory = self.world.settings.data / "shared" / self.server_id
        return {path.name for path in directory.iterdir()} if directory.is_dir() else set()

    def shares_are_whole(self) -> None:
        """The archives on disk are those that rows name, and no others."""
        apps = self.world.database.rows(APPS, of_server=self.server_id)
        files = self.world.database.rows(FILES, of_server=self.server_id)
        named = {app.archive for app in apps} | {file.archive for file in files}
        assert self.kept_archives() == {f"{archive}.tar" for archive in named}


def said(site: Site, job_id: str) -> str:
    """The execute_msg of a job."""
    message: str | None = site.world.one(_SAID, job_id=job_id)
    return message or ""


@pytest.fixture
def site(installation: Installation, server_id: str) -> Site:
    return Site(installation, server_id)


@pytest.mark.parametrize("point", of("phone_command"))
def test_commands_have_their_effect_wherever_the_worker_is_killed(site: Site, point: str) -> None:
    one, two, three = site.phones
    gone, new = f"com.gone.{site.mark}", f"com.new.{site.mark}"
    site.put(f"{gone}.apk", apk(gone))
    site.put(f"{new}.apk", apk(new))
    site.archive(f"{site.mark}.tar", {f"{site.directory}/f": CONTENTS})
    site.done_first(lambda: site.command("install", f"obs://{BUCKET}/{gone}.apk", one))
    jobs: dict[str, str] = {}

    def accept() -> None:
        jobs["shell"] = site.command("shell", f"echo kept > {site.directory}-said; echo said", one)
        jobs["push"] = site.command("push", f"obs://{BUCKET}/{site.mark}.tar", two)
        jobs["install"] = site.command("install", f"-r obs://{BUCKET}/{new}.apk", three)
        jobs["uninstall"] = site.command("uninstall", gone, one)

    site.killed_at(point, accept)
    ends = {word: site.world.job(job_id) for word, job_id in jobs.items()}
    assert {word: job.status for word, job in ends.items()} == dict.fromkeys(ends, 2), (ends, site.installation.words())
    assert said(site, jobs["shell"]) == "said\n"
    assert site.text(one, f"cat {site.directory}-said") == "kept\n"
    assert site.installation.pull(two.ip, f"{site.directory}/f") == CONTENTS
    assert f"package:{new}" in site.text(three, "pm list packages -3").split()
    assert f"package:{gone}" not in site.text(one, "pm list packages -3").split()
    assert ".apk" not in site.text(one, "ls /data/local/tmp") + site.text(three, "ls /data/local/tmp")
    site.installation.serves(site.server_id)
    site.installation.nothing_leaks()


def test_an_installation_leaves_no_package_behind_though_its_worker_is_killed_while_it_sends_it(site: Site) -> None:
    phone, package = site.phones[0], f"com.large.{site.mark}"
    site.put(f"{package}.apk", apk(package, filling=100 << 20))
    job_id = site.command("install", f"obs://{BUCKET}/{package}.apk", phone)
    site.installation.start_worker()
    what = "the package is on its way"
    asyncio.run(eventually(lambda: any(site.installation.directory.glob("builtin/**/local/tmp/*.apk*")), what))
    site.installation.kill_workers()
    site.installation.start_worker()
    site.installation.ended()
    assert site.world.job(job_id).status == 2, site.installation.words()
    assert f"package:{package}" in site.text(phone, "pm list packages -3").split()
    assert ".apk" not in site.text(phone, "ls -a /data/local/tmp")
    site.done_first(lambda: site.command("uninstall", package, phone))
    site.installation.nothing_leaks()


def phone_work(site: Site, kind: str) -> Work:
    """A job of the kind in one phone."""
    fleet, caller, phone, path = site.world.fleet, site.world.caller, site.phones[1], f"{site.directory}/f"
    if kind == "export_phone":
        name = ObjectName(BUCKET, f"{site.mark}-out.tar")
        site.installation.push(phone.ip, CONTENTS, path)
        info = StorageInfo(phone_id=phone.phone_id, include_files=(site.directory,), exclude_files=(), object=name)

        def exported() -> None:
            with site.store.open(BUCKET, name.key) as file, tarfile.open(fileobj=file) as archive:
                member = archive.extractfile(path.lstrip("/"))
                assert member is not None
                assert member.read() == CONTENTS

        order = BatchExportCloudPhoneDataRequest(storage_infos=(info,))
        return Work(lambda: batch_export_cloud_phone_data(fleet, caller, new_id(), order), exported)
    if kind == "import_phone":
        name = site.archive(f"{site.mark}-in.tar", {path: CONTENTS})

        def imported() -> None:
            assert site.installation.pull(phone.ip, path) == CONTENTS

        restore = BatchImportCloudPhoneDataRequest(restore_infos=(RestoreInfo(phone_id=phone.phone_id, object=name),))
        return Work(lambda: batch_import_cloud_phone_data(fleet, caller, new_id(), restore), imported)
    size = (site.world.one(_SIZE, phone_id=phone.phone_id) or 0) + 1

    def grown() -> None:
        assert site.world.one(_SIZE, phone_id=phone.phone_id) == size
        assert int(site.text(phone, "df -k /data").splitlines()[-1].split()[1]) == size << 20

    larger = ExpandPhoneDataVolumeSizeRequest(phones=(ExpandedPhone(phone_id=phone.phone_id, new_size=size),))
    return Work(lambda: expand_phone_data_volume_size(fleet, caller, new_id(), larger), grown)


@pytest.mark.parametrize("point", of(*PHONE_KINDS))
def test_data_of_phones_is_whole_wherever_the_worker_is_killed(site: Site, point: str) -> None:
    work = phone_work(site, point.split(":")[0])
    before = len(site.world.jobs())
    site.killed_at(point, work.accept)
    assert [(job.kind, job.status) for job in site.world.jobs()[before:]] == [(point.split(":")[0], 2)], site.installation.words()
    work.check()
    site.installation.serves(site.server_id)
    site.installation.nothing_leaks()


def share_work(site: Site, kind: str) -> tuple[list[Callable[[], object]], Work]:
    """What must be done first, and a job of the kind for the server."""
    fleet, caller, servers = site.world.fleet, site.world.caller, (site.server_id,)
    path = f"/data/share_me/{site.mark}/f"

    def push_app() -> object:
        members = {f"data/app/{SHARED}-1/base.apk": apk(SHARED), f"data/data/{SHARED}/f": CONTENTS}
        name = site.archive(f"{SHARED}_1.0.tar", members)
        body = PushShareAppsRequest(package_name=SHARED, pre_install_app=1, object=name, server_ids=servers)
        return push_share_apps(fleet, caller, new_id(), body)

    def push_files() -> object:
        name = site.archive(f"{site.mark}-share.tar", {path: CONTENTS})
        return push_share_files(fleet, caller, new_id(), PushShareFilesRequest(object=name, server_ids=servers))

    def delete_app() -> object:
        return delete_share_apps(fleet, caller, new_id(), DeleteShareAppsRequest(package_name=SHARED, server_ids=servers))

    def delete_files() -> object:
        body = DeleteShareFilesRequest(file_paths=(f"/data/share_me/{site.mark}",), server_ids=servers)
        return delete_share_files(fleet, caller, new_id(), body)

    def list_files() -> object:
        query = ListShareFilesQuery(server_ids=servers, path=f"/data/share_me/{site.mark}", offset=0, limit=50)
        return list_share_files(fleet, caller, new_id(), query)

    def app_is(there: bool) -> None:
        rows = [row.version for row in site.world.database.rows(APPS, of_server=site.server_id)]
        assert rows == (["1.0"] if there else [])
        for phone in site.phones:
            assert (f"package:{SHARED}" in site.text(phone, "pm list packages -3").split()) == there
            assert site.text(phone, f"ls /data/share_apps/{SHARED} 2>/dev/null") == ("1.0.tar\n" if there else "")
            if there:
                assert site.installation.pull(phone.ip, f"/data/data/{SHARED}/f") == CONTENTS

    def files_are(there: bool) -> None:
        rows = [row.path for row in site.world.database.rows(FILES, of_server=site.server_id) if site.mark in row.path]
        assert rows == ([path] if there else [])
        for phone in site.phones:
            if there:
                assert site.installation.pull(phone.ip, path) == CONTENTS
            else:
                assert site.text(phone, f"find /data/share_me/{site.mark} -type f 2>/dev/null") == ""

    def listed() -> None:
        listing = json.loads(said(site, site.world.jobs()[-1].job_id))
        (line,) = listing["files_in_path"]["files"]
        assert line.split()[0::4] == [str(len(CONTENTS)), "f"]

    return {
        "push_share_app": ([], Work(push_app, lambda: app_is(True))),
        "delete_share_app": ([push_app], Work(delete_app, lambda: app_is(False))),
        "push_share_files": ([], Work(push_files, lambda: files_are(True))),
        "delete_share_files": ([push_files], Work(delete_files, lambda: files_are(False))),
        "list_share_files": ([push_files], Work(list_files, listed)),
    }[kind]


@pytest.mark.parametrize("point", of(*SHARE_KINDS))
def test_what_a_server_shares_is_whole_wherever_the_worker_is_killed(site: Site, point: str) -> None:
    kind = point.split(":")[0]
    first, work = share_work(site, kind)
    site.done_first(*first)
    before = len(site.world.jobs())
    site.killed_at(point, work.accept)
    assert [(job.kind, job.status) for job in site.world.jobs()[before:]] == [(kind, 2)], site.installation.words()
    work.check()
    site.shares_are_whole()
    site.installation.serves(site.server_id)
    site.installation.nothing_leaks()
