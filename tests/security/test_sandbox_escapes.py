"""Ways out of a phone's shell, tried with the real sandbox: files, processes, network, devices, kernel interfaces, and using up
what others need. `tests/handset/test_shell.py` has what a phone user would come upon by chance."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import socket
import stat
import struct
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from handset.one_phone import dial, need_sandbox, running
from opencph.adb.client import AdbError, Connection
from opencph.handset import sandbox as sandbox_module
from opencph.handset.phone import Phone
from security.small_elf import LAST, program

MIB = 1 << 20
USERS = ("1", "0")  # ro.com.cph.non_root: as shell, and as the root of a phone
ROOTS = ("/proc/self/root", "/proc/1/root", "/proc/1/cwd", "/proc/self/cwd/..", "/proc/self/fd/0/..", "/proc/thread-self/root")
X86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="no x86-64: the programs of these tests are its machine code")


@pytest.fixture(autouse=True)
def _sandbox() -> None:
    need_sandbox()


@pytest.fixture
def home() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="ocph-", dir="/tmp"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@asynccontextmanager
async def phone_of(directory: Path, **changes: Any) -> AsyncIterator[tuple[Phone, Connection]]:
    async with running(directory, **changes) as phone, await dial(phone) as adb:
        yield phone, adb


async def run_program(adb: Connection, code: bytes) -> int:
    """Push a program and run it; its exit status: 0, the error number of its last call, or 128 and the signal that ended it."""
    await adb.push(code, "/data/local/tmp/program", 0o100755)
    done = await adb.shell("/data/local/tmp/program; echo $?")
    return int(done.stdout.split()[-1])


# --- files ----------------------------------------


def test_no_path_of_proc_leads_out(home: Path) -> None:
    (home / "secret").write_text("host")

    async def main() -> None:
        for number, non_root in enumerate(USERS):
            async with phone_of(home / f"p{number}", properties={"ro.com.cph.non_root": non_root}) as (_, adb):
                for root in ROOTS:
                    for path in (f"{root}{home}/secret", f"{root}/../../..{home}/secret", f"{root}/root/.bashrc"):
                        assert (await adb.shell(f"cat {path}")).stdout == b"", path
                        with pytest.raises(AdbError):
                            await adb.pull(path)
                        with pytest.raises(AdbError):
                            await adb.push(b"x", path + "-new")
        assert sorted(path.name for path in home.iterdir()) == ["p0", "p1", "secret"]

    asyncio.run(main())


def test_links_made_inside_lead_nowhere_outside_for_who_reads_them_outside(home: Path) -> None:
    """The shell makes them; the file service, which is no sandbox, follows them within the phone only."""
    (home / "secret").write_text("host")

    async def main() -> None:
        async with phone_of(home / "p") as (_, adb):
            lines = [
                f"ln -s {home}/secret /data/a",
                "ln -s ../../secret /data/b",
                "ln -s / /data/c",
                "ln -s /proc/self/root /data/d",
            ]
            for line in lines:
                assert (await adb.shell(line)).code == 0
            for path in ("/data/a", "/data/b", f"/data/c{home}/secret", f"/data/d{home}/secret", "/data/c/../secret"):
                with pytest.raises(AdbError):
                    await adb.pull(path)
                with suppress(AdbError):
                    await adb.push(b"changed", path)
            assert (home / "secret").read_text() == "host"
            assert (await adb.shell("ln /system/build.prop /data/e || ln /system/bin/sh /data/f")).code != 0, (
                "no hard links from outside"
            )

    asyncio.run(main())


def test_devices_pipes_and_privileged_files_are_worth_nothing(home: Path) -> None:
    async def main() -> None:
        for number, non_root in enumerate(USERS):
            async with phone_of(home / f"p{number}", properties={"ro.com.cph.non_root": non_root}) as (_, adb):
                assert (await adb.shell("mknod /data/null c 1 3")).code != 0
                assert (await adb.shell("mknod /data/disk b 8 0")).code != 0
                await adb.push(b"#!/system/bin/sh\nid -u\n", "/data/local/tmp/s", 0o104755)
                mode = (home / f"p{number}" / "data/local/tmp/s").stat().st_mode
                assert not mode & (stat.S_ISUID | stat.S_ISGID), "a push sets no such bit"
                await adb.shell("cp /system/bin/toybox /data/local/tmp/t; chmod 6755 /data/local/tmp/t")
                status = (await adb.shell("cat /proc/self/status")).stdout.decode()
                assert "NoNewPrivs:\t1" in status, "so that the bits of the copy do nothing"
                assert (await adb.shell("id -u")).stdout == (await adb.shell("/data/local/tmp/t id -u || id -u")).stdout

    asyncio.run(main())


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/hostname",
            "/proc/sys/net/ipv4/ip_forward",
            "/proc/sys/vm/drop_caches",
        ),
        *("/proc/sysrq-trigger", "/proc/self/uid_map", "/proc/self/setgroups", "/sys/power/state"),
        *("/sys/fs/cgroup/cgroup.procs", "/dev/mem", "/dev/kmsg", "/dev/sda", "/system/bin/sh", "/etc/passwd", "/init"),
    ],
)
def test_what_is_the_kernels_or_the_machines_cannot_be_written(home: Path, path: str) -> None:
    async def main() -> None:
        async with phone_of(home / "p", properties={"ro.com.cph.non_root": "0"}) as (_, adb):
            assert (await adb.shell(f"echo 1 > {path}")).code != 0
            if path.startswith(("/proc/sys", "/sys")):
                assert (await adb.shell(f"mount -o remount,rw {path.rpartition('/')[0]}")).code != 0

    asyncio.run(main())


# --- kernel interfaces ----------------------------------------

CLONE_NEWUSER, CLONE_NEWNS, SIGCHLD = 0x10000000, 0x20000, 17
PATH = b"/data\0"

#: what must fail -> the calls; the last one counts
CALLS: dict[str, list[tuple[object, ...]]] = {
    "a user namespace by unshare": [(272, CLONE_NEWUSER)],
    "a mount namespace by unshare": [(272, CLONE_NEWNS)],
    "a user namespace by clone": [(56, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)],
    "a user namespace by clone3": [(435, struct.pack("<QQQQQQQQ", CLONE_NEWUSER, 0, 0, 0, SIGCHLD, 0, 0, 0), 64)],
    "mount": [(165, b"none\0", PATH, b"tmpfs\0", 0, 0)],
    "a bind mount": [(165, b"/proc\0", PATH, b"\0", 4096, 0)],
    "umount": [(166, b"/proc\0", 2)],
    "fsopen": [(430, b"tmpfs\0", 0)],
    "open_tree": [(428, -100, PATH, 1)],
    "pivot_root": [(155, PATH, PATH)],
    "chroot": [(161, PATH)],
    "the session's keyring": [(250, 0, -3, 1, 0, 0)],
    "a key": [(248, b"user\0", b"name\0", b"secret", 6, -3)],
    "request_key": [(249, b"user\0", b"name\0", 0, 0)],
    "bpf": [(321, 0, bytes(64), 64)],
    "perf_event_open": [(298, bytes(128), 0, -1, -1, 0)],
    "userfaultfd": [(323, 0)],
    "io_uring": [(425, 4, bytes(128))],
    "open_by_handle_at": [(304, -100, struct.pack("<Ii", 8, 1) + bytes(8), 0)],
    "kexec_load": [(246, 0, 0, 0, 0)],
    "a kernel module": [(175, bytes(16), 16, b"\0")],
    "reboot": [(169, 0xFEE1DEAD, 672274793, 0x01234567, 0)],
    "the clock": [(164, struct.pack("<QQ", 1, 1), 0)],
    "the host name": [(170, b"x", 1)],
    "swap": [(167, PATH, 0)],
    "accounting": [(163, PATH)],
    "I/O ports": [(172, 3)],
    "a device": [(133, b"/data/device\0", 0o20666, 0x0103)],
    "a raw socket": [(41, 2, 3, 1)],
    "a packet socket": [(41, 17, 3, 0x0300)],
    "a socket to the hypervisor": [(41, 40, 1, 0), (42, LAST, struct.pack("<HHII", 40, 0, 1024, 2) + bytes(4), 16)],
    "the kernel's log": [(103, 2, bytes(64), 64)],
    "quotas": [(179, 0x800001, b"/dev/sda1\0", 0, bytes(128))],
}


@X86
@pytest.mark.parametrize("non_root", USERS)
def test_the_kernels_privileged_interfaces_are_closed(home: Path, non_root: str) -> None:
    async def main() -> None:
        async with phone_of(home / "p", properties={"ro.com.cph.non_root": non_root}) as (_, adb):
            assert await run_program(adb, program((39,))) == 0, "a call that is allowed succeeds"
            assert await run_program(adb, program((80, b"/nowhere\0"))) == 2, "one that fails gives its number"
            open_ones = [name for name, calls in CALLS.items() if await run_program(adb, program(*calls)) == 0]
            assert open_ones == []

    asyncio.run(main())


@pytest.mark.parametrize("non_root", USERS)
def test_no_process_inside_has_more_rights_than_the_shell(home: Path, non_root: str) -> None:
    """One may trace or signal another of the same phone, the first one too: there must be nothing to gain by it."""
    wanted = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Uid", "Gid", "Groups")

    async def main() -> None:
        async with phone_of(home / "p", properties={"ro.com.cph.non_root": non_root}) as (_, adb):
            listed = (await adb.shell("for p in /proc/[0-9]*; do echo; cat $p/status; done")).stdout.decode().split("\n\n")
            rights = set()
            for status in listed:
                facts = dict(line.split(":\t", 1) for line in status.strip().splitlines() if ":\t" in line)
                if facts:
                    rights.add(tuple((name, facts[name].strip()) for name in wanted))
            assert len(listed) >= 3
            assert len(rights) == 1, rights
            links = (await adb.shell("ls -l /proc/1/fd /proc/2/fd 2>/dev/null")).stdout.decode()
            assert str(home) not in links and "socket:" not in links, links

    asyncio.run(main())


@X86
def test_a_terminal_takes_no_input_from_who_only_writes_to_it(home: Path) -> None:
    """TIOCSTI would type into whatever reads the terminal after the shell has ended."""

    async def main() -> None:
        async with phone_of(home / "p") as (_, adb):
            await adb.push(program((16, 0, 0x5412, b"x")), "/data/local/tmp/program", 0o100755)
            stream = await adb.open("shell,v2,pty:/data/local/tmp/program; echo status=$?")
            seen = b""
            async with asyncio.timeout(30):
                while b"status=" not in seen or not seen.rstrip().endswith(tuple(b"0123456789"[i : i + 1] for i in range(10))):
                    piece = await stream.read()
                    if not piece:
                        break
                    seen += bytes(piece)
            assert b"status=" in seen and b"status=0" not in seen, seen

    asyncio.run(main())


# --- network ----------------------------------------


@X86
def test_sockets_without_an_address_in_the_network_are_not_the_machines(home: Path) -> None:
    """Abstract unix sockets belong to a network namespace."""
    name = b"\0opencph-test-" + os.urandom(6).hex().encode()
    address = struct.pack("<H", socket.AF_UNIX) + name

    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(name)
            server.listen()
            async with phone_of(home / "p") as (_, adb):
                assert await run_program(adb, program((41, 1, 1, 0), (42, LAST, address, len(address)))) != 0
            server.setblocking(False)
            with pytest.raises(BlockingIOError):
                server.accept()

    asyncio.run(main())


def test_nothing_that_listens_on_the_machine_or_in_another_phone_can_be_reached(home: Path) -> None:
    async def main() -> None:
        with socket.create_server(("0.0.0.0", 0)) as server:
            port = server.getsockname()[1]
            async with phone_of(home / "a") as (_, adb), phone_of(home / "b") as (other, _):
                addresses = ["127.0.0.1", "127.64.0.1", "10.0.0.1", "169.254.169.254", "0.0.0.0", socket.gethostbyname("localhost")]
                for address, wanted in [*((one, port) for one in addresses), (other.config.ip, other.adb_port)]:
                    assert (await adb.shell(f"nc -w 1 {address} {wanted} < /dev/null")).code != 0, address
            server.setblocking(False)
            with pytest.raises(BlockingIOError):
                server.accept()

    asyncio.run(main())


# --- processes, and using things up ----------------------------------------


def test_killing_everything_kills_only_the_phones_own(home: Path) -> None:
    async def main() -> None:
        async with phone_of(home / "a") as (_, adb), phone_of(home / "b") as (_, other):
            waiting = asyncio.create_task(other.shell("sleep 3; echo still here"))
            await asyncio.sleep(0.5)
            await adb.shell("kill -9 -1")
            await adb.shell("kill -9 1; kill -STOP 1; kill -9 2 3 4 5 6 7 8")
            assert (await waiting).stdout == b"still here\n"
            assert (await adb.shell("echo again")).stdout == b"again\n"

    asyncio.run(main())


BOMBS = {
    "processes": "b() { b | b & }; b; b; b; sleep 20",
    "memory": "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done",
    "memory of files": "dd if=/dev/zero of=/dev/x bs=1M count=4000; dd if=/dev/zero of=/tmp/x bs=1M count=4000",
    "disk": "while dd if=/dev/zero bs=1M count=64 >> /data/big; do :; done",
    "inodes": "i=0; while mkdir /data/d$i; do i=$((i+1)); done",
    "depth": "cd /data; while mkdir d && cd d; do :; done",
    "descriptors": 'i=3; while eval "exec $i</system/build.prop"; do i=$((i+1)); done',
    "output": "yes | head -c 200000000",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_in_one_phone_leaves_the_others_served(home: Path, name: str) -> None:
    async def main() -> None:
        async with (
            phone_of(home / "a", memory_bytes=256 * MIB, data_bytes=16 * MIB) as (phone, adb),
            phone_of(home / "b") as (_, other),
        ):
            bomb = asyncio.create_task(adb.shell(BOMBS[name]))
            for number in range(5):
                async with asyncio.timeout(60):
                    assert (await other.shell(f"echo {number} | cat")).stdout == f"{number}\n".encode()
                    assert (await other.shell("getprop ro.product.name")).stdout == b"handset\n"
                await asyncio.sleep(0.2)
            if phone._sandbox is not None:
                assert len(list(phone._sandbox._pids())) <= sandbox_module.PROCESSES_MAX
            used = sum(path.lstat().st_blocks * 512 for path in (home / "a").rglob("*"))
            assert used <= 17 * MIB, "more than the phone's disk"
            bomb.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await bomb

    asyncio.run(main())
