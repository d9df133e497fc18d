"""The calls of Huawei's Terraform provider for what is done to servers and phones, and its data sources about them.

As in `test_terraform`: requests, their order and what is read of the answers are taken from the provider's source (August 2026;
resources `huaweicloud_cph_phone_action`, `_phone_restart`, `_phone_reset`, `_phone_stop`, `_phone_property`, `_phone_data_export`,
`_phone_data_restore`, `_adb_command`, `_share_app`, `_server_restart`). All but the shared app are forgotten by Terraform, not
deleted; none is read again, so that none can differ.
"""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from apk_maker import apk
from e2e.data_user import object_store
from e2e.go_client import GoClient, nullable_string, number, string
from opencph.testing import RunningCph, opencph_up, purchase

WAIT_SECONDS = 60.0
V1 = "/v1/{project_id}/cloud-phone"


class Actions:
    """The provider beside one server, and the object store of its user."""

    def __init__(self, running: RunningCph) -> None:
        known = running.credentials
        self.client = GoClient(running.endpoint, known["access_key"], known["secret_key"], known["project_id"])
        self.s3 = object_store(running)
        self.s3.create_bucket(Bucket="files")
        made = self.client.request("POST", "/v2/{project_id}/cloud-phone/servers", purchase(known, "tf-actions"), ok=(200,))
        self.server_id = string(made["server_ids"][0])
        self.until(lambda: self.status("servers", self.server_id) == 5, "the server is normal")
        self.phones = [string(one["phone_id"]) for one in self.pages("phones", "phones", 200, server_id=self.server_id)]

    def until(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not done():
            assert time.monotonic() < deadline, f"not within {WAIT_SECONDS:g} s: {what}"
            time.sleep(0.05)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.client.request("POST", f"{V1}/{path}", body)
        assert isinstance(answer, dict)
        return answer

    def status(self, kind: str, its_id: str) -> int:
        return number(self.client.request("GET", f"{V1}/{kind}/{its_id}")["status"])

    def pages(self, path: str, field: str, limit: int, **filters: str) -> list[dict[str, Any]]:
        """OffsetPager of the provider: until a page is empty."""
        found: list[dict[str, Any]] = []
        while True:
            query = urlencode({**filters, "limit": limit, "offset": len(found)})
            page = self.client.request("GET", f"{V1}/{path}?{query}")[field]
            if not page:
                return found
            found += page

    def waits_for_jobs(self, answer: dict[str, Any]) -> list[dict[str, Any]]:
        """checkJobStatus: the jobs of the request, until none runs; a failed one is an error."""
        request_id = string(answer["request_id"])
        found: list[dict[str, Any]] = []

        def over() -> bool:
            found[:] = self.client.request("GET", f"{V1}/jobs?request_id={request_id}")["jobs"]
            return not [job for job in found if number(job["status"]) == 1]

        self.until(over, f"the jobs of {request_id} end: {found}")
        assert [job for job in found if job["status"] == -1] == []
        return found

    def waits_for_job(self, its_id: str) -> dict[str, Any]:
        """jobStatusRefreshFunc. Exports and restores give it the id of the phone."""
        found: dict[str, Any] = {}

        def over() -> bool:
            found.update(self.client.request("GET", f"{V1}/jobs/{its_id}"))
            return number(found["status"]) != 1

        self.until(over, f"the job of {its_id} ends: {found}")
        assert found["status"] == 2, found
        return found

    def first_item(self, answer: dict[str, Any], field: str) -> str:
        """`jobs|[0]`, which must have no error."""
        item = answer["jobs"][0]
        assert item.get("error_code", "") == "", item
        return string(item[field])

    def shell(self, phone_id: str, content: str) -> str:
        """huaweicloud_cph_adb_command."""
        answer = self.post("phones/commands", {"command": "shell", "content": content, "phone_ids": [phone_id]})
        (job,) = self.waits_for_jobs(answer)
        return string(job["execute_msg"])


@pytest.fixture(scope="module")
def tf() -> Iterator[Actions]:
    with opencph_up() as cph:
        yield Actions(cph)


def archive(name: str, contents: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(contents)
        tar.addfile(member, io.BytesIO(contents))
    return file.getvalue()


def test_commands_for_phones_and_servers_warn_of_what_is_unknown_and_wait_for_the_rest(tf: Actions) -> None:
    body = {"command": "shell", "content": "echo tf"}
    answer = tf.post("phones/commands", {**body, "phone_ids": [tf.phones[0], "f" * 32]})
    assert [job["phone_id"] for job in answer["jobs"] if job.get("error_code") == "CPS.0005"] == ["f" * 32]
    assert [job["execute_msg"] for job in tf.waits_for_jobs(answer)] == ["tf\n"]
    answer = tf.post("phones/commands", {**body, "server_ids": [tf.server_id, "e" * 32]})
    assert [job["server_id"] for job in answer["jobs"] if job.get("error_code") == "CPS.0097"] == ["e" * 32]
    assert [job["execute_msg"] for job in tf.waits_for_jobs(answer)] == ["tf\n"] * len(tf.phones)


def test_phone_actions_restart_reset_and_stop(tf: Actions) -> None:
    phone_id = tf.phones[1]
    unset = [{"phone_id": phone_id, "property": ""}]  # what Terraform's list holds of a field that was left out
    for action in ("batch-restart", "batch-reset"):
        answer = tf.post(f"phones/{action}", {"phones": unset})
        tf.waits_for_jobs(answer)
        assert tf.status("phones", phone_id) == 2
    tf.waits_for_jobs(tf.post("phones/batch-stop", {"phone_ids": [phone_id]}))
    assert tf.status("phones", phone_id) == 8
    tf.waits_for_jobs(tf.post("phones/batch-restart", {"phones": unset}))  # there is no start but this


def test_single_phone_resources_wait_for_the_status_of_the_phone(tf: Actions) -> None:
    phone_id = tf.phones[2]
    body = {"phones": [{"phone_id": phone_id, "property": '{"com.cph.mainkeys":1}'}]}
    for path, sent, wanted, failed in (
        ("phones/batch-stop", {"phone_ids": [phone_id]}, 8, -9),
        ("phones/batch-restart", body, 2, -6),
        ("phones/batch-reset", body, 2, -5),
    ):
        assert tf.first_item(tf.post(path, sent), "phone_id") == phone_id

        def there(wanted: int = wanted, failed: int = failed) -> bool:
            status = tf.status("phones", phone_id)
            assert status != failed
            return status == wanted

        tf.until(there, f"{path} ends")
        tf.waits_for_job(phone_id)
    assert tf.shell(phone_id, "getprop com.cph.mainkeys") == "1\n"


def test_a_property_waits_for_its_job(tf: Actions) -> None:
    phone_id = tf.phones[3]
    body = {"phones": [{"phone_id": phone_id, "property": '{"ro.permission.changed":1}'}]}
    job_id = tf.first_item(tf.post("phones/batch-update-property", body), "job_id")
    assert tf.waits_for_job(job_id)["phone_id"] == phone_id
    assert tf.shell(phone_id, "getprop ro.permission.changed") == "1\n"


def test_an_export_and_a_restore_wait_by_the_id_of_the_phone(tf: Actions) -> None:
    phone_id = tf.phones[4]
    tf.shell(phone_id, "echo kept | tee /data/local/tmp/tf")
    where = {"phone_id": phone_id, "bucket_name": "files", "object_path": "tf/backup.tar"}
    answer = tf.post("phones/batch-storage", {"storage_infos": [{**where, "include_files": ["/data/local/tmp/tf"]}]})
    assert tf.first_item(answer, "phone_id") == phone_id
    assert tf.waits_for_job(phone_id)["job_id"] == answer["jobs"][0]["job_id"]
    assert tf.s3.head_object(Bucket="files", Key="tf/backup.tar")["ContentLength"] > 0

    tf.shell(phone_id, "rm /data/local/tmp/tf")
    answer = tf.post("phones/batch-restore", {"restore_infos": [where]})
    assert tf.first_item(answer, "phone_id") == phone_id
    assert tf.waits_for_job(phone_id)["job_id"] == answer["jobs"][0]["job_id"]
    assert tf.shell(phone_id, "cat /data/local/tmp/tf") == "kept\n"


def test_a_shared_app_is_created_and_destroyed(tf: Actions) -> None:
    key = "com.tf.app_1.0.tar"
    tf.s3.put_object(Bucket="files", Key=key, Body=archive("data/app/com.tf.app-1/base.apk", apk("com.tf.app")))
    body = {"package_name": "com.tf.app", "pre_install_app": 1, "bucket_name": "files", "object_path": key}
    job_id = tf.first_item(tf.post("phones/share-apps", {**body, "server_ids": [tf.server_id]}), "job_id")
    tf.waits_for_job(job_id)
    assert "package:com.tf.app" in tf.shell(tf.phones[5], "pm list packages -3")

    gone = {"package_name": "com.tf.app", "server_ids": [tf.server_id]}
    answer = tf.client.request("DELETE", f"{V1}/phones/share-apps", gone)
    tf.waits_for_job(tf.first_item(answer, "job_id"))
    tf.waits_for_job(job_id)  # what the provider really asks here: the job that pushed it
    assert "com.tf.app" not in tf.shell(tf.phones[5], "pm list packages -3")


def test_the_data_sources_about_one_server_find_what_they_assert(tf: Actions) -> None:
    (encode,) = tf.pages("encode-servers", "encode_servers", 100, type="1", status="1", server_id=tf.server_id)
    for name in ("keypair_name", "encode_server_id", "server_id", "encode_server_name", "encode_server_ip"):
        string(encode[name])
    assert (number(encode["type"]), number(encode["status"]), encode["server_id"]) == (1, 1, tf.server_id)

    for width in tf.pages("bandwidths", "band_widths", 50):
        for name in ("band_width_share_type", "band_width_size", "band_width_charge_mode"):
            number(width[name])
        for name in ("band_width_name", "band_width_id", "create_time", "update_time"):
            string(width[name])

    found = tf.post("phones/batch-connection", {"client_type": "ANDROID", "phone_ids": tf.phones[6:8]})["connect_infos"]
    assert [one["phone_id"] for one in found] == tf.phones[6:8]
    for info in (one["access_info"] for one in found):
        assert abs(int(string(info["timestamp"])) / 1000 - time.time()) < 60  # read as a number, whatever it is
        number(info["access_port"])
        for name in ("session_id", "ticket", "intranet_ip"):
            assert string(info[name])
        nullable_string(info.get("access_ip"))

    query = urlencode({"image_type": "private", "status": "1", "create_since": 1, "create_until": int(time.time())})
    assert tf.client.request("GET", f"{V1}/images?{query}")["image_infos"] == []
    images = tf.client.request("GET", f"{V1}/phone-images")["phone_images"]
    phone = tf.client.request("GET", f"{V1}/phones/{tf.phones[0]}")
    labels = {one["phone_model_name"]: one["image_label"] for one in tf.client.request("GET", f"{V1}/phone-models")["phone_models"]}
    fitting = [one for one in images if one["image_label"] == labels[phone["phone_model_name"]] and number(one["is_public"]) == 1]
    assert phone["image_id"] in {one["image_id"] for one in fitting}


def test_a_server_restart_waits_for_the_status_of_the_server(tf: Actions) -> None:
    answer = tf.post("servers/batch-restart", {"server_ids": [tf.server_id]})
    assert tf.first_item(answer, "server_id") == tf.server_id
    tf.until(lambda: tf.status("servers", tf.server_id) == 5, "the server is normal again")
    tf.waits_for_jobs(answer)
