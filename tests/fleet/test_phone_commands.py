"""Accepting commands, exports, larger disks and shared apps: who gets a job, who a refusal, who sees whose. On both databases."""

from __future__ import annotations

import pytest

from fleet.fleet_world import FleetWorld
from opencph.fleet.commands import run_shell_command
from opencph.fleet.phone_data import batch_export_cloud_phone_data, expand_phone_data_volume_size
from opencph.fleet.share_filesystems import attach_share_filesystem
from opencph.fleet.shared_storage import APPS, INSERT_APP, forget
from opencph.fleet.shares import list_share_apps_snapshot, push_share_apps, version_of
from opencph.fleet.statuses import PhoneStatus, ServerStatus
from opencph.objects import ObjectError, buckets
from opencph.objects.local import LocalStore
from opencph.store import tables
from opencph.store.database import command, json_list
from opencph.wire.commands import (
    BatchExportCloudPhoneDataRequest,
    CommandRequest,
    ExpandedPhone,
    ExpandPhoneDataVolumeSizeRequest,
    StorageInfo,
)
from opencph.wire.errors import CphError
from opencph.wire.object_names import ObjectName
from opencph.wire.share_filesystems import AttachShareFilesystemRequest
from opencph.wire.shares import ListShareAppsSnapshotQuery, PushShareAppsRequest

REQUEST = "a" * 32


@pytest.fixture
def server(world: FleetWorld) -> tuple[str, list[str]]:

    from opencph.store.database import Query, scalar

    server_id = world.serving()
    world.set("servers", {"server_id": server_id}, status=ServerStatus.NORMAL)
    query: Query[str] = Query(
        tables.phones.select().with_only_columns(tables.phones.c.phone_id).order_by(tables.phones.c.number), scalar
    )
    phones = world.database.rows(query)
    for phone_id in phones:
        world.set("phones", {"phone_id": phone_id}, status=PhoneStatus.RUNNING)
    return server_id, phones


def test_a_command_for_servers_makes_a_job_for_each_of_their_phones(world: FleetWorld, server: tuple[str, list[str]]) -> None:
    server_id, phones = server
    body = CommandRequest(command="shell", content="ls", server_ids=(server_id, "f" * 32))
    answer = run_shell_command(world.fleet, world.caller, REQUEST, body)
    assert [one.phone_id for one in answer.jobs[:-1]] == phones
    assert all(one.job_id and one.error_code is None for one in answer.jobs[:-1])
    assert (answer.jobs[-1].server_id, answer.jobs[-1].error_code) == ("f" * 32, "CPS.0097")
    assert "there is no server 'ffff" in (answer.jobs[-1].error_msg or "")
    assert world.counts()["jobs"] == len(phones) + 1  # and the purchase


def test_a_phone_that_is_off_or_another_projects_gets_no_job(world: FleetWorld, server: tuple[str, list[str]]) -> None:
    _, phones = server
    world.set("phones", {"phone_id": phones[0]}, status=PhoneStatus.STOPPED)
    body = CommandRequest(command="shell", content="ls", phone_ids=(phones[0], phones[1], "x"))
    codes = [one.error_code for one in run_shell_command(world.fleet, world.caller, REQUEST, body).jobs]
    assert codes == ["CPS.0141", None, "CPS.0004"]
    foreign = run_shell_command(world.fleet, world.project(), REQUEST, body)
    assert [one.error_code for one in foreign.jobs] == ["CPS.0005", "CPS.0005", "CPS.0004"]


def test_an_export_is_a_job_with_its_paths(world: FleetWorld, server: tuple[str, list[str]]) -> None:
    _, phones = server
    info = StorageInfo(phone_id=phones[0], include_files=("/data/app",), exclude_files=(), object=ObjectName("bucket", "key.tar"))
    answer = batch_export_cloud_phone_data(
        world.fleet, world.caller, REQUEST, BatchExportCloudPhoneDataRequest(storage_infos=(info,))
    )
    (item,) = answer.jobs
    assert '"include_files":["/data/app"]' in world.row("jobs", job_id=item.job_id)["payload"]


def test_a_disk_may_stay_or_grow_and_never_shrink(world: FleetWorld, server: tuple[str, list[str]]) -> None:
    _, phones = server
    size = world.row("phones", phone_id=phones[0])["data_volume_gib"]
    wanted = [(phones[0], size), (phones[1], size + 1), (phones[2], size - 1)]
    body = ExpandPhoneDataVolumeSizeRequest(phones=tuple(ExpandedPhone(phone_id=one, new_size=new) for one, new in wanted))
    answer = expand_phone_data_volume_size(world.fleet, world.caller, REQUEST, body)
    assert [one.error_code for one in answer.jobs] == [None, None, "CPS.0077"]


def test_shared_apps_are_listed_by_pages_and_forgotten_with_their_server(world: FleetWorld, server: tuple[str, list[str]]) -> None:
    server_id, _ = server
    with world.database.write() as tx:
        for name, version in [("com.a.a", "1"), ("com.a.a", "2"), ("com.b.b", "1"), ("com.c.c", "1")]:
            tx.run(INSERT_APP, server_id=server_id, package_name=name, version=version, archive="x", pre_install=0, create_ms=1)

    def page(marker: str | None = None, package_name: str | None = None) -> tuple[list[tuple[str, list[str]]], str | None]:
        query = ListShareAppsSnapshotQuery(limit=2, marker=marker, package_name=package_name)
        found = list_share_apps_snapshot(world.fleet, world.caller, REQUEST, server_id, query)
        return [(one.package_name, sorted(one.versions)) for one in found.share_apps], found.page_info.next_marker

    assert page() == ([("com.a.a", ["1", "2"]), ("com.b.b", ["1"])], "com.b.b")
    assert page("com.b.b") == ([("com.c.c", ["1"])], None)
    assert page(package_name="com.c.c") == ([("com.c.c", ["1"])], None)
    with pytest.raises(CphError) as unknown:
        page("com.nobody.gave")
    assert unknown.value.code == "CPS.0002"
    with pytest.raises(CphError, match="does not exist"):
        list_share_apps_snapshot(
            world.fleet, world.project(), REQUEST, server_id, ListShareAppsSnapshotQuery(limit=1, marker=None, package_name=None)
        )
    with world.database.write() as tx:
        forget(tx, json_list([server_id]))
    assert world.database.rows(APPS, of_server=server_id) == []


def test_a_push_is_accepted_for_servers_that_are_there(world: FleetWorld, server: tuple[str, list[str]]) -> None:
    server_id, _ = server
    body = PushShareAppsRequest(
        package_name="com.a.a",
        pre_install_app=1,
        object=ObjectName("bucket", "com.a.a_7.tar"),
        server_ids=(server_id, "f" * 32, "x"),
    )
    answer = push_share_apps(world.fleet, world.caller, REQUEST, body)
    assert [one.error_code for one in answer.jobs] == [None, "CPS.0015", "CPS.0097"]
    assert '"version":"7"' in world.row("jobs", job_id=answer.jobs[0].job_id)["payload"]


@pytest.mark.parametrize(
    ("key", "version"),
    [
        ("apk/com.a.a_1.0-x.tar", "1.0-x"),
        ("com.a.a.tar", "1"),
        ("apk/com.a.a_1_2.tar", "1_2"),
        (f"com.a.a_{'v' * 32}.tar", "v" * 32),
        ("other_2.tar", "1"),
        ("ok.tar", "1"),
    ],
)
def test_the_version_is_in_the_objects_name(key: str, version: str) -> None:
    assert version_of("com.a.a", key) == version


@pytest.mark.parametrize(
    "key", ["com.a.a_.tar", "com.a.a_-1.tar", "com.a.a_.1.tar", f"com.a.a_{'v' * 33}.tar", "com.x.app_1.0.tar", "d/com.a.ab_1.tar"]
)
def test_an_object_whose_name_says_another_package_or_no_version_is_refused(
    key: str, world: FleetWorld, server: tuple[str, list[str]]
) -> None:
    server_id, _ = server
    body = PushShareAppsRequest(
        package_name="com.a.a", pre_install_app=0, object=ObjectName("bucket", key), server_ids=(server_id,)
    )
    before = world.counts()["jobs"]
    with pytest.raises(CphError) as refused:
        push_share_apps(world.fleet, world.caller, REQUEST, body)
    assert refused.value.code == "CPS.0135"
    assert world.counts()["jobs"] == before


def test_a_bare_server_is_said_to_have_no_phones(world: FleetWorld, server: tuple[str, list[str]]) -> None:
    server_id, _ = server
    row = world.row("servers", server_id=server_id)
    world.set("generations", {"generation_id": row["generation_id"]}, phone_count=0)
    with world.database.write() as tx:
        tx.run(command(tables.phones.delete()))
    asked = CommandRequest(command="shell", content="ls", server_ids=(server_id,))
    (item,) = run_shell_command(world.fleet, world.caller, REQUEST, asked).jobs
    assert (item.server_id, item.error_code, item.job_id) == (server_id, "CPS.0097", None)
    assert f"server {server_id} has no phones" in (item.error_msg or "")
    body = PushShareAppsRequest(
        package_name="com.a.a", pre_install_app=0, object=ObjectName("bucket", "ok.tar"), server_ids=(server_id,)
    )
    assert [one.error_code for one in push_share_apps(world.fleet, world.caller, REQUEST, body).jobs] == ["CPS.0137"]
    share = AttachShareFilesystemRequest(type="sfs_turbo", id="x", path="/", server_ids=(server_id,))
    assert [one.error_code for one in attach_share_filesystem(world.fleet, world.caller, REQUEST, share).jobs] == ["CPS.0137"]


def test_a_bucket_is_one_accounts(world: FleetWorld) -> None:
    store = LocalStore(world.settings.data / "objects", world.settings.data / "spool")
    other = "d" * 32
    world.insert("domains", domain_id=other, name="other-domain")
    assert buckets.make(world.database, store, world.domain_id, "mine")
    assert not buckets.make(world.database, store, world.domain_id, "mine")
    for act in (
        lambda: buckets.make(world.database, store, other, "mine"),
        lambda: buckets.check(world.database, other, "mine"),
        lambda: buckets.remove(world.database, store, other, "mine"),
        lambda: buckets.check(world.database, other, "none"),
        lambda: buckets.make(world.database, store, other, "v2.0"),
    ):
        with pytest.raises(ObjectError):
            act()
    assert [bucket.name for bucket in buckets.of_account(world.database, world.domain_id)] == ["mine"]
    buckets.remove(world.database, store, world.domain_id, "mine")
    assert buckets.of_account(world.database, world.domain_id) == []
