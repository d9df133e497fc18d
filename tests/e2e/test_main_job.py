"""The main job through the vendor's SDK, unmodified, and stock peers: buy, look, use, change. On SQLite and on PostgreSQL."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkcph.v1 import (
    ChangeCloudPhoneServerRequest,
    CphClient,
    CreateNet2CloudPhoneServerRequest,
    DeleteCloudPhoneServerRequest,
    ListCloudPhonesRequest,
    ListJobsRequest,
    ResetCloudPhoneRequest,
    RestartCloudPhoneRequest,
    ShowCloudPhoneDetailRequest,
    ShowCloudPhoneServerDetailRequest,
    ShowJobRequest,
    StopCloudPhoneRequest,
)

from e2e.running import Eventually, StartUp, answers, free_port, part
from opencph.testing import PHONES_PER_SERVER, RunningCph, change, purchase

ROOT = Path(__file__).parents[2]
FILE = "/sdcard/Download/kept.txt"


class User:
    """A user of one installation: the SDK with AK/SK, a token, and the machine's adb with a server of its own."""

    def __init__(self, cph: RunningCph, eventually: Eventually, adb_port: int) -> None:
        self.cph, self.eventually = cph, eventually
        self.known = cph.credentials
        self.client = self.client_with(self.known["access_key"], self.known["secret_key"])
        self.environment = {**os.environ, "ANDROID_ADB_SERVER_PORT": str(adb_port)}

    def client_with(self, access_key: str, secret_key: str) -> CphClient:
        keys = BasicCredentials(access_key, secret_key, self.known["project_id"])
        return CphClient.new_builder().with_credentials(keys).with_endpoint(self.cph.endpoint).build()

    def adb(self, *arguments: str) -> str:
        done = subprocess.run(["adb", *arguments], capture_output=True, text=True, timeout=60, env=self.environment, check=False)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout.strip()

    def server(self, server_id: str) -> Any:
        return self.client.show_cloud_phone_server_detail(ShowCloudPhoneServerDetailRequest(server_id=server_id))

    def phones(self, server_id: str) -> list[Any]:
        found = self.client.list_cloud_phones(ListCloudPhonesRequest(server_id=server_id, limit=100)).phones
        return sorted(found, key=lambda phone: str(phone.phone_name))

    def phone(self, phone_id: str) -> Any:
        return self.client.show_cloud_phone_detail(ShowCloudPhoneDetailRequest(phone_id=phone_id))

    def buy(self, name: str) -> str:
        bought = self.client.create_net2_cloud_phone_server(CreateNet2CloudPhoneServerRequest(body=purchase(self.known, name)))
        (server_id,) = bought.server_ids
        self.eventually(lambda: self.server(server_id).status == 5, "server normal")
        return str(server_id)

    def connect(self, phone_id: str) -> str:
        (access,) = [info for info in self.phone(phone_id).access_infos if info.type == "adb"]
        serial = f"{access.server_ip}:{access.access_port}"
        assert "connected to" in self.adb("connect", serial)
        return serial

    def finish(self, job_id: str) -> Any:
        """The job, once it has ended."""
        self.eventually(lambda: self.client.show_job(ShowJobRequest(job_id=job_id)).status != 1, f"job {job_id} ended")
        return self.client.show_job(ShowJobRequest(job_id=job_id))


@pytest.fixture
def adb_port() -> Iterator[int]:
    if shutil.which("adb") is None:
        pytest.skip("no adb: sudo apt-get install adb")
    port = free_port()
    yield port
    subprocess.run(
        ["adb", "kill-server"], env={**os.environ, "ANDROID_ADB_SERVER_PORT": str(port)}, check=False, stderr=subprocess.DEVNULL
    )


@pytest.fixture
def user(start: StartUp, database_url: str, eventually: Eventually, adb_port: int) -> User:
    return User(start("--database", database_url), eventually, adb_port)


def test_buy_use_and_change_a_server(user: User) -> None:
    server_id = user.buy("main")
    server = user.server(server_id)
    before = user.phones(server_id)
    assert len(before) == PHONES_PER_SERVER
    assert {phone.status for phone in before} == {2}
    old = user.phone(before[0].phone_id)
    serial = user.connect(old.phone_id)
    assert user.adb("-s", serial, "shell", "getprop", "ro.product.model")
    user.adb("-s", serial, "shell", f"mkdir -p /sdcard/Download && echo old > {FILE}")
    assert user.adb("-s", serial, "shell", "cat", FILE) == "old"

    answer = user.client.change_cloud_phone_server(ChangeCloudPhoneServerRequest(server_id=server_id, body=change(user.known)))
    assert answer.server_id == server_id
    assert re.fullmatch("[0-9a-f]{32}", answer.job_id)
    with pytest.raises(ClientRequestException) as second:
        user.client.change_cloud_phone_server(ChangeCloudPhoneServerRequest(server_id=server_id, body=change(user.known)))
    assert second.value.error_code == "CPS.0099"
    job = user.finish(answer.job_id)
    assert (job.status, job.error_code or "", job.server_id) == (2, "", server_id)

    after = user.server(server_id)
    assert (after.server_id, after.server_name, after.status) == (server_id, server.server_name, 5)
    assert after.phone_model_name == "kg1.cp.c20.d64SSD.e1v1"
    phones = user.phones(server_id)
    assert len(phones) == 20
    assert not {phone.phone_id for phone in phones} & {phone.phone_id for phone in before}
    with pytest.raises(ClientRequestException) as gone:
        user.phone(old.phone_id)
    assert (gone.value.status_code, gone.value.error_code) == (404, "CPS.0005")
    fresh = user.connect(phones[0].phone_id)
    assert user.adb("-s", fresh, "shell", "getprop", "sys.prop.writephonenum") == "13666666666"
    assert user.adb("-s", fresh, "shell", f"cat {FILE} 2>/dev/null || echo gone") == "gone"


@pytest.mark.parametrize("name", ["api", "gateway"])
def test_a_change_goes_on_while_a_part_is_killed_and_started_again(user: User, name: str) -> None:
    server_id = user.buy("killed")
    before = {phone.phone_id for phone in user.phones(server_id)}
    worker, killed = part(user.cph, "worker"), part(user.cph, name)
    assert worker is not None and killed is not None
    worker.suspend()  # so that the change is under way for sure when the part dies
    try:
        request = ChangeCloudPhoneServerRequest(server_id=server_id, body=change(user.known))
        job_id = user.client.change_cloud_phone_server(request).job_id
        assert user.server(server_id).status == 3
        killed.kill()
    finally:
        worker.resume()

    def back() -> bool:
        now = part(user.cph, name)
        return now is not None and now.pid != killed.pid and answers(user.cph)

    user.eventually(back, f"{name} back")
    assert user.finish(job_id).status == 2
    after = user.phones(server_id)
    assert user.server(server_id).status == 5
    assert len(after) == 20 and not before & {phone.phone_id for phone in after}

    def reached() -> bool:
        (access,) = [info for info in user.phone(after[0].phone_id).access_infos if info.type == "adb"]
        try:
            socket.create_connection((access.server_ip, access.access_port), timeout=2).close()
        except OSError:
            return False
        return True

    user.eventually(reached, "the new phones' addresses are served")
    for phone in (after[0], after[-1]):
        assert user.adb("-s", user.connect(phone.phone_id), "shell", "echo here") == "here"
    builtin = user.cph.data / "builtin"

    def generations() -> int:
        return len([home for home in builtin.iterdir() if not home.name.startswith(".")])

    user.eventually(lambda: generations() == 1, "the old generation is gone")


def test_the_detail_of_a_phone_has_every_field_of_the_page_with_its_type(user: User) -> None:
    server_id = user.buy("fields")
    user.finish(
        user.client.change_cloud_phone_server(ChangeCloudPhoneServerRequest(server_id=server_id, body=change(user.known))).job_id
    )
    phone = user.phone(user.phones(server_id)[0].phone_id)
    assert phone.phone_model_name == "kg1.cp.c20.d64SSD.e1v1"
    assert phone.image_id == "20060220200717f201120a2300000e91"
    assert re.fullmatch("[0-9]{15}", phone.imei)
    assert phone.availability_zone == "cn-east-3a"
    assert json.loads(phone._property)["sys.prop.writeimsi"] == "460021624617113"
    for moment in (phone.create_time, phone.update_time):
        age = datetime.now(UTC) - datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        assert -2 < age.total_seconds() < 120
    infos = {info.type: info for info in phone.access_infos}
    assert set(infos) == {"adb", "myServer1", "myServer2"}
    assert [infos[name].listen_port for name in ("adb", "myServer1", "myServer2")] == [5555, 20000, 20001]
    assert (infos["adb"].public_ip, infos["myServer1"].public_ip) == ("", "")
    assert infos["myServer2"].public_ip
    assert len({info.access_port for info in phone.access_infos}) == 3
    assert infos["adb"].phone_ip == infos["myServer1"].phone_ip


def test_restart_keeps_data_reset_wipes_it_and_stop_stops(user: User) -> None:
    server_id = user.buy("power")
    phone_id = user.phones(server_id)[0].phone_id
    serial = user.connect(phone_id)
    user.adb("-s", serial, "shell", f"mkdir -p /sdcard/Download && echo kept > {FILE}")

    def done(answer: Any) -> None:
        (job,) = answer.jobs
        assert not job.error_code, job
        ended = user.finish(job.job_id)
        assert (ended.status, ended.phone_id) == (2, phone_id)
        listed = user.client.list_jobs(ListJobsRequest(request_id=answer.request_id)).jobs
        assert [one.job_id for one in listed] == [job.job_id]

    def reads() -> str:
        user.adb("disconnect", serial)
        return user.adb("-s", user.connect(phone_id), "shell", f"cat {FILE} 2>/dev/null || echo gone")

    one = {"phones": [{"phone_id": phone_id}]}
    done(user.client.restart_cloud_phone(RestartCloudPhoneRequest(body=one)))
    assert reads() == "kept"
    done(user.client.stop_cloud_phone(StopCloudPhoneRequest(body={"phone_ids": [phone_id]})))
    assert user.phone(phone_id).status == 8
    done(user.client.restart_cloud_phone(RestartCloudPhoneRequest(body=one)))
    assert user.phone(phone_id).status == 2
    assert reads() == "kept"
    done(user.client.reset_cloud_phone(ResetCloudPhoneRequest(body=one)))
    assert reads() == "gone"


def test_a_deleted_server_is_not_found_and_nothing_of_it_is_left(user: User) -> None:
    server_id = user.buy("deleted")
    answer = user.client.delete_cloud_phone_server(DeleteCloudPhoneServerRequest(body={"server_ids": [server_id]}))
    assert user.finish(answer.job_id).status == 2
    with pytest.raises(ClientRequestException) as gone:
        user.server(server_id)
    assert gone.value.status_code == 404
    homes = user.cph.data / "builtin"
    user.eventually(lambda: not [home for home in homes.rglob("*") if not home.name.startswith(".")], "the phones' data gone")


def test_a_token_opens_what_the_keys_open_and_wrong_credentials_open_nothing(user: User) -> None:
    known = user.known

    def call(path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(known["endpoint"] + path, data, {"Content-Type": "application/json", **headers})
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, dict(answer.headers), json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), json.load(error)

    def token(password: str) -> tuple[int, str]:
        owner = {"name": known["user_name"], "password": password, "domain": {"name": known["domain_name"]}}
        identity = {"methods": ["password"], "password": {"user": owner}}
        scope = {"project": {"name": known["region"]}}
        status, headers, _ = call("/v3/auth/tokens", {"auth": {"identity": identity, "scope": scope}})
        found = {name.lower(): value for name, value in headers.items()}
        return status, found.get("x-subject-token", "")

    status, good = token(known["password"])
    assert status == 201
    phones = f"/v1/{known['project_id']}/cloud-phone/phones"
    status, headers, body = call(phones, **{"X-Auth-Token": good})
    assert (status, body["phones"]) == (200, [])
    assert body["request_id"] in headers.values()
    assert token("wrong")[0] == 401
    for forged in (good[:-2] + ("aa" if good[-2:] != "aa" else "bb"), "x", ""):
        status, _, body = call(phones, **{"X-Auth-Token": forged})
        assert (status, body["error_code"]) == (401, "APIGW.0301")
    status, _, body = call(f"/v1/{'0' * 32}/cloud-phone/phones", **{"X-Auth-Token": good})
    assert status == 403
    with pytest.raises(ClientRequestException) as wrong:
        user.client_with(known["access_key"], "0" * 40).list_cloud_phones(ListCloudPhonesRequest())
    assert (wrong.value.status_code, wrong.value.error_code) == (401, "APIGW.0301")


def test_a_phone_is_reached_through_an_ssh_tunnel_as_from_outside(user: User, tmp_path: Path) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("no ssh: sudo apt-get install openssh-client")
    server_id = user.buy("tunnel")
    (access,) = [info for info in user.phone(user.phones(server_id)[0].phone_id).access_infos if info.type == "adb"]
    (web,) = [info for info in user.phone(user.phones(server_id)[0].phone_id).access_infos if info.type == "web"]
    port = free_port()
    known = user.known
    command = ["ssh", "-N", "-p", str(known["ssh_port"]), "-i", known["private_key_file"], "-L", f"{port}:{access.phone_ip}:5555"]
    for option in ("StrictHostKeyChecking=no", f"UserKnownHostsFile={tmp_path}/known", "ExitOnForwardFailure=yes", "BatchMode=yes"):
        command += ["-o", option]
    tunnel = subprocess.Popen([*command, f"{known['project_id']}@{web.public_ip}"], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 15
        while True:
            assert tunnel.poll() is None, tunnel.stderr.read() if tunnel.stderr else ""
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert "connected to" in user.adb("connect", f"127.0.0.1:{port}")
        assert user.adb("-s", f"127.0.0.1:{port}", "shell", "echo through") == "through"
    finally:
        tunnel.terminate()
        tunnel.wait()


def test_the_demo_tells_the_whole_story_and_exits_0() -> None:
    if shutil.which("adb") is None:
        pytest.skip("no adb: sudo apt-get install adb")
    done = subprocess.run([sys.executable, ROOT / "demo/main_job.py"], capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for told in ("server_id stayed", "server_name stayed", "all of them are new", "the file pushed before is gone", "in all"):
        assert told in done.stdout
    assert not done.stderr
