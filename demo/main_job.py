"""The main job, told on the terminal: buy a cloud phone server, use its phones, change the server. `make demo` runs it.

The client is the vendor's own SDK, unmodified, with AK/SK; the adb is the machine's own. Exits 1 and names what was not as
it must be.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException, SdkException
from huaweicloudsdkcph.v1 import (
    ChangeCloudPhoneServerRequest,
    CphClient,
    CreateNet2CloudPhoneServerRequest,
    ListCloudPhonesRequest,
    ShowCloudPhoneDetailRequest,
    ShowCloudPhoneServerDetailRequest,
    ShowJobRequest,
)
from rich.table import Table

from opencph.testing import PHONES_PER_SERVER, RunningCph, UpError, change, opencph_up, purchase

sys.path.insert(0, str(Path(__file__).parent))
from stage import Adb, DemoError, Stage

SERVER_NORMAL, PHONE_RUNNING = 5, 2
JOB_SUCCEEDED, JOB_FAILED = 2, -1
PHONES_BOUGHT, PHONES_CHANGED = PHONES_PER_SERVER, 20
WAIT_SECONDS = 60.0
FILE_BYTES = 4 * 1024 * 1024
REMOTE = "/sdcard/Download/holiday.bin"


class Story:
    """The acts, in order; each leaves what the next needs."""

    def __init__(self, stage: Stage, cph: RunningCph, adb: Adb) -> None:
        self.stage, self.cph, self.adb = stage, cph, adb
        self.credentials = cph.credentials
        keys = BasicCredentials(self.credentials["access_key"], self.credentials["secret_key"], self.credentials["project_id"])
        self.client = CphClient.new_builder().with_credentials(keys).with_endpoint(cph.endpoint).build()

    def buy(self) -> None:
        """Buy a server and wait until it is normal and all phones run."""
        stage = self.stage
        stage.chapter("Buy a cloud phone server")
        body = purchase(self.credentials, "demo")
        stage.say("client.create_net2_cloud_phone_server(...)  [dim]huaweicloudsdkcph, AK/SK[/]")
        stage.fact("flavor", f"{body['phone_model_name']}: {PHONES_BOUGHT} phones on {body['server_model_name']}")
        with stage.timed(f"buy: call to {PHONES_BOUGHT} running phones"):
            bought = self.client.create_net2_cloud_phone_server(CreateNet2CloudPhoneServerRequest(body=body))
            self.server_id = bought.server_ids[0]
            self._wait_for_server("phones running", PHONES_BOUGHT)
        server = self.client.show_cloud_phone_server_detail(ShowCloudPhoneServerDetailRequest(server_id=self.server_id))
        self.server_name = server.server_name
        stage.fact("server_id", self.server_id)
        stage.fact("server_name", self.server_name)
        stage.fact("order_id", bought.order_id)
        stage.fact("addresses", ", ".join(f"{one.public_ip} public, {one.server_ip} private" for one in server.addresses))
        stage.expect("the server is normal (status 5)", server.status, SERVER_NORMAL)

    def phones(self) -> list[Any]:
        """All phones of the server."""
        return list(self.client.list_cloud_phones(ListCloudPhonesRequest(server_id=self.server_id, limit=100)).phones)

    def _wait_for_server(self, text: str, count: int) -> None:
        def look() -> tuple[int, bool]:
            running = sum(phone.status == PHONE_RUNNING for phone in self.phones())
            server = self.client.show_cloud_phone_server_detail(ShowCloudPhoneServerDetailRequest(server_id=self.server_id))
            if server.status == 2:
                raise DemoError(f"server {self.server_id} is abnormal (status 2)")
            return running, running == count and server.status == SERVER_NORMAL

        self.stage.wait(text, count, look, WAIT_SECONDS)

    def look_at_phones(self) -> None:
        """List the phones and read one in full."""
        stage = self.stage
        stage.chapter("List its phones, read one")
        phones = self.phones()
        self.old_phone_ids = {phone.phone_id for phone in phones}
        stage.expect(f"{PHONES_BOUGHT} phones are listed", len(self.old_phone_ids), PHONES_BOUGHT)
        first = min(phones, key=lambda phone: str(phone.phone_name))
        self.phone = self._show(first.phone_id)
        stage.expect("the phone runs (status 2)", self.phone.status, PHONE_RUNNING)

    def _show(self, phone_id: str) -> Any:
        phone = self.client.show_cloud_phone_detail(ShowCloudPhoneDetailRequest(phone_id=phone_id))
        for name in ("phone_name", "phone_id", "phone_model_name", "image_version", "imei", "availability_zone", "create_time"):
            self.stage.fact(name, getattr(phone, name))
        table = Table("port", "in the phone", "private access", "public access", box=None, padding=(0, 2))
        for info in phone.access_infos:
            public = f"{info.public_ip}:{info.access_port}" if info.public_ip else "–"
            table.add_row(info.type, f"{info.phone_ip}:{info.listen_port}", f"{info.server_ip}:{info.access_port}", public)
        self.stage.console.print(table)
        return phone

    def connect(self, phone: Any) -> str:
        """`adb connect` to a phone's private access address; returns the serial."""
        info = next(info for info in phone.access_infos if info.type == "adb")
        serial = f"{info.server_ip}:{info.access_port}"
        said = self._adb("connect", serial)
        if "connected to" not in said:
            raise DemoError(f"adb connect {serial}: {said}")
        return serial

    def _adb(self, *arguments: str, show: bool = True) -> str:
        if show:
            self.stage.say(f"[cyan]$ adb {' '.join(arguments)}[/]")
        said = self.adb(*arguments)
        if show:
            for line in said.splitlines()[:6]:
                self.stage.say(f"  [dim]{line.strip()}[/]")
        return said

    def use(self) -> None:
        """A stock adb: connect, properties, shell, push, pull."""
        stage = self.stage
        stage.chapter("Use the phone with the stock adb")
        with stage.timed("adb: connect, shell, push, pull"):
            self.serial = self.connect(self.phone)
            model = self._adb("-s", self.serial, "shell", "getprop", "ro.product.model")
            if not model:
                raise DemoError("getprop ro.product.model: empty")
            self._adb("-s", self.serial, "shell", "echo hello from $(hostname); id -un; ls -d /data /sdcard /system")
            with tempfile.TemporaryDirectory() as directory:
                here, back = Path(directory) / "holiday.bin", Path(directory) / "back.bin"
                here.write_bytes(secrets.token_bytes(FILE_BYTES))
                self._adb("-s", self.serial, "push", str(here), REMOTE, show=False)
                self._adb("-s", self.serial, "pull", REMOTE, str(back), show=False)
                stage.expect(
                    f"{FILE_BYTES >> 20} MiB pushed to {REMOTE} and pulled back are the same (SHA-256)",
                    hashlib.sha256(back.read_bytes()).hexdigest(),
                    hashlib.sha256(here.read_bytes()).hexdigest(),
                )

    def change(self) -> None:
        """Change the server with the documentation's example body, and follow the job."""
        stage = self.stage
        stage.chapter("Change the server")
        body = change(self.credentials)
        stage.say("client.change_cloud_phone_server(...)  [dim]the example request of the documentation, our ids filled in[/]")
        stage.fact("from", f"{PHONES_BOUGHT} phones of {self.phone.phone_model_name}")
        stage.fact("to", f"{PHONES_CHANGED} phones of {body['phone_model_name']}, ports 20000 and 20001, properties")
        with stage.timed("change: call to job success"):
            answer = self.client.change_cloud_phone_server(ChangeCloudPhoneServerRequest(server_id=self.server_id, body=body))
            stage.fact("job_id", answer.job_id)
            self._old_phone_serves()

            def look() -> tuple[int, bool]:
                job = self.client.show_job(ShowJobRequest(job_id=answer.job_id))
                if job.status == JOB_FAILED:
                    raise DemoError(f"job {answer.job_id} failed: {job.error_code} {job.error_msg}")
                return int(job.status == JOB_SUCCEEDED), bool(job.status == JOB_SUCCEEDED)

            stage.wait("job", 1, look, WAIT_SECONDS)

    def _old_phone_serves(self) -> None:
        """The old phone answers for as long as the server points at it."""
        try:
            still = self.adb("-s", self.serial, "shell", "ls", REMOTE)
        except DemoError:
            if {phone.phone_id for phone in self.phones()} & self.old_phone_ids:
                raise
            self.stage.say("[dim]the new phones took over before one adb command could reach an old one[/]")
        else:
            self.stage.expect("while the change runs, the old phone still serves", still, REMOTE)

    def after(self) -> None:
        """Same server, new phones, nothing of the old data."""
        stage = self.stage
        stage.chapter("Afterwards")
        server = self.client.show_cloud_phone_server_detail(ShowCloudPhoneServerDetailRequest(server_id=self.server_id))
        stage.expect("server_id stayed", server.server_id, self.server_id)
        stage.expect("server_name stayed", server.server_name, self.server_name)
        stage.expect("the server is normal again (status 5)", server.status, SERVER_NORMAL)
        phones = self.phones()
        stage.expect(f"it has {PHONES_CHANGED} phones", len(phones), PHONES_CHANGED)
        stage.expect("all of them are new", {phone.phone_id for phone in phones} & self.old_phone_ids, set())
        stage.expect("all of them run", {phone.status for phone in phones}, {PHONE_RUNNING})
        try:
            self.client.show_cloud_phone_detail(ShowCloudPhoneDetailRequest(phone_id=self.phone.phone_id))
            gone = "still there"
        except ClientRequestException as error:
            gone = error.error_code
        stage.expect("the old phone is not found (CPS.0005)", gone, "CPS.0005")
        phone = self._show(min(phones, key=lambda phone: str(phone.phone_name)).phone_id)
        serial = self.connect(phone)
        number = self._adb("-s", serial, "shell", "getprop", "sys.prop.writephonenum")
        stage.expect("the phone has the property of the request", number, json.loads(phone._property)["sys.prop.writephonenum"])
        left = self.adb("-s", serial, "shell", f"ls {REMOTE} 2>/dev/null || echo gone")
        stage.expect("the file pushed before is gone", left, "gone")


def main() -> int:
    """Tell the story. Returns the exit status."""
    parser = argparse.ArgumentParser(description="The main job, told on the terminal.")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="also write it as an SVG file")
    stage = Stage(parser.parse_args().picture)
    stage.console.print("[bold]OpenCPH[/]: the Huawei Cloud CPH API, and phones that run, on this machine")
    start = time.monotonic()
    try:
        adb = Adb()
        stage.chapter("Start on an empty directory")
        stage.say("[cyan]$ opencph up[/]")
        with opencph_up() as cph:
            stage.times.append(("up: start to ready", cph.ready_seconds))
            stage.fact("endpoint", cph.endpoint)
            stage.fact("credentials", cph.data / "credentials.json")
            try:
                story = Story(stage, cph, adb)
                acts: list[Callable[[], None]] = [story.buy, story.look_at_phones, story.use, story.change, story.after]
                for act in acts:
                    act()
            except BaseException:
                _show_log(stage, cph)
                raise
            finally:
                adb.close()
            with stage.timed("stop: everything ended"):
                status = cph.stop()
            stage.expect("opencph ended cleanly", status, 0)
    except (DemoError, UpError, SdkException) as error:
        stage.console.print(f"\n[red bold]Not as it must be:[/] {error}", markup=True)
        return 1
    stage.chapter("Done")
    for what, seconds in stage.times:
        stage.say(f"{seconds:6.2f} s  {what}")
    stage.say(f"{time.monotonic() - start:6.2f} s  in all")
    stage.save_picture()
    stage.console.print("\nNow yours: [bold]make up[/], and docs/quickstart.md\n")
    return 0


def _show_log(stage: Stage, cph: RunningCph) -> None:
    for line in cph.output[-15:]:
        stage.console.print(f"  [dim]opencph: {line}[/]", markup=True)


if __name__ == "__main__":
    sys.exit(main())
