"""Commands, data in and out, larger disks: through the vendor's SDK, unmodified, with real phones and real objects."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkcph import v1 as sdk

from apk_maker import apk
from e2e.data_user import Ended, User
from opencph.testing import opencph_up

DIRECTORY = "/data/media/0/x"
AOSP_9 = "23100120231110f004101b21000004c5"


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    with opencph_up(settings={"SYNC_COMMANDS_PER_MINUTE": "3"}) as cph:
        yield User(cph)


def test_a_shell_command_for_a_whole_server_prints_into_each_job(user: User) -> None:
    done = user.shell("getprop ro.product.model", server_ids=[user.server_id, "f" * 32])
    assert len(done) == len(user.phones) + 1
    assert {one.status for one in done[:-1]} == {2}
    assert {one.execute_msg for one in done[:-1]} == {"rx1.cp.c60.d10.e1v1\n"}
    assert (done[-1].status, done[-1].error_code) == (None, "CPS.0097")


def test_a_command_that_fails_fails_its_job_with_what_it_printed(user: User) -> None:
    failed, unknown = user.shell("ls /nonexistent", user.phones[0], "f" * 32)
    assert (failed.status, failed.error_code) == (-1, "CPS.0191")
    assert (failed.error_msg or "").startswith("Run command failed.")
    assert "/nonexistent" in (failed.execute_msg or "")
    assert unknown.error_code == "CPS.0005"


def test_output_is_cut_at_1024_bytes(user: User) -> None:
    assert len(user.text("head -c 5000 /dev/zero | tr -c x x", user.phones[0]).encode()) == 1024


def test_a_synchronous_command_answers_with_the_output_or_after_two_seconds(user: User) -> None:
    def run(content: str) -> Any:
        body = sdk.RunSyncCommandRequestBody(command="shell", content=content, phone_ids=user.phones[:2])
        return user.cph.run_sync_command(sdk.RunSyncCommandRequest(body=body)).jobs

    assert [one.status for one in user.shell("true", *user.phones[:2])] == [2, 2]  # their sandboxes are there
    jobs = run("echo hello")
    assert [(job.phone_id, job.status, job.error_code, job.execute_msg) for job in jobs] == [
        (phone_id, 2, "", "hello\n") for phone_id in user.phones[:2]
    ]
    assert user.cph.show_job(sdk.ShowJobRequest(job_id=jobs[0].job_id)).execute_msg == "hello\n"
    late = run("seq 1 3 && sleep 20")
    assert [(job.status, job.error_code, job.execute_msg) for job in late] == [(-1, "CPS.0054", "1\n2\n3\n")] * 2
    run("true")
    with pytest.raises(ClientRequestException) as refused:
        run("true")
    assert (refused.value.status_code, refused.value.error_code) == (429, "APIGW.0308")


def test_an_archive_is_pushed_to_the_root_of_phones(user: User) -> None:
    name = user.upload(
        "push.tar",
        (f"{DIRECTORY[1:]}/empty", tarfile.DIRTYPE, b""),
        (f"{DIRECTORY[1:]}/f.txt", tarfile.REGTYPE, b"hello"),
        (f"{DIRECTORY[1:]}/l", tarfile.SYMTYPE, "f.txt"),
    )
    assert [one.status for one in user.push(name, *user.phones[:2])] == [2, 2]
    for phone_id in user.phones[:2]:
        assert user.text(f"cat {DIRECTORY}/l", phone_id) == "hello"
        assert user.text(f"ls -l {DIRECTORY}/f.txt", phone_id).startswith("-rw-r-----")


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (("data/../../escape", tarfile.REGTYPE, b"x"), "'..'"),
        (("data/link", tarfile.SYMTYPE, "/system"), "only relative links"),
        (("data/node", tarfile.CHRTYPE, b""), "device"),
        (("data/new/" + "y" * 300, tarfile.REGTYPE, b"x"), "more than 255 bytes"),
        (("data/media/0/before", tarfile.DIRTYPE, b""), "a directory and also a file"),
    ],
)
def test_a_harmful_archive_is_refused_and_the_phone_stays_as_it_is(user: User, member: tuple[str, bytes, Any], words: str) -> None:
    phone_id = user.phones[2]
    name = user.upload("bad.tar", ("data/media/0/before", tarfile.REGTYPE, b"x"), member)
    before = user.text("find /data /cache | grep -v /.cph", phone_id)
    (failed,) = user.push(name, phone_id)
    assert (failed.status, failed.error_code) == (-1, "CPS.0118")
    assert words in (failed.error_msg or "")
    assert user.text("find /data /cache | grep -v /.cph", phone_id) == before


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (("system/x", tarfile.REGTYPE, b"x"), "/system/x: "),
        (("mnt/x.txt", tarfile.REGTYPE, b"x"), "/mnt/x.txt: "),
        (("data/local", tarfile.REGTYPE, b"x"), "/data/local: it is a directory in the phone"),
        (("data/local/tmp/a-file/below", tarfile.REGTYPE, b"x"), "/data/local/tmp/a-file is no directory in the phone"),
    ],
)
def test_a_push_that_cannot_be_whole_changes_nothing(user: User, member: tuple[str, bytes, Any], words: str) -> None:
    phone_id = user.phones[2]
    assert [one.status for one in user.push(user.upload("f.tar", ("data/local/tmp/a-file", tarfile.REGTYPE, b"x")), phone_id)] == [
        2
    ]
    name = user.upload("mixed.tar", ("data/mixed.txt", tarfile.REGTYPE, b"x"), ("data/new/dir", tarfile.DIRTYPE, b""), member)
    before = user.text("find /data /cache | grep -v /.cph", phone_id)
    (failed,) = user.push(name, phone_id)
    assert (failed.status, failed.error_code) == (-1, "CPS.0191")
    assert (failed.error_msg or "").startswith("Run command failed. ") and words in (failed.error_msg or ""), failed
    assert user.text("find /data /cache | grep -v /.cph", phone_id) == before


def test_links_that_no_restore_takes_are_left_out_of_an_export_and_named(user: User) -> None:
    one, other = user.phones[3], user.phones[4]
    user.text("mkdir -p /data/local/tmp/links/deep", one)
    user.push(
        user.upload(
            "l.tar", ("data/local/tmp/links/good", tarfile.SYMTYPE, "deep"), ("data/local/tmp/links/f", tarfile.REGTYPE, b"x")
        ),
        one,
    )
    user.text("ln -s /system /data/local/tmp/links/lk", one)
    exported = user.exported(one, "out/links.tar", "/data/local/tmp/links")
    assert exported.status == 2, exported
    assert (exported.execute_msg or "").startswith("1 left out: '/data/local/tmp/links/lk' is a link to")
    assert user.restored(other, "out/links.tar")[:2] == (2, None)
    assert sorted(user.text("ls /data/local/tmp/links", other).split()) == ["deep", "f", "good"]


def test_data_of_a_newer_system_is_not_restored_to_an_older_one(user: User) -> None:
    newer, older = user.phones[3], user.phones[5]
    user.text("touch /data/local/tmp/newer", newer)
    assert user.exported(newer, "out/newer.tar", "/data/local/tmp/newer").status == 2
    detail = user.cph.show_cloud_phone_detail(sdk.ShowCloudPhoneDetailRequest(phone_id=newer))
    assert detail.image_version == "AOSP 11.0"
    restart = sdk.RestartCloudPhoneRequestBody(image_id=AOSP_9, phones=[{"phone_id": older}])
    assert [done.status for done in user.ended(user.cph.restart_cloud_phone(sdk.RestartCloudPhoneRequest(body=restart)))] == [2]
    refused = user.restored(older, "out/newer.tar")
    assert (refused.status, refused.error_code) == (-1, "CPS.0171")
    assert "AOSP 11.0" in (refused.error_msg or "") and "AOSP 9.0" in (refused.error_msg or "")
    assert user.text("ls /data/local/tmp", older) == ""
    assert user.exported(older, "out/older.tar", "/data/local").status == 2
    assert user.restored(newer, "out/older.tar").status == 2


def test_apps_are_installed_whole_and_in_parts_and_removed(user: User) -> None:
    phone_id = user.phones[7]

    def run(command: str, content: str) -> Ended:
        body = sdk.InstallApkRequestBody(command=command, content=content, phone_ids=[phone_id])
        (done,) = user.ended(user.cph.install_apk(sdk.InstallApkRequest(body=body)))
        return done

    for key, data in {"a.apk": apk(), "base.apk": apk("com.split.app"), "de.apk": apk("com.split.app", split="config.de")}.items():
        user.s3.put_object(Bucket="files", Key=key, Body=data)
    assert run("install", "-r obs://files/a.apk").status == 2
    assert run("install-multiple", "obs://files/base.apk obs://files/de.apk").status == 2
    assert user.text("pm list packages -3", phone_id).split() == ["package:com.myapp.test", "package:com.split.app"]
    assert user.text("ls /data/local/tmp", phone_id) == ""
    user.s3.put_object(Bucket="files", Key="no.apk", Body=b"no apk")
    failed = run("install", "obs://files/no.apk")
    assert (failed.status, failed.error_code) == (-1, "CPS.0191")
    assert "INSTALL_PARSE_FAILED_NOT_APK" in (failed.error_msg or "")
    body = sdk.UninstallApkRequestBody(command="uninstall", content="com.myapp.test", phone_ids=[phone_id])
    assert [done.status for done in user.ended(user.cph.uninstall_apk(sdk.UninstallApkRequest(body=body)))] == [2]
    assert user.text("pm list packages -3", phone_id).split() == ["package:com.split.app"]


def test_objects_that_are_not_there_say_so(user: User) -> None:
    for name in ("obs://files/none.tar", "obs://nobodys/none.tar"):
        (failed,) = user.push(name, user.phones[0])
        assert (failed.status, failed.error_code) == (-1, "CPS.0104")


def test_what_is_exported_from_a_phone_can_be_restored_to_another(user: User) -> None:
    one, other = user.phones[3], user.phones[4]
    user.push(
        user.upload("data.tar", ("data/media/0/e/a", tarfile.REGTYPE, b"A" * 100_000), ("data/media/0/e/b", tarfile.REGTYPE, b"B")),
        one,
    )
    assert user.exported(one, "out/phone.tar", "/data/media/0/*", exclude_files=["/data/media/0/e/b"]).status == 2
    with tarfile.open(fileobj=io.BytesIO(user.s3.get_object(Bucket="files", Key="out/phone.tar")["Body"].read())) as archive:
        assert "data/media/0/e/a" in archive.getnames()
        assert "data/media/0/e/b" not in archive.getnames()
    assert user.restored(other, "out/phone.tar").status == 2
    assert user.text("wc -c /data/media/0/e/a", other).split()[0] == "100000"


def test_a_disk_grows_at_once_and_never_shrinks(user: User) -> None:
    phone_id = user.phones[5]

    def expand(size: int) -> list[Ended]:
        body = sdk.ExpandPhoneDataVolumeSizeRequestBody(phones=[{"phone_id": phone_id, "new_size": size}])
        return user.ended(user.cph.expand_phone_data_volume_size(sdk.ExpandPhoneDataVolumeSizeRequest(body=body)))

    assert [done.status for done in expand(20)] == [2]
    assert int(user.text("df -k /data", phone_id).splitlines()[-1].split()[1]) == 20 * 1024 * 1024
    detail = user.cph.show_cloud_phone_detail(sdk.ShowCloudPhoneDetailRequest(phone_id=phone_id))
    assert detail.phone_data_volume.volume_size == 20
    assert [done.error_code for done in expand(19)] == ["CPS.0077"]


def test_a_phone_that_is_off_takes_no_commands(user: User) -> None:
    phone_id = user.phones[6]
    stop = sdk.StopCloudPhoneRequest(body=sdk.StopCloudPhoneRequestBody(phone_ids=[phone_id]))
    assert [done.status for done in user.ended(user.cph.stop_cloud_phone(stop))] == [2]
    assert [done.error_code for done in user.shell("true", phone_id)] == ["CPS.0141"]


def _share(user: User) -> str:
    """An archive of an app, as an export makes it, and its object."""
    files = [
        ("data/app/com.shared.app-1/base.apk", tarfile.REGTYPE, apk("com.shared.app")),
        ("data/data/com.shared.app/f", tarfile.REGTYPE, b"x"),
    ]
    return user.upload("apk/com.shared.app_1.0.tar", *files).removeprefix("obs://files/")


def _push_app(user: User, key: str, pre_install: int) -> None:
    body = {
        "package_name": "com.shared.app",
        "pre_install_app": pre_install,
        "bucket_name": "files",
        "object_path": key,
        "server_ids": [user.server_id],
    }
    answer = user.cph.push_share_apps(sdk.PushShareAppsRequest(body=sdk.PushShareAppsRequestBody(**body)))
    assert [(done.status, done.error_msg) for done in user.ended(answer)] == [(2, None)]


def _delete_app(user: User) -> None:
    body = sdk.DeleteShareAppsRequestBody(package_name="com.shared.app", server_ids=[user.server_id])
    assert [done.status for done in user.ended(user.cph.delete_share_apps(sdk.DeleteShareAppsRequest(body=body)))] == [2]


def test_a_pre_installed_shared_app_is_in_every_phone_and_comes_back_after_a_reset(user: User) -> None:
    _push_app(user, _share(user), 1)
    on = [user.phones[8], user.phones[9]]
    for phone_id in on:
        assert "package:com.shared.app" in user.text("pm list packages -3", phone_id)
    snapshot = user.cph.list_share_apps_snapshot(sdk.ListShareAppsSnapshotRequest(server_id=user.server_id))
    assert [(one.package_name, one.versions) for one in snapshot.share_apps] == [("com.shared.app", ["1.0"])]
    user.text("pm uninstall com.shared.app", on[0])
    body = sdk.ResetCloudPhoneRequestBody(phones=[{"phone_id": on[0]}])
    assert [done.status for done in user.ended(user.cph.reset_cloud_phone(sdk.ResetCloudPhoneRequest(body=body)))] == [2]
    assert "package:com.shared.app" in user.text("pm list packages -3", on[0])
    _delete_app(user)
    assert "com.shared.app" not in user.text("pm list packages -3", on[1])
    empty = user.cph.list_share_apps_snapshot(sdk.ListShareAppsSnapshotRequest(server_id=user.server_id))
    assert empty.share_apps == []


def test_a_shared_app_that_is_not_pre_installed_is_installed_in_the_phone(user: User) -> None:
    _push_app(user, _share(user), 0)
    phone_id = user.phones[10]
    assert "com.shared.app" not in user.text("pm list packages -3", phone_id)
    assert user.text("appctrl start com.shared.app", phone_id) == "Success\n"
    assert "package:com.shared.app" in user.text("pm list packages -3", phone_id)
    assert user.text("appctrl clear", phone_id) == "Success\n"
    assert "com.shared.app" not in user.text("pm list packages -3", phone_id)
    (failed,) = user.shell("appctrl install com.none.app", phone_id)
    assert failed.error_code == "CPS.0191"
    _delete_app(user)


def test_shared_files_are_in_every_phone_listed_and_removed(user: User) -> None:
    key = user.upload(
        "share.tar", ("data/share_me/d/a", tarfile.REGTYPE, b"A"), ("data/share_me/b", tarfile.REGTYPE, b"BB")
    ).removeprefix("obs://files/")
    body = sdk.PushShareFilesRequestBody(bucket_name="files", object_path=key, server_ids=[user.server_id])
    assert [done.status for done in user.ended(user.cph.push_share_files(sdk.PushShareFilesRequest(body=body)))] == [2]
    assert user.text("cat /data/share_me/b", user.phones[11]) == "BB"

    def listed() -> Any:
        asked = sdk.ListShareFilesRequest(server_ids=user.server_id, path="/data/share_me")
        (done,) = user.ended(user.cph.list_share_files(asked))
        return json.loads(done.execute_msg or "")

    found = listed()
    assert (found["files_in_path"]["total"], found["files_in_path"]["count"]) == (2, 2)
    assert [line.split()[0::4] for line in found["files_in_path"]["files"]] == [["2", "b"], ["4096", "d"]]
    assert found["share_base_max_size"] == "50G"
    remove = sdk.DeleteShareFilesRequestBody(server_ids=[user.server_id], file_paths=["/data/share_me/d"])
    assert [done.status for done in user.ended(user.cph.delete_share_files(sdk.DeleteShareFilesRequest(body=remove)))] == [2]
    assert user.text("find /data/share_me -type f", user.phones[11]) == "/data/share_me/b\n"
    assert listed()["files_in_path"]["total"] == 1


def test_what_is_shared_stays_below_data_and_cache(user: User) -> None:
    key = user.upload("outside.tar", ("system/x", tarfile.REGTYPE, b"x")).removeprefix("obs://files/")
    body = sdk.PushShareFilesRequestBody(bucket_name="files", object_path=key, server_ids=[user.server_id, "f" * 32])
    failed, unknown = user.ended(user.cph.push_share_files(sdk.PushShareFilesRequest(body=body)))
    assert (failed.status, failed.error_code) == (-1, "CPS.0135")
    assert unknown.error_code == "CPS.0015"
