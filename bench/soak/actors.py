"""What the clients of a soak do, each in a thread of its own, over and over: buy, change, restart, command, push, tunnel, read."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import shutil
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcph import v1 as sdk

from bench.openssh import free_port
from bench.soak.record import Record
from opencph.testing import RunningCph, change, purchase

POLL_SECONDS = 0.05
JOB_SECONDS = 90.0
ADB_SECONDS = 60.0
PUSH_BYTES = 4 << 20
KEPT = "/sdcard/Download/kept.bin"


class SoakError(Exception):
    """Something that was promised did not come."""


class World:
    """One installation, its users' tools and the servers that stand for the whole soak."""

    def __init__(self, cph: RunningCph, record: Record, directory: Path, seconds: float) -> None:
        self.cph, self.record, self.directory = cph, record, directory
        self.known = cph.credentials
        self.deadline = time.monotonic() + seconds
        self.over = threading.Event()
        self.kept: dict[str, str] = {}  # phone id -> SHA-256 of the file that must be there at the end

    @property
    def running(self) -> bool:
        return not self.over.is_set() and time.monotonic() < self.deadline

    def client(self) -> sdk.CphClient:
        """A client of the vendor's SDK, with connections of its own."""
        keys = BasicCredentials(self.known["access_key"], self.known["secret_key"], self.known["project_id"])
        return sdk.CphClient.new_builder().with_credentials(keys).with_endpoint(self.cph.endpoint).build()

    def until(self, what: str, holds: Callable[[], bool], seconds: float = JOB_SECONDS) -> None:
        """Raises SoakError when it does not come to hold."""
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise SoakError(f"not within {seconds:g} s: {what}")
            time.sleep(POLL_SECONDS)


class User:
    """One user with a client of the SDK: what most actors do."""

    def __init__(self, world: World) -> None:
        self.world, self.record = world, world.record
        self.cph = world.client()

    def server(self, server_id: str) -> Any:
        return self.cph.show_cloud_phone_server_detail(sdk.ShowCloudPhoneServerDetailRequest(server_id=server_id))

    def phones(self, server_id: str) -> list[Any]:
        found = self.cph.list_cloud_phones(sdk.ListCloudPhonesRequest(server_id=server_id, limit=100)).phones
        return sorted(found, key=lambda phone: str(phone.phone_name))

    def buy(self, name: str) -> str:
        """A server that runs. Raises SoakError."""
        body = purchase(self.world.known, name)
        bought = self.record.call("buy", self.cph.create_net2_cloud_phone_server, sdk.CreateNet2CloudPhoneServerRequest(body=body))
        if bought is None:
            raise SoakError("a purchase was refused")
        (server_id,) = bought.server_ids
        self.wait_for_server(server_id)
        return str(server_id)

    def wait_for_server(self, server_id: str) -> None:
        def normal() -> bool:
            status = self.server(server_id).status
            if status == 2:
                raise SoakError(f"server {server_id} is abnormal: {self.why()}")
            return bool(status == 5)

        self.world.until(f"server {server_id} is normal", normal)
        states = {phone.status for phone in self.phones(server_id)}
        if states != {2}:
            raise SoakError(f"server {server_id} is normal and its phones read {states}")

    def why(self) -> list[str]:
        """What the jobs say that failed last."""
        log = self.world.cph.data / "logs" / "opencph.log"
        return [line for line in log.read_text().splitlines() if "fail" in line or "error" in line][-3:]

    def finish(self, what: str, *job_ids: str) -> None:
        """Jobs that must end in success."""
        self.record.accepted(*job_ids)
        for job_id in job_ids:
            found: list[Any] = []

            def ended(job_id: str = job_id, found: list[Any] = found) -> bool:
                found[:] = [self.cph.show_job(sdk.ShowJobRequest(job_id=job_id))]
                return bool(found[0].status != 1)

            self.world.until(f"{what}: job {job_id} ends", ended)
            if found[0].status != 2:
                self.record.fail(f"{what}: job {job_id} failed: {found[0].error_code} {found[0].error_msg}")

    def change(self, server_id: str) -> None:
        request = sdk.ChangeCloudPhoneServerRequest(server_id=server_id, body=change(self.world.known))
        before = {phone.phone_id for phone in self.phones(server_id)}
        answer = self.record.call("change", self.cph.change_cloud_phone_server, request)
        if answer is not None:
            second = self.record.call("change a server that changes", self.cph.change_cloud_phone_server, request)
            # Between the swap and the end of its job the server is normal again, and may be changed again.
            if second is not None and before & {phone.phone_id for phone in self.phones(server_id)}:
                self.record.fail("change a server that changes: was accepted before the first change had swapped")
            for accepted in (answer, *([second] if second is not None else [])):  # each to its end
                self.finish("change", accepted.job_id)
            self.wait_for_server(server_id)

    def power(self, what: str, call: Callable[[Any], Any], request: Any) -> None:
        answer = self.record.call(what, call, request)
        if answer is not None:
            for job in answer.jobs:
                if job.error_code:
                    self.record.fail(f"{what}: phone {job.phone_id}: {job.error_code} {job.error_msg}")
            self.finish(what, *(job.job_id for job in answer.jobs if job.job_id))

    def access(self, phone_id: str, name: str) -> Any:
        infos = self.cph.show_cloud_phone_detail(sdk.ShowCloudPhoneDetailRequest(phone_id=phone_id)).access_infos
        return next(info for info in infos if info.type == name)


class Actor(User, ABC):
    """A user who does the same again and again."""

    def __init__(self, world: World, number: int) -> None:
        super().__init__(world)
        self.name = f"{type(self).__name__.lower()}-{number}"
        self.random = random.Random(self.name)

    def run(self) -> None:
        """Act until the time is up."""
        try:
            self.begin()
            while self.world.running:
                self.act()
        except Exception:
            self.record.broken(self.name)
        finally:
            self.end()

    def begin(self) -> None:
        """Once, before the first `act`."""

    @abstractmethod
    def act(self) -> None:
        """One round."""

    def end(self) -> None:
        """Once, after the last."""


class Trader(Actor):
    """Buys a server, changes it, and deletes it."""

    def act(self) -> None:
        server_id = self.buy(f"{self.name}-{self.random.getrandbits(32):08x}")
        before = {phone.phone_id for phone in self.phones(server_id)}
        self.change(server_id)
        if before & {phone.phone_id for phone in self.phones(server_id)}:
            self.record.fail(f"{self.name}: a phone survived a change")
        request = sdk.DeleteCloudPhoneServerRequest(body={"server_ids": [server_id]})
        answer = self.record.call("delete", self.cph.delete_cloud_phone_server, request)
        if answer is not None:
            self.finish("delete", answer.job_id)


class Power(Actor):
    """Has a server of its own, whose phones it restarts, stops and resets."""

    def begin(self) -> None:
        self.server_id = self.buy(self.name)
        self.ids = [str(phone.phone_id) for phone in self.phones(self.server_id)]

    def act(self) -> None:
        some = self.random.sample(self.ids, self.random.randint(1, len(self.ids)))
        phones = {"phones": [{"phone_id": phone_id} for phone_id in some]}
        kind = self.random.choice(("restart", "restart", "reset", "stop"))
        if kind == "reset":
            self.power("reset", self.cph.reset_cloud_phone, sdk.ResetCloudPhoneRequest(body=phones))
            return
        if kind == "stop":
            self.power("stop", self.cph.stop_cloud_phone, sdk.StopCloudPhoneRequest(body={"phone_ids": some}))
        self.power("restart", self.cph.restart_cloud_phone, sdk.RestartCloudPhoneRequest(body=phones))


class Commander(Actor):
    """Runs commands in all phones of a server of its own, and reads what they print."""

    def begin(self) -> None:
        self.server_id = self.buy(self.name)

    def act(self) -> None:
        word = f"w{self.random.getrandbits(64):x}"
        body = sdk.RunShellCommandRequestBody(command="shell", content=f"echo {word}", server_ids=[self.server_id])
        answer = self.record.call("command", self.cph.run_shell_command, sdk.RunShellCommandRequest(body=body))
        if answer is None:
            return
        ids = [str(job.job_id) for job in answer.jobs if job.job_id]
        if len(ids) != len(answer.jobs):
            self.record.fail(f"command: not accepted for every phone: {answer.jobs}")
        self.finish("command", *ids)
        said = {self.cph.show_job(sdk.ShowJobRequest(job_id=job_id)).execute_msg for job_id in ids}
        if said != {f"{word}\n"}:
            self.record.fail(f"command: printed {said}, not {word}")
        phone = self.random.choice(self.phones(self.server_id))
        at_once = sdk.RunSyncCommandRequestBody(command="shell", content=f"echo {word}", phone_ids=[phone.phone_id])
        found = self.record.call("command at once", self.cph.run_sync_command, sdk.RunSyncCommandRequest(body=at_once))
        if found is not None and [job.execute_msg for job in found.jobs] != [f"{word}\n"]:
            self.record.fail(f"command at once: {found.jobs}")


class _AdbActor(Actor):
    """Has a server, and an adb server of its own."""

    def begin(self) -> None:
        self.server_id = self.buy(self.name)
        self.ids = [str(phone.phone_id) for phone in self.phones(self.server_id)]
        self.environment = {**os.environ, "ANDROID_ADB_SERVER_PORT": str(free_port())}

    def adb(self, *arguments: str) -> str:
        done = subprocess.run(
            ["adb", *arguments], capture_output=True, text=True, timeout=ADB_SECONDS, env=self.environment, check=False
        )
        if done.returncode:
            raise SoakError(f"adb {' '.join(arguments)}: {done.stdout} {done.stderr}")
        return done.stdout.strip()

    def end(self) -> None:
        if hasattr(self, "environment"):
            subprocess.run(["adb", "kill-server"], env=self.environment, check=False, stderr=subprocess.DEVNULL)


class Pusher(_AdbActor):
    """Pushes files through the port mappings, with stock adb, and pulls them back."""

    def act(self) -> None:
        phone_id = self.random.choice(self.ids)
        access = self.access(phone_id, "adb")
        serial = f"{access.server_ip}:{access.access_port}"
        self.adb("connect", serial)
        file, back = self.world.directory / f"{self.name}.bin", self.world.directory / f"{self.name}.back"
        file.write_bytes(self.random.randbytes(self.random.randint(0, PUSH_BYTES)))
        self.adb("-s", serial, "push", str(file), KEPT)
        self.adb("-s", serial, "pull", KEPT, str(back))
        self.adb("disconnect", serial)
        if file.read_bytes() != back.read_bytes():
            self.record.fail(f"push: phone {phone_id} gave other bytes back")
        self.world.kept[phone_id] = hashlib.sha256(file.read_bytes()).hexdigest()
        self.record.count("push and pull")


class Tunneller(_AdbActor):
    """Opens SSH tunnels with OpenSSH's client and speaks ADB through them."""

    def act(self) -> None:
        phone_id = self.random.choice(self.ids)
        known, port = self.world.known, free_port()
        access, public = self.access(phone_id, "adb"), self.access(phone_id, "web").public_ip
        command = ["ssh", "-F", "none", "-N", "-p", str(known["ssh_port"]), "-i", known["private_key_file"]]
        for option in ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ExitOnForwardFailure=yes", "BatchMode=yes"):
            command += ["-o", option]
        command += ["-o", "LogLevel=ERROR", "-L", f"{port}:{access.phone_ip}:5555", f"{known['project_id']}@{public}"]
        tunnel = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:

            def listens() -> bool:
                if tunnel.poll() is not None:
                    raise SoakError(f"ssh ended: {tunnel.stderr.read() if tunnel.stderr else ''}")
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", port)) == 0

            self.world.until("the tunnel listens", listens, 30.0)
            serial = f"127.0.0.1:{port}"
            self.adb("connect", serial)
            if self.adb("-s", serial, "shell", "echo through") != "through":
                self.record.fail("tunnel: the shell printed something else")
            self.adb("disconnect", serial)
            self.record.count("tunnel")
        finally:
            tunnel.terminate()
            tunnel.wait()
            if tunnel.stderr:
                tunnel.stderr.close()


class Reader(Actor):
    """Reads with the SDK whatever there is; and asks for what there is not."""

    def act(self) -> None:
        phones = self.record.read("list phones", self.cph.list_cloud_phones, sdk.ListCloudPhonesRequest(limit=100))
        self.record.read("list servers", self.cph.list_cloud_phone_servers, sdk.ListCloudPhoneServersRequest(limit=100))
        stable = list(self.world.kept)
        if stable:
            request = sdk.ShowCloudPhoneDetailRequest(phone_id=self.random.choice(stable))
            self.record.read("show a phone", self.cph.show_cloud_phone_detail, request)
        jobs = list(self.record.jobs)[-20:]
        if jobs:
            self.record.read("show a job", self.cph.show_job, sdk.ShowJobRequest(job_id=self.random.choice(jobs)))
        if phones is not None and len({phone.phone_id for phone in phones.phones}) != len(phones.phones):
            self.record.fail("list phones: a phone is listed twice")
        nobody = sdk.ShowCloudPhoneDetailRequest(phone_id="f" * 32)
        self.record.must_refuse("show a phone that is none", self.cph.show_cloud_phone_detail, nobody)
        none = sdk.ChangeCloudPhoneServerRequest(server_id="f" * 32, body=change(self.world.known))
        self.record.must_refuse("change a server that is none", self.cph.change_cloud_phone_server, none)


class Poller(Actor):
    """Reads one phone over one kept connection with a token, as fast as half the time allows: the plain HTTP of p99."""

    def begin(self) -> None:
        known = self.world.known
        owner = {"name": known["user_name"], "password": known["password"], "domain": {"name": known["domain_name"]}}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": owner}},
                "scope": {"project": {"name": known["region"]}},
            }
        }
        self.http = http.client.HTTPConnection(urlsplit(self.world.cph.endpoint).netloc, timeout=30)
        self.http.request("POST", "/v3/auth/tokens", json.dumps(body), {"Content-Type": "application/json"})
        answer = self.http.getresponse()
        answer.read()
        if answer.status != 201:
            raise SoakError(f"no token: {answer.status}")
        self.token = answer.headers["X-Subject-Token"]

    def act(self) -> None:
        stable = list(self.world.kept)
        if not stable:
            time.sleep(POLL_SECONDS)
            return
        path = f"/v1/{self.world.known['project_id']}/cloud-phone/phones/{self.random.choice(stable)}"
        status = self.record.read("GET a phone, plain HTTP", self._get, path)
        if status != 200:
            self.record.fail(f"GET a phone: status {status}")
        time.sleep(0.002)

    def _get(self, path: str) -> int:
        self.http.request("GET", path, headers={"X-Auth-Token": self.token})
        answer = self.http.getresponse()
        answer.read()
        return answer.status

    def end(self) -> None:
        if hasattr(self, "http"):
            self.http.close()


#: who acts, and how many of each
CAST: tuple[tuple[type[Actor], int], ...] = (
    (Trader, 2),
    (Power, 1),
    (Commander, 1),
    (Pusher, 1),
    (Tunneller, 1),
    (Reader, 1),
    (Poller, 1),
)


def missing_tools() -> list[str]:
    """The programs that are needed and are not there."""
    return [name for name in ("adb", "ssh") if shutil.which(name) is None]
