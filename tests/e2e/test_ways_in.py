"""The ways to a phone follow what a user does through the vendor's SDK: bandwidth, key pairs, stop, restart, delete."""

from __future__ import annotations

import asyncio
import shutil
import socket
import struct
import subprocess
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from huaweicloudsdkcph import v1 as cph

from api.vendor_clients import client_of
from e2e.running import Eventually, StartUp, free_port
from handset.one_phone import need_sandbox
from opencph.adb import client as adb_client
from opencph.testing import RunningCph, purchase

SECONDS = 30.0

if shutil.which("ssh") is None:
    pytest.skip("no ssh: install openssh-client", allow_module_level=True)


class User:
    """The SDK, and ways to look at a server's ports."""

    def __init__(self, running: RunningCph, eventually: Eventually) -> None:
        self.running, self.eventually = running, eventually
        self.known = running.credentials
        self.client = client_of(running, cph.CphClient)

    def buy(self, **changed: Any) -> tuple[str, Any]:
        """A server, and the detail of its first phone."""
        body = purchase(self.known, "ways") | changed
        (server_id,) = self.client.create_net2_cloud_phone_server(cph.CreateNet2CloudPhoneServerRequest(body=body)).server_ids
        self.eventually(lambda: self.server(server_id).status == 5, "server normal")
        phones = self.client.list_cloud_phones(cph.ListCloudPhonesRequest(server_id=server_id, limit=100)).phones
        first = min(phones, key=lambda phone: str(phone.phone_name))
        return str(server_id), self.client.show_cloud_phone_detail(cph.ShowCloudPhoneDetailRequest(phone_id=first.phone_id))

    def server(self, server_id: str) -> Any:
        return self.client.show_cloud_phone_server_detail(cph.ShowCloudPhoneServerDetailRequest(server_id=server_id))

    def public_ip(self, server_id: str) -> str:
        return str(self.server(server_id).addresses[0].public_ip)

    def finish(self, jobs: list[Any]) -> None:
        for job in jobs:
            self.eventually(partial(self._ended, job.job_id), f"job {job.job_id} ended")
            done = self._job(job.job_id)
            assert done.status == 2, (done.error_code, done.error_msg, self.running.output)

    def _ended(self, job_id: str) -> bool:
        return bool(self._job(job_id).status != 1)

    def _job(self, job_id: str) -> Any:
        return self.client.show_job(cph.ShowJobRequest(job_id=job_id))

    def ssh(self, server_id: str, key: Path, *arguments: str) -> list[str]:
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "IdentitiesOnly=yes", "BatchMode=yes")
        flags = [part for option in options for part in ("-o", option)]
        place = f"{self.known['project_id']}@{self.public_ip(server_id)}"
        return ["ssh", "-F", "none", *flags, "-i", str(key), "-p", str(self.known["ssh_port"]), *arguments, place]


@pytest.fixture
def user(start: StartUp, database_url: str, eventually: Eventually) -> User:
    return User(start("--database", database_url), eventually)


def _greets(place: tuple[str, int]) -> bool:
    """Whether the phone's adb answers there: its first packet."""
    connect = struct.pack("<4s4I4s", b"CNXN", 0x0100_0001, 4096, 7, 0, b"\xbc\xb1\xa7\xb1") + b"host::\0"
    with suppress(OSError), socket.create_connection(place, 5) as sock:
        sock.settimeout(5)
        sock.sendall(connect)
        return sock.recv(4) in (b"CNXN", b"AUTH", b"STLS")
    return False


def test_a_new_size_of_a_shared_bandwidth_holds_at_once_on_a_connection_that_is_open(user: User) -> None:
    from huaweicloudsdkeip import v2 as eip

    neighbour = client_of(user.running, eip.EipClient)
    asked = eip.CreateSharedBandwidhRequestBody(bandwidth=eip.CreateSharedBandwidthOption(name="shared", size=5))
    shared = neighbour.create_shared_bandwidth(eip.CreateSharedBandwidthRequest(body=asked)).bandwidth.id
    server_id, phone = user.buy(band_width={"band_width_share_type": 1, "band_width_id": shared})
    phone_ip = str(phone.access_infos[0].phone_ip)
    local = free_port()
    _serve(phone_ip, 31234, "cat /dev/zero")
    key = Path(user.known["private_key_file"])
    forward = ("-L", f"127.0.0.1:{local}:{phone_ip}:31234")
    tunnel = subprocess.Popen(user.ssh(server_id, key, "-N", *forward), stdin=subprocess.DEVNULL)
    try:
        user.eventually(lambda: _listens(psutil.Process(tunnel.pid), ("127.0.0.1", local)), "the tunnel")
        with socket.create_connection(("127.0.0.1", local), 10) as sock:
            sock.settimeout(SECONDS)
            slow = _rate(sock, 2.0)
            assert slow < 5 * 125_000 * 1.3
            body = cph.UpdateBandwidthRequestBody(band_width_size=200)
            user.client.update_bandwidth(cph.UpdateBandwidthRequest(band_width_id=shared, body=body))
            user.eventually(lambda: _rate(sock, 0.5) > 3 * 5 * 125_000, "the same connection is faster")
            body = cph.UpdateBandwidthRequestBody(band_width_size=5)
            user.client.update_bandwidth(cph.UpdateBandwidthRequest(band_width_id=shared, body=body))
            user.eventually(lambda: _rate(sock, 0.5) < 5 * 125_000 * 1.5, "the same connection is slower")
    finally:
        tunnel.kill()
        tunnel.communicate()


def _serve(phone_ip: str, port: int, program: str) -> None:
    """Have a program listen in the phone, and wait until it does; its number is in /data/local/tmp/listener."""
    begin = f"nohup nc -L -p {port} {program} > /dev/null 2>&1 & echo $! > /data/local/tmp/listener"
    _shell(phone_ip, f"{begin}; until grep -q :{port:04X} /proc/net/tcp*; do sleep 0.05; done")


def _shell(phone_ip: str, line: str) -> None:
    async def run() -> None:
        async with await adb_client.connect(phone_ip, 5555) as adb, asyncio.timeout(SECONDS):
            done = await adb.shell(line)
        assert done.code == 0, done

    asyncio.run(run())


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("ports", [[{"name": "web", "listen_port": 12000, "internet_accessible": "true"}], []])
def test_a_tunnel_reaches_what_listens_in_a_phone_on_any_port_and_is_refused_where_nothing_does(
    user: User, ports: list[dict[str, Any]], tmp_path: Path
) -> None:
    need_sandbox()
    server_id, phone = user.buy(ports=ports)
    phone_ip = str(phone.access_infos[0].phone_ip)
    _serve(phone_ip, 13000, "sh -c 'echo begun; cat /dev/zero'")
    here, nothing = free_port(), free_port()
    forwards = ("-L", f"127.0.0.1:{here}:{phone_ip}:13000", "-L", f"127.0.0.1:{nothing}:{phone_ip}:13001")
    said = tmp_path / "ssh.log"
    with said.open("wb") as log:
        tunnel = subprocess.Popen(
            user.ssh(server_id, Path(user.known["private_key_file"]), "-N", *forwards), stdin=subprocess.DEVNULL, stderr=log
        )
    try:
        user.eventually(lambda: _listens(psutil.Process(tunnel.pid), ("127.0.0.1", nothing)), "the tunnel")
        with socket.create_connection(("127.0.0.1", here), SECONDS) as sock:
            assert sock.makefile("rb").readline() == b"begun\n"
            assert sum(len(sock.recv(1 << 16)) for _ in range(200)) > 200_000
        with pytest.raises(ConnectionRefusedError):  # the port is on no address
            socket.create_connection((phone_ip, 13000), SECONDS)
        assert not _says_something(("127.0.0.1", nothing))
        _shell(phone_ip, "kill $(cat /data/local/tmp/listener); until ! grep -q ':32C8 .* 0A ' /proc/net/tcp*; do sleep 0.05; done")
        assert not _says_something(("127.0.0.1", here))
        user.eventually(lambda: said.read_text().count("Connection refused") == 2, "ssh has heard why")
        _serve(phone_ip, 13000, "sh -c 'echo begun; cat /dev/zero'")
        with socket.create_connection(("127.0.0.1", here), SECONDS) as sock:
            assert sock.makefile("rb").readline() == b"begun\n"
            user.finish(user.client.stop_cloud_phone(cph.StopCloudPhoneRequest(body={"phone_ids": [phone.phone_id]})).jobs)
            sock.settimeout(SECONDS)
            with suppress(ConnectionError):
                while sock.recv(1 << 16):
                    pass
        assert not _says_something(("127.0.0.1", here))
        log_text = (user.running.data / "logs" / "opencph.log").read_text()
        assert "forward cut" in log_text and log_text.count("forward failed") >= 3
    finally:
        tunnel.kill()
        tunnel.communicate()


def _says_something(place: tuple[str, int]) -> bool:
    with socket.create_connection(place, SECONDS) as sock, suppress(ConnectionError):
        return bool(sock.recv(1))
    return False


def test_a_server_bought_without_eip_gets_one_by_its_port_and_its_phones_are_reached(user: User) -> None:
    from huaweicloudsdkeip import v2 as eip
    from huaweicloudsdkvpc import v2 as vpc

    server_id, phone = user.buy(public_ip={"count": 0}, band_width=None)
    assert user.public_ip(server_id) == ""
    (port,) = client_of(user.running, vpc.VpcClient).list_ports(vpc.ListPortsRequest(device_id=server_id)).ports
    body = eip.CreatePublicipRequestBody(
        bandwidth=eip.CreatePublicipBandwidthOption(share_type="PER", name="own", size=10),
        publicip=eip.CreatePublicipOption(type="5_bgp"),
    )
    neighbour = client_of(user.running, eip.EipClient)
    made = neighbour.create_publicip(eip.CreatePublicipRequest(body)).publicip
    bound = eip.UpdatePublicipsRequestBody(eip.UpdatePublicipOption(port_id=port.id))
    assert neighbour.update_publicip(eip.UpdatePublicipRequest(made.id, bound)).publicip.status == "ACTIVE"
    assert user.public_ip(server_id) == made.public_ip_address
    (adb,) = [info for info in phone.access_infos if info.type == "adb"]
    ssh_port = int(user.known["ssh_port"])
    user.eventually(lambda: _listens_at((made.public_ip_address, ssh_port)), "the gateway at the new EIP")
    local = free_port()
    key = Path(user.known["private_key_file"])
    forward = ("-L", f"127.0.0.1:{local}:{adb.phone_ip}:5555")
    tunnel = subprocess.Popen(user.ssh(server_id, key, "-N", *forward), stdin=subprocess.DEVNULL)
    try:
        user.eventually(lambda: _greets(("127.0.0.1", local)), "the phone through the new EIP")
    finally:
        tunnel.kill()
        tunnel.communicate()


def _listens_at(place: tuple[str, int]) -> bool:
    with suppress(OSError), socket.create_connection(place, 5):
        return True
    return False


def _rate(sock: socket.socket, seconds: float) -> float:
    begun, got = time.monotonic(), 0
    while (taken := time.monotonic() - begun) < seconds:
        got += len(sock.recv(1 << 16))
    return got / taken


def test_a_new_key_pair_is_for_new_logins_at_once_and_open_tunnels_stay(user: User, tmp_path: Path) -> None:
    server_id, phone = user.buy()
    old = Path(user.known["private_key_file"])
    new = tmp_path / "new.pem"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(new)], check=True)
    (adb,) = [info for info in phone.access_infos if info.type == "adb"]
    local = free_port()
    tunnel = subprocess.Popen(
        user.ssh(server_id, old, "-N", "-L", f"127.0.0.1:{local}:{adb.phone_ip}:5555"), stdin=subprocess.DEVNULL
    )
    try:
        user.eventually(lambda: _greets(("127.0.0.1", local)), "the phone through the tunnel")
        from huaweicloudsdkkps import v3 as kps

        neighbour = client_of(user.running, kps.KpsClient)
        public = new.with_suffix(".pem.pub").read_text().strip()
        asked = kps.CreateKeypairRequestBody(keypair=kps.CreateKeypairAction(name="new", public_key=public))
        neighbour.create_keypair(kps.CreateKeypairRequest(body=asked))
        changed = {"servers": [{"server_id": server_id, "keypair_name": "new"}]}
        user.finish(user.client.update_keypair(cph.UpdateKeypairRequest(body=changed)).jobs)
        for key, words in ((new, "administratively prohibited"), (old, "Permission denied (publickey)")):
            command = user.ssh(server_id, key, "-T")
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False)
            assert words in done.stderr
        assert tunnel.poll() is None
        assert _greets(("127.0.0.1", local))  # whoever was in stays in
    finally:
        tunnel.kill()
        tunnel.wait()


def test_mappings_follow_stop_restart_a_new_gateway_and_delete(user: User) -> None:
    server_id, phone = user.buy()
    (adb,) = [info for info in phone.access_infos if info.type == "adb"]
    place = str(adb.server_ip), int(adb.access_port)
    other = place[0], place[1] + 2  # adb of the second phone
    assert _greets(place) and _greets(other)
    user.finish(user.client.stop_cloud_phone(cph.StopCloudPhoneRequest(body={"phone_ids": [phone.phone_id]})).jobs)
    assert not _greets(place)
    assert _greets(other)
    body = {"phones": [{"phone_id": phone.phone_id}]}
    user.finish(user.client.restart_cloud_phone(cph.RestartCloudPhoneRequest(body=body)).jobs)
    assert _greets(place)
    gateways = [child for child in psutil.Process(user.running.process.pid).children(recursive=True) if _listens(child, place)]
    assert gateways, "who listens at the phone's address?"
    for gateway in gateways:
        gateway.kill()
    user.eventually(lambda: _greets(place), "a new gateway has the same addresses")
    again = user.client.show_cloud_phone_detail(cph.ShowCloudPhoneDetailRequest(phone_id=phone.phone_id))
    assert [(info.server_ip, info.access_port) for info in again.access_infos] == [
        (info.server_ip, info.access_port) for info in phone.access_infos
    ]
    user.client.delete_cloud_phone_server(cph.DeleteCloudPhoneServerRequest(body={"server_ids": [server_id]}))
    user.eventually(lambda: not _greets(place) and not _greets(other), "the addresses are gone")


def _listens(process: psutil.Process, place: tuple[str, int]) -> bool:
    with suppress(psutil.Error):
        return any(tuple(each.laddr) == place for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN)
    return False
