"""What programs in a phone reach outside, with the setting and without: in network namespaces that the test makes and removes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from handset.one_phone import Handset, dial, need_sandbox, running, typed, until
from opencph import doctor
from opencph.adb import client
from opencph.handset.__main__ import parse
from opencph.handset.sandbox import linux, outgoing
from opencph.settings import Settings, SettingsError

T = TypeVar("T")
FAR, NEAR, OWN, PRIVATE = "203.0.113.2", "203.0.113.1", "198.51.100.7", "10.77.0.2"
HELLO = b"hello from outside\n"
#: tries one address as a hostile program may: bound to the interface that leads out, past the routing table
TRY = (
    "/system/lib/handset/bin/python* -IS -c 'import _socket as s\n"
    'for device in (b"", b"eth0"):\n'
    "  try:\n"
    "    c = s.socket(s.AF_INET, s.SOCK_STREAM); c.settimeout(4)\n"
    "    if device: c.setsockopt(s.SOL_SOCKET, 25, device)\n"
    '    c.connect(("{0}", {1})); print("reached", device, c.recv(99))\n'
    '  except OSError as error: print("refused", device)\''
)


class World:
    """The machine `near` that runs phones, and another, `far`, at the other end of a cable."""

    def __init__(self) -> None:
        name = uuid.uuid4().hex[:8]
        self.near, self.far, self._cable = f"ocph-n{name}", f"ocph-f{name}", f"v{name}"
        self._sockets: list[socket.socket] = []

    def make(self) -> None:
        a, b = f"{self._cable}a", f"{self._cable}b"
        lines = [f"netns add {self.near}", f"netns add {self.far}", f"-n {self.near} link add {a} type veth peer name {b}"]
        lines += [f"-n {self.near} link set {b} netns {self.far}"]
        for space, device, addresses in ((self.near, a, (NEAR, "10.77.0.1")), (self.far, b, (FAR, PRIVATE))):
            lines += [f"-n {space} link set lo up", f"-n {space} link set {device} up"]
            lines += [f"-n {space} addr add {address}/24 dev {device}" for address in addresses]
        for line in [*lines, f"-n {self.near} addr add {OWN}/32 dev lo"]:
            done = subprocess.run(["ip", *line.split()], capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"no network namespaces with a cable between them: ip {line}: {done.stderr.strip()}")

    def remove(self) -> None:
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for space in (self.near, self.far):
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)

    def within(self, space: str, act: Callable[[], T]) -> T:
        """Do it on a thread that has the network of that machine; processes that it starts have it too."""

        def inside() -> T:
            with Path("/run/netns", space).open("rb") as file:
                linux.setns(file.fileno(), linux.CLONE_NEWNET)
            return act()

        with ThreadPoolExecutor(1) as threads:
            return threads.submit(inside).result()

    def serve(self, space: str, address: str) -> int:
        """Listen there and greet whoever comes; returns the port."""
        sock = self.within(space, lambda: socket.create_server((address, 0)))
        self._sockets.append(sock)

        def greet() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = sock.accept()
                    connection.sendall(HELLO)
                    connection.close()

        threading.Thread(target=greet, daemon=True).start()
        return int(sock.getsockname()[1])


@pytest.fixture
def world() -> Iterator[World]:
    need_sandbox()
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("no network namespaces with a cable between them: needs root and iproute2")
    if lacks := outgoing.missing():
        pytest.skip(f"no outgoing network: {lacks}")
    made = World()
    try:
        made.make()
        yield made
    finally:
        made.remove()


def _slirps(parent: int) -> list[int]:
    """The slirp4netns processes that live, of this process's descendants."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                words = (entry / "stat").read_text().rpartition(") ")[2].split()
                command = (entry / "cmdline").read_bytes()
                if words[0] != "Z" and command.startswith(b"slirp4netns\0") and parent in _ancestors(int(words[1])):
                    found.append(int(entry.name))
    return found


def _ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        found.append(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def _shell(handset: Handset, line: str) -> str:
    async def main() -> str:
        host, _, port = handset.serial.rpartition(":")
        async with await client.connect(host, int(port)) as adb, asyncio.timeout(60):
            return (await adb.shell(line)).stdout.decode()

    return asyncio.run(main())


def _hears(address: str, port: int) -> bytes:
    with socket.create_connection((address, port), timeout=10) as sock:
        return sock.recv(99)


@pytest.mark.parametrize("network", ["off", "internet"])
def test_a_phone_reaches_public_addresses_by_setting_and_never_this_machine_or_a_private_network(
    world: World, home: Path, network: str
) -> None:
    far = world.serve(world.far, FAR)
    closed = [(address, world.serve(world.near, address)) for address in ("127.0.0.1", "127.77.1.2", NEAR, OWN)]
    closed.append((PRIVATE, world.serve(world.far, PRIVATE)))

    def main() -> None:
        for address, port in [(FAR, far), *closed]:
            assert _hears(address, port) == HELLO, address  # the machine itself reaches all of them
        handset = Handset(home / "phone", "--network", network)
        try:
            reached = _shell(handset, f"nc {FAR} {far} </dev/null; nc -w 3 {FAR} {far}")
            assert (HELLO.decode() in reached) is (network == "internet"), reached
            tries = [
                *closed,
                ("10.0.2.2", closed[0][1]),
                ("10.0.2.3", closed[0][1]),
                (handset.ip, handset.serial.rpartition(":")[2]),
            ]
            for address, number in tries:
                said = _shell(handset, TRY.format(address, number))
                assert said.split() == ["refused", "b''", "refused", "b'eth0'"], (address, said)
            assert ("reached b''" in _shell(handset, TRY.format(FAR, far))) is (network == "internet")
            addresses = _shell(handset, "ip addr; ip route; cat /proc/net/route")
            assert (f"inet {outgoing.ADDRESS}/24" in addresses and "default via 10.0.2.2" in addresses) is (network == "internet")
            assert ("\neth0\t00000000\t0202000A" in addresses) is (network == "internet"), addresses
            told = _shell(handset, "cat /etc/resolv.conf")
            assert told.split() == (["nameserver", outgoing.RESOLVER] if network == "internet" else []), told
        finally:
            handset.stop()

    world.within(world.near, main)


def test_slirp4netns_starts_with_the_sandbox_runs_without_rights_and_ends_with_phone_or_host(world: World, home: Path) -> None:
    def main() -> None:
        handset = Handset(home / "phone", "--network", "internet")
        try:
            assert _slirps(handset.process.pid) == []  # nothing before it is needed
            _shell(handset, "true")
            (pid,) = _slirps(handset.process.pid)
            status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
            assert "0" not in status["Uid"].split() and int(status["CapEff"], 16) == 0, status
            assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", status
        finally:
            handset.stop()
        asyncio.run(until(lambda: not _alive(pid)))
        handset.start(0)
        _shell(handset, "true")
        (pid,) = _slirps(handset.process.pid)
        handset.process.send_signal(signal.SIGKILL)
        handset.process.wait(20)
        assert handset.process.stdout is not None
        handset.process.stdout.close()
        asyncio.run(until(lambda: not _alive(pid)))

    world.within(world.near, main)


def test_without_the_setting_nothing_runs_beside_a_phone(home: Path) -> None:
    need_sandbox()
    handset = Handset(home / "phone")
    try:
        assert "eth0" not in _shell(handset, "cat /proc/net/dev")
        assert _slirps(handset.process.pid) == []
    finally:
        handset.stop()


@pytest.mark.parametrize("lack", ["program", "device", "device, found late"])
def test_what_is_missing_is_said_and_the_shell_runs_all_the_same(home: Path, monkeypatch: pytest.MonkeyPatch, lack: str) -> None:
    need_sandbox()
    if lack == "program":
        monkeypatch.setattr(outgoing, "PROGRAM", "slirp4netns-of-nobody")
    else:
        if reason := outgoing.missing():
            pytest.skip(f"no outgoing network: {reason}")
        monkeypatch.setattr(outgoing, "TUN", str(home / "none" / "tun"))
    if lack.endswith("late"):
        monkeypatch.setattr(outgoing, "missing", str)

    async def main() -> None:
        async with running(home / "p", network="internet") as phone, await dial(phone) as adb:
            done = await adb.shell("echo works | cat; cat /proc/net/dev; cat /system/etc/mkshrc; logcat -d -s netd")
            said = done.stdout.decode()
            assert "works" in said and "eth0" not in said, done
            wanted = "apt-get install slirp4netns-of-nobody" if lack == "program" else "none/tun"
            assert "no outgoing network on this phone: " in said.partition("netd")[2], done
            assert wanted in said.partition("netd")[2], done
            if not lack.endswith("late"):  # known before the sandbox is made: a shell on a terminal begins with it
                assert wanted in await typed(adb, "exit", 24, 400)

    asyncio.run(main())


def test_doctor_names_what_outgoing_network_lacks_and_the_command_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._outgoing(Settings()).state == "ok"
    monkeypatch.setattr(outgoing, "PROGRAM", "slirp4netns-of-nobody")
    assert doctor._outgoing(Settings()).state == "ok"  # off: nothing is needed
    found = doctor._outgoing(Settings(phone_network="internet"))
    assert (found.state, found.fix) == ("note", "sudo apt-get install slirp4netns-of-nobody"), found


def test_the_setting_is_off_by_default_and_takes_two_values() -> None:
    assert Settings.load(environ={}).phone_network == "off"
    assert Settings.load(environ={"OPENCPH_PHONE_NETWORK": "internet"}).phone_network == "internet"
    with pytest.raises(SettingsError, match=r"phone_network = 'lan' .*off, internet"):
        Settings.load(environ={"OPENCPH_PHONE_NETWORK": "lan"})
    assert parse(["--data", "/tmp/x"]).network == "off"
    assert parse(["--data", "/tmp/x", "--network", "internet"]).network == "internet"


def test_every_address_of_the_machine_is_closed_wherever_it_lies() -> None:
    table = "Local:\n  +-- 0.0.0.0/0 2 0 2\n     |-- 127.0.0.0\n        /8 host LOCAL\n     |-- 8.8.0.0\n        /16 host LOCAL\n"
    table += "     |-- 9.9.9.9\n        /32 host LOCAL\n     |-- 9.9.9.0\n        /24 link UNICAST\n"
    blocks = [str(block) for block in outgoing.closed(table)]
    assert "8.8.0.0/16" in blocks and "9.9.9.9/32" in blocks and "9.9.9.0/24" not in blocks, blocks
    assert {"10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16"} <= set(blocks)
