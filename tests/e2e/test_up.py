"""`opencph up` as a process: what it makes, how it refuses, how it heals and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from huaweicloudsdkcph.v1 import (
    CphClient,
    CreateNet2CloudPhoneServerRequest,
    ListCloudPhonesRequest,
)

from api.vendor_clients import client_of
from e2e.running import PARTS, Eventually, StartUp, answers, part, processes_with, refused, server_status
from opencph.testing import PHONES_PER_SERVER, RunningCph, own_network, purchase

KEYS = {
    *("endpoint", "region", "project_id", "domain_id", "domain_name", "user_name", "password", "access_key", "secret_key"),
    *("vpc_id", "subnet_id", "keypair_name", "private_key_file", "ssh_port"),
}


def buy(cph: RunningCph, eventually: Eventually) -> str:
    client = client_of(cph, CphClient)
    request = CreateNet2CloudPhoneServerRequest(body=purchase(cph.credentials))
    server_id = str(client.create_net2_cloud_phone_server(request).server_ids[0])
    eventually(lambda: server_status(client, server_id) == 5, f"server {server_id} normal")
    return server_id


def adb_answers(cph: RunningCph, server_id: str) -> bool:
    """Every phone of the server accepts a connection on its ADB port."""
    phones = client_of(cph, CphClient).list_cloud_phones(ListCloudPhonesRequest(server_id=server_id, limit=100)).phones
    return len(phones) == PHONES_PER_SERVER and {phone.status for phone in phones} == {2}


def test_an_empty_directory_becomes_an_installation_with_secrets_for_nobody_else(start: StartUp) -> None:
    cph = start()
    assert [line for line in cph.output if line.startswith("ready ")] == [f"ready {cph.endpoint}"]
    assert set(cph.credentials) == KEYS
    assert cph.credentials["endpoint"] == cph.endpoint
    assert Path(cph.credentials["private_key_file"]).read_text().startswith("-----BEGIN")
    assert stat.S_IMODE(cph.data.stat().st_mode) == 0o700
    for file in [path for path in cph.data.iterdir() if path.is_file()]:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_second_up_on_the_same_directory_says_so_and_leaves_the_first_alone(start: StartUp) -> None:
    first = start()
    said = refused(start(wait=False))
    assert said == (
        f"opencph cannot start: another `opencph up` (process {first.process.pid}) uses {first.data}; "
        "stop it, or give another directory with --data DIR"
    )
    assert answers(first)


def test_a_taken_port_is_refused(start: StartUp) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(start("--listen", f"127.0.0.1:{port}", wait=False))
    assert said == (
        f"opencph cannot start: port {port} of 127.0.0.1 is taken by another process; stop it, or give --listen HOST:PORT"
    )


def test_a_taken_port_leaves_nothing_in_a_directory_that_was_new(start: StartUp, directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused(start("--listen", f"127.0.0.1:{taken.getsockname()[1]}", data=directory / "new", wait=False))
    assert not (directory / "new").exists()


def test_a_second_installation_on_the_same_addresses_is_refused_until_the_first_is_gone(start: StartUp, directory: Path) -> None:
    first = start()
    said = refused(start(data=directory / "second", wait=False))
    assert said.startswith(
        f"opencph cannot start: another OpenCPH (process {first.process.pid}) on this machine uses the addresses "
    )
    assert "OPENCPH_NETWORK=127." in said
    environment = {**os.environ, "OPENCPH_NETWORK": first.network}
    command = [sys.executable, "-m", "opencph", "doctor", "--data", str(directory / "second"), "--json"]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=False, env=environment).stdout)
    (found,) = [finding for finding in told["findings"] if finding["name"] == "addresses"]
    assert found["state"] == "missing" and f"process {first.process.pid}" in found["found"]
    for alone in ("worker", "gateway"):
        done = subprocess.run(
            [sys.executable, "-m", "opencph", alone, "--data", str(directory / "second")],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert done.returncode == 1 and "OPENCPH_NETWORK=127." in done.stderr
    first.process.kill()
    first.process.wait()
    second = start(data=directory / "second")
    assert answers(second)
    assert second.stop() == 0
    assert start().stop() == 0  # and what the killed one left of itself ends with its next stop


def test_an_address_of_another_machine_is_refused(start: StartUp) -> None:
    said = refused(start("--listen", "192.0.2.1:8580", wait=False))
    assert "192.0.2.1 is not an address of this machine" in said


def test_a_directory_that_cannot_be_is_refused(start: StartUp, directory: Path) -> None:
    (directory / "file").write_text("")
    said = refused(start(data=directory / "file" / "data", wait=False))
    assert said.startswith(f"opencph cannot start: cannot write in the data directory {directory}/file/data: ")


def test_a_database_that_is_not_there_is_refused(start: StartUp) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"postgresql://opencph@127.0.0.1:{nobody.getsockname()[1]}/opencph"
        said = refused(start("--database", url, wait=False))
    assert said.startswith("opencph cannot start: the database cannot be reached")


def test_a_file_that_is_no_database_is_refused(start: StartUp, directory: Path) -> None:
    (directory / "data").mkdir()
    (directory / "data" / "opencph.db").write_bytes(b"This is not a database. " * 500)
    assert "the database cannot be used" in refused(start(wait=False))


def test_a_setting_that_cannot_be_used_is_refused(start: StartUp) -> None:
    said = refused(start(ssh_port="many", wait=False), status=2)
    assert said == "opencph: ssh_port = 'many' (in OPENCPH_SSH_PORT): give a whole number, 1 to 65535"


def test_a_full_disk_is_refused(start: StartUp, directory: Path) -> None:
    place = directory / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "none", place], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small file system: {mounted.stderr.strip()}")
    try:
        said = refused(start(data=place / "data", wait=False))
        assert "no space left" in said.lower()
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_parts_and_phones_and_exits_0(start: StartUp, eventually: Eventually, number: signal.Signals) -> None:
    cph = start()
    buy(cph, eventually)
    assert len(processes_with(cph.data)) >= 5, "up, api, worker, gateway, and what carries the phones"
    cph.process.send_signal(number)
    assert cph.process.wait(15) == 0
    assert not processes_with(cph.data)


def test_a_part_that_does_not_stop_is_killed_at_the_second_signal(start: StartUp, eventually: Eventually) -> None:
    cph = start()
    stuck = part(cph, "api")
    assert stuck is not None
    stuck.suspend()
    cph.process.terminate()
    eventually(lambda: part(cph, "worker") is None, "the others have ended")
    assert cph.process.poll() is None
    cph.process.terminate()
    assert cph.process.wait(5) == 0
    cph.stop()  # all that it said is read
    assert any("the api did not stop; killed" in line for line in cph.output)
    assert not processes_with(cph.data)


def test_after_a_stop_the_next_start_brings_the_phones_back(start: StartUp, eventually: Eventually) -> None:
    cph = start()
    server_id = buy(cph, eventually)
    assert cph.stop() == 0
    again = start()
    eventually(lambda: server_status(client_of(again, CphClient), server_id) == 5 and adb_answers(again, server_id), "phones back")


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_is_killed_is_started_again(start: StartUp, eventually: Eventually, name: str) -> None:
    cph = start()
    server_id = buy(cph, eventually)
    killed = part(cph, name)
    assert killed is not None
    before = len(cph.output)
    killed.kill()

    def healed() -> bool:
        now = part(cph, name)
        return now is not None and now.pid != killed.pid and any(f"the {name} is ready" in line for line in cph.output[before:])

    eventually(healed, f"{name} back")
    eventually(lambda: answers(cph), "the endpoint answers where it did")
    assert any(f"the {name} was killed by signal 9; starting it again" in line for line in cph.output)
    assert adb_answers(cph, server_id)
    assert cph.stop() == 0


def test_a_part_that_keeps_dying_is_started_again_with_growing_pauses(start: StartUp, eventually: Eventually) -> None:
    cph = start()
    for pause in ("starting it again", "in 0.5 s", "in 1 s"):
        child: list[psutil.Process | None] = [None]

        def there(child: list[psutil.Process | None] = child) -> bool:
            child[0] = part(cph, "gateway")
            return child[0] is not None

        eventually(there, "a gateway")
        assert child[0] is not None
        before = len(cph.output)
        child[0].kill()
        eventually(
            lambda pause=pause, before=before: any(pause in line for line in cph.output[before:]),  # type: ignore[misc]
            pause,
        )


def test_when_up_itself_is_killed_its_parts_end_and_the_next_takes_the_phones_over(start: StartUp, eventually: Eventually) -> None:
    cph = start()
    server_id = buy(cph, eventually)
    parts = [child.pid for child in psutil.Process(cph.process.pid).children()]
    hosts = {process.pid for process in processes_with(cph.data)} - {cph.process.pid, *parts}
    assert hosts, "phones live in processes of their own"
    cph.process.kill()
    cph.process.wait()
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in parts), "api, worker and gateway ended")
    assert all(psutil.pid_exists(pid) for pid in hosts)

    again = start()
    eventually(lambda: server_status(client_of(again, CphClient), server_id) == 5 and adb_answers(again, server_id), "phones")
    assert all(psutil.pid_exists(pid) for pid in hosts), "adopted, not replaced"
    assert again.stop() == 0
    assert not processes_with(cph.data)


def test_status_says_what_runs_and_doctor_what_could(start: StartUp, eventually: Eventually) -> None:
    cph = start()
    server_id = buy(cph, eventually)
    command = [sys.executable, "-m", "opencph"]
    done = subprocess.run([*command, "status", "--data", cph.data, "--json"], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert {process["kind"] for process in told["processes"]} == set(PARTS)
    assert told["phones"] == {"running": PHONES_PER_SERVER}
    assert [server["server_id"] for server in told["newest_servers"]] == [server_id]
    assert any(used["used"] == PHONES_PER_SERVER for used in told["quota"])
    shown = subprocess.run([*command, "status", "--data", cph.data], capture_output=True, text=True, check=True).stdout
    assert server_id in shown
    assert f"{PHONES_PER_SERVER}/{PHONES_PER_SERVER} running" in shown
    found = subprocess.run([*command, "doctor", "--data", cph.data, "--json"], capture_output=True, text=True, check=False)
    assert (found.returncode == 0) == json.loads(found.stdout)["can_run_builtin"]


def test_status_of_a_directory_where_nothing_was_started_says_so(directory: Path) -> None:
    command = [sys.executable, "-m", "opencph", "status", "--data", str(directory / "none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == f"nothing has been started with {directory}/none yet: opencph up --data {directory}/none"
    assert not (directory / "none").exists()


@pytest.mark.parametrize("name", PARTS)
def test_each_part_runs_alone(directory: Path, name: str) -> None:
    options = ["--listen", "127.0.0.1:0"] if name == "api" else []
    with own_network() as network:
        process = subprocess.Popen(
            [sys.executable, "-m", "opencph", name, "--data", str(directory / "data"), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OPENCPH_NETWORK": network.replace("/16", "/20")},
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("ready http://127.0.0.1:" if name == "api" else f"ready {name}")
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0
        finally:
            process.kill()
            process.wait()
            deadline = time.monotonic() + 5
            while (left := processes_with(directory)) and time.monotonic() < deadline:
                for one in left:  # a worker alone leaves its zygote for the next one
                    one.kill()
                time.sleep(0.05)
