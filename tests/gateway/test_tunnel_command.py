"""`opencph tunnel`, against a gateway process."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest

from gateway.gateway_world import SECONDS, START_SECONDS, Client, Gateway, Network, TcpPhones, add
from gateway.ssh_client import make_key
from opencph.store import tables
from opencph.store.database import Query, scalar

Start = Callable[[], Gateway]


def _phone(network: Network, server_id: str, ip: str, name: str) -> str:
    """The row of the first phone of a server; returns its id."""
    from sqlalchemy import bindparam
    from sqlalchemy import select as sql_select

    serving: Query[str] = Query(
        sql_select(tables.servers.c.generation_id).where(tables.servers.c.server_id == bindparam("server_id")), scalar
    )
    phone_id = uuid.uuid4().hex
    with network.database.write() as tx:
        generation_id = tx.row(serving, server_id=server_id)
        add(
            tx,
            tables.phones,
            phone_id=phone_id,
            name=name,
            project_id=network.project_id,
            generation_id=generation_id,
            server_id=server_id,
            number=1,
            status=2,
            image_id="i",
            imei="1",
            phone_ip=ip,
            property="",
            custom_property="",
            traffic_type="direct",
            data_volume_gib=0,
            create_ms=0,
            update_ms=0,
        )
    return phone_id


def _run(network: Network, data: Path, *arguments: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OPENCPH_SSH_PORT": str(network.ssh_port)}
    place = ("--data", str(data), "--database", network.database.url)
    return subprocess.Popen(
        [sys.executable, "-m", "opencph", "tunnel", *arguments, *place],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )


def test_the_command_opens_a_tunnel_by_id_or_name_and_prints_the_adb_line(
    network: Network, gateway: Start, phones: TcpPhones, tmp_path: Path
) -> None:
    network.keypair("mine", make_key(tmp_path / "mine.pem"))
    phone, public = network.ip(), network.ip()
    server_id = network.server(phone_ip_first=phone, server_ip=network.ip(), eip_id=network.eip(public), keypair_name="mine")
    phone_id = _phone(network, server_id, phone, "the-phone")
    phones.listen(phone, 5555)
    gateway()
    for name in (phone_id, "the-phone"):
        process = _run(network, tmp_path, name)
        assert process.stdout is not None and process.stderr is not None
        readable, _, _ = select.select([process.stdout], [], [], SECONDS)
        assert readable
        line = process.stdout.readline().decode()
        found = re.fullmatch(r"adb connect 127\.0\.0\.1:(\d+)\n", line)
        assert found, line + process.stderr.read().decode()
        assert Client("127.0.0.1", int(found[1])).line() == f"{phone}:5555"
        assert f"{network.project_id}@{public} -p {network.ssh_port}" in process.stdout.readline().decode()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=SECONDS) == (b"", b"")
        assert process.returncode == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_stands_in_the_way_is_said_in_one_sentence(network: Network, gateway: Start, tmp_path: Path) -> None:
    network.keypair("mine", make_key(tmp_path / "mine.pem"))
    network.keypair("gone", make_key(tmp_path / "elsewhere.pem"))
    private, keyless, refused = network.ip(), network.ip(), network.ip()
    for name, ip, keypair, public in (
        ("private", private, "mine", False),
        ("keyless", keyless, "gone", True),
        ("refused", refused, "gone", True),
    ):
        server_id = network.server(
            phone_ip_first=ip,
            server_ip=network.ip(),
            eip_id=network.eip(network.ip()) if public else None,
            keypair_name=keypair,
        )
        _phone(network, server_id, ip, name)
    gateway()
    for arguments, sentence in (
        (("nobody",), "there is no phone nobody"),
        (("private",), "has no public address"),
        (("keyless",), "give its file with --key FILE"),
        (("refused", "--key", str(tmp_path / "mine.pem")), "refuses the key"),
    ):
        process = _run(network, tmp_path, *arguments)
        out, said = process.communicate(timeout=SECONDS)
        assert (process.returncode, out) == (1, b"")
        assert sentence in said.decode()
        assert said.count(b"\n") == 1, said


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_phone_that_is_not_there_is_said_before_anybody_is_told_to_connect(
    network: Network, gateway: Start, tmp_path: Path
) -> None:
    network.keypair("mine", make_key(tmp_path / "mine.pem"))
    phone = network.ip()
    server_id = network.server(phone_ip_first=phone, server_ip=network.ip(), eip_id=network.eip(network.ip()), keypair_name="mine")
    _phone(network, server_id, phone, "asleep")
    gateway()
    process = _run(network, tmp_path, "asleep")
    out, said = process.communicate(timeout=START_SECONDS)
    assert (process.returncode, out) == (1, b"")
    assert b"phone asleep of server" in said and b"cannot be reached: " in said and b"111" in said, said
    assert said.count(b"\n") == 1, said


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("why", ["this address does not lead to the server any more", "the gateway is stopping"])
def test_the_reason_of_the_gateway_for_ending_a_tunnel_is_told(
    network: Network, gateway: Start, phones: TcpPhones, tmp_path: Path, why: str
) -> None:
    network.keypair("mine", make_key(tmp_path / "mine.pem"))
    phone, public = network.ip(), network.ip()
    server_id = network.server(phone_ip_first=phone, server_ip=network.ip(), eip_id=network.eip(public), keypair_name="mine")
    _phone(network, server_id, phone, "the-phone")
    phones.listen(phone, 5555)
    running = gateway()
    process = _run(network, tmp_path, "the-phone")
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    assert readable and process.stdout.readline().startswith(b"adb connect")
    if why == "the gateway is stopping":
        running.end()
    else:
        network.unbind(public)
    _out, said = process.communicate(timeout=START_SECONDS)
    assert process.returncode == 1
    assert said.decode() == f"opencph tunnel: the tunnel has ended: {why}\n"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_nothing_but_the_gateway_of_this_installation_is_trusted(network: Network, tmp_path: Path) -> None:
    """Also when no gateway has met a client yet: the key is made then, and what answers must have it."""
    network.keypair("mine", make_key(tmp_path / "mine.pem"))
    phone, public = network.ip(), network.ip()
    server_id = network.server(phone_ip_first=phone, server_ip=network.ip(), eip_id=network.eip(public), keypair_name="mine")
    _phone(network, server_id, phone, "the-phone")
    tried: list[str] = []

    class Stranger(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            tried.append(username)
            return False  # lets everybody in

    async def run() -> tuple[int | None, bytes]:
        server = await asyncssh.create_server(
            Stranger, public, network.ssh_port, server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")]
        )
        process = _run(network, tmp_path, "the-phone")
        _out, said = await asyncio.to_thread(process.communicate, timeout=SECONDS)
        server.close()
        return process.returncode, said

    status, said = asyncio.run(run())
    assert status == 1
    assert b"is not the gateway of this installation (another host key)" in said
    assert said.count(b"\n") == 1, said
    assert tried == []
