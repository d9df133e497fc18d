"""A stock adb reaches a real phone both ways: through its port mapping, and through an SSH tunnel."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from gateway.gateway_world import SECONDS, Gateway, Network, wait_until
from gateway.ssh_client import Ssh, make_key
from opencph.adb import messages
from opencph.handset.daemon import CONNECTIONS_MAX
from opencph.runtimes import GenerationSpec, PhoneSpec
from opencph.runtimes.builtin import BuiltinRuntime, end_all

once = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

if shutil.which("adb") is None:
    pytest.skip("no adb: install adb", allow_module_level=True)
if shutil.which("ssh") is None:
    pytest.skip("no ssh: install openssh-client", allow_module_level=True)


@pytest.fixture
def adb() -> Iterator[Callable[..., str]]:
    """Runs the stock adb with a server of its own, which ends with the test."""
    port = str(random.randint(20000, 32000))
    environment = os.environ | {"ANDROID_ADB_SERVER_PORT": port}

    def run(*arguments: str) -> str:
        done = subprocess.run(["adb", *arguments], capture_output=True, text=True, timeout=30, env=environment)
        assert done.returncode == 0, done
        return done.stdout.strip()

    yield run
    run("kill-server")


@pytest.fixture
def phone_ip(network: Network) -> Iterator[str]:
    """The address of a real phone that runs."""
    ip = network.ip()
    data = Path(tempfile.mkdtemp(prefix="ocph-", dir="/tmp"))
    phone = PhoneSpec(
        phone_id="a" * 32,
        name="phone-00001",
        number=1,
        ip=ip,
        ipv6=None,
        imei="869287243397729",
        image_id="image",
        image_version="AOSP 11.0",
        model_name="rx1.cp.c60.d10.e1v1",
        cpu=2,
        memory_bytes=1 << 30,
        data_bytes=1 << 30,
        width=720,
        height=1280,
        dpi=320,
        listen_ports=(),
        properties={"sys.prop.writephonenum": "13666666666"},
    )

    async def boot() -> None:
        runtime = BuiltinRuntime(data, boots_at_once=1)
        await runtime.create(GenerationSpec(generation_id="g", server_id="s", host_id="h", phones=(phone,)))
        assert await runtime.start("g", [phone.phone_id]) == {}

    try:
        asyncio.run(boot())
        yield ip
    finally:
        end_all(data)
        shutil.rmtree(data)


@once
def test_adb_connects_through_the_mapping_and_through_the_tunnel(
    network: Network, gateway: Callable[[], Gateway], phone_ip: str, adb: Callable[..., str], tmp_path: Path
) -> None:
    network.keypair("mine", make_key(tmp_path / "mine.pem"))
    vip, public = network.ip(), network.ip()
    network.server(phone_ip_first=phone_ip, server_ip=vip, eip_id=network.eip(public), keypair_name="mine")
    gateway()
    ssh = Ssh(network, public, tmp_path, tmp_path / "mine.pem")
    try:
        (local,) = ssh.tunnel(f"{phone_ip}:5555")
        file = tmp_path / "file"
        file.write_bytes(os.urandom(3 << 20))
        for address in (f"{vip}:10000", f"{ssh.local}:{local}"):
            assert "connected to" in adb("connect", address)
            assert adb("-s", address, "shell", "getprop", "sys.prop.writephonenum") == "13666666666"
            adb("-s", address, "push", str(file), "/data/local/tmp/file")
            adb("-s", address, "pull", "/data/local/tmp/file", str(tmp_path / "back"))
            assert (tmp_path / "back").read_bytes() == file.read_bytes()
            adb("disconnect", address)
    finally:
        ssh.end()


@once
@pytest.mark.parametrize("says", [messages.message(messages.CNXN, messages.VERSION, messages.MAX_PAYLOAD, b"host::"), b""])
def test_a_client_that_holds_all_it_can_of_a_phones_adb_keeps_no_other_out(
    network: Network, gateway: Callable[[], Gateway], phone_ip: str, says: bytes
) -> None:
    vip = network.ip()
    network.server(phone_ip_first=phone_ip, server_ip=vip)
    running = gateway()
    hello = messages.message(messages.CNXN, messages.VERSION, messages.MAX_PAYLOAD, b"host::")

    def come(source: str, words: bytes) -> socket.socket:
        sock = socket.create_connection((vip, 10000), SECONDS, source_address=(source, 0))
        with suppress(ConnectionError):
            sock.sendall(words)
            if words:
                sock.recv(1)
        return sock

    with ExitStack() as held:
        for _ in range(CONNECTIONS_MAX):
            with suppress(ConnectionResetError):  # it may come before connect() has returned
                held.enter_context(come("127.0.0.1", says))
        wait_until(lambda: "which is its share" in running.log.read_text(), "the reason in the log")
        for source in ("127.0.0.8", "127.0.0.9"):
            with come(source, b"") as other:
                other.sendall(hello)
                assert other.recv(4) == b"CNXN"
