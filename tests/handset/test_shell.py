"""The shell in its sandbox: what it can do, and what it cannot."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from handset.one_phone import Handset, dial, need_sandbox, running, until, until_printed
from opencph.adb import shell_protocol as wire
from opencph.adb.client import AdbError, Connection, connect
from opencph.handset import phone as phone_module
from opencph.handset import sandbox as sandbox_module
from opencph.handset.phone import Phone
from opencph.handset.sandbox import cgroups
from opencph.handset.shell import parse_request, simple_words

MIB = 1024 * 1024


@asynccontextmanager
async def _pair(directory: Path, **changes: Any) -> AsyncIterator[tuple[Phone, Connection]]:
    async with running(directory, **changes) as phone, await dial(phone) as adb:
        yield phone, adb


def _alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_service_names_come_apart() -> None:
    assert parse_request("shell:ls") == ("ls", False, False, "dumb")
    assert parse_request("shell:") == ("", False, True, "dumb")
    assert parse_request("shell,v2,TERM=xterm-256color,raw:a:b") == ("a:b", True, False, "xterm-256color")
    assert parse_request("shell,v2,TERM=x\ny$(z),pty:") == ("", True, True, "xyz")
    assert parse_request("exec:cat") == ("cat", False, False, "dumb")


def test_only_lines_without_shell_syntax_take_the_short_way() -> None:
    assert simple_words("getprop ro.serialno") == ["getprop", "ro.serialno"]
    assert simple_words("/system/bin/wm size") == ["wm", "size"]
    assert simple_words("input text 'a b'") == ["input", "text", "a b"]
    for line in (
        "getprop; id",
        "getprop $x",
        "X=1 getprop",
        "ls",
        "getprop > /sdcard/x",
        "getprop 'a",
        "id\nid",
        "",
        "getprop `id`",
        "id #",
    ):
        assert simple_words(line) is None, line


def test_nothing_of_the_machine_is_visible(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        (home / "secret").write_text("host")
        async with _pair(home / "p") as (_, adb):

            async def sh(line: str) -> str:
                return (await adb.shell(line)).stdout.decode()

            assert set((await sh("ls /")).split()) <= {
                *("bin", "cache", "data", "dev", "etc", "lib", "lib64", "mnt", "proc", "sdcard", "storage", "system", "usr"),
            }
            assert (await adb.shell(f"cat {home}/secret; cat /etc/shadow; ls /home /root /tmp /var")).stdout == b""
            assert str(os.getpid()) not in (await sh("ls /proc")).split()
            assert len([name for name in (await sh("ls /proc")).split() if name.isdigit()]) <= 5
            assert (await sh("cat /proc/net/dev | grep -c :")).strip() == "1"
            environment = await sh("env")
            assert "OPENCPH" not in environment and str(Path.home()) not in environment and "PYTEST" not in environment
            assert (await sh("ls -A /dev")).split() and "sda" not in await sh("ls /dev")
            assert "handset" in await sh("hostname")

    asyncio.run(main())


def test_the_machines_services_cannot_be_reached(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            async with _pair(home / "p") as (phone, adb):
                for address in ("127.0.0.1", phone.config.ip):
                    done = await adb.shell(f"nc -w 2 {address} {port} < /dev/null")
                    assert done.code != 0
            server.setblocking(False)
            with pytest.raises(BlockingIOError):
                server.accept()

    asyncio.run(main())


def test_privileges_cannot_be_gained(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        for non_root in ("1", "0"):
            async with _pair(home / non_root, properties={"ro.com.cph.non_root": non_root}) as (_, adb):
                status = (await adb.shell("cat /proc/self/status")).stdout.decode()
                facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
                assert facts["NoNewPrivs"] == "1"
                assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == int(facts["CapPrm"], 16) == 0
                assert facts["Seccomp"] == "2"
                assert (await adb.shell("id -u")).stdout == (b"2000\n" if non_root == "1" else b"0\n")
                for line in (
                    "mount -t tmpfs none /mnt",
                    "/system/bin/toybox unshare -r true",
                    "echo x > /system/x",
                    "echo x > /x",
                    "echo x > /dev/x",
                    "echo 1 > /proc/sys/kernel/printk",
                    "echo x > /proc/sysrq-trigger",
                    "rm /system/bin/sh",
                    "chroot /data /x",
                    "mknod /data/null c 1 3",
                    "ulimit -f unlimited",
                ):
                    assert (await adb.shell(line)).code != 0, line

    asyncio.run(main())


def test_a_shell_stops_at_the_disks_size(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with _pair(home / "p", data_bytes=8 * MIB) as (phone, adb):
            done = await adb.shell("dd if=/dev/zero of=/data/local/tmp/full bs=65536 count=1000")
            assert done.code != 0 and (b"large" in done.stderr or b"space" in done.stderr), done.stderr
            phone.disk.forget()
            assert phone.disk.used() <= 8 * MIB
            await until(lambda: phone.disk.remaining() == 0)
            assert (await adb.shell("echo more > /data/local/tmp/more && cat /data/local/tmp/more")).stdout == b""
            with pytest.raises(AdbError, match="No space left on device"):
                await adb.push(b"x", "/data/local/tmp/pushed")
            assert (await adb.shell("rm /data/local/tmp/full")).code == 0
            await until_printed(adb, "echo again > /data/local/tmp/more; cat /data/local/tmp/more", b"again\n")

    asyncio.run(main())


def test_many_files_stop_at_the_disks_size_too(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with _pair(home / "p", data_bytes=8 * MIB) as (phone, adb):
            write = "dd if=/dev/zero of=/data/f$i bs=1048576 count=1 || exit 9"
            line = f"i=0; while [ $i -lt 40 ]; do {write}; i=$((i+1)); sleep 0.1; done"
            assert (await adb.shell(line)).code == 9
            phone.disk.forget()
            assert phone.disk.used() <= 12 * MIB  # it may be overrun by what is written between two looks

    asyncio.run(main())


def test_a_file_larger_than_what_is_left_may_still_grow(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with _pair(home / "p", data_bytes=8 * MIB) as (_, adb):
            await adb.push(bytes(6 * MIB), "/data/big")
            done = await adb.shell("echo more >> /data/big && tail -c 5 /data/big")
            assert (done.code, done.stdout) == (0, b"more\n")

    asyncio.run(main())


def test_fork_bombs_and_memory_hogs_meet_their_limit(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with _pair(home / "p", memory_bytes=256 * MIB) as (phone, adb):
            done = await adb.shell("dd if=/dev/zero of=/dev/null bs=400M count=1")
            assert done.code != 0
            bomb = asyncio.create_task(adb.shell("while true; do sleep 1000 & done"))
            sandbox = await phone.enter_sandbox()
            most = sandbox_module.PROCESSES_MAX
            await until(lambda: len(list(sandbox._pids())) >= most - 5)
            await asyncio.sleep(0.3)
            assert len(list(sandbox._pids())) <= most
            bomb.cancel()

    asyncio.run(main())


def test_commands_of_ours_work_inside_scripts(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with _pair(home / "p") as (phone, adb):
            done = await adb.shell("for p in ro.serialno ro.product.model; do getprop $p; done | cat; getprop ro.none; id -un")
            assert done.stdout.decode().split("\n") == [phone.config.phone_id[:16], "rx1.cp.c60.d10.e1v1", "", "shell", ""]
            assert (await adb.shell("setprop ro.serialno x; echo $?")).stdout == b"1\n"
            loop = "printf 'a\\nb\\n' | while read x; do getprop ro.none; echo $x; done"
            assert (await adb.shell(loop)).stdout == b"\na\n\nb\n"  # they leave the script's stdin alone
            picture = (await adb.shell("screencap -p | cat")).stdout
            assert Image.open(io.BytesIO(picture)).size == (720, 1280)
            assert (await adb.shell("head -c 100000 /dev/zero | cmd package install -S 100000; echo $?")).stdout.endswith(b"]\n1\n")
            assert (await adb.shell("screencap /sdcard/a.png && head -c 4 /sdcard/a.png")).stdout == b"\x89PNG"

    asyncio.run(main())


def test_names_beyond_ascii_are_shown_as_they_are(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with _pair(home / "p") as (_, adb):
            made = await adb.shell("cd /sdcard/Music && mkdir 照片 && touch 照片/假日-é.txt && ls 照片 && echo *")
            assert made.stdout.decode().split() == ["假日-é.txt", "照片"]
            assert (await adb.shell("ls -l /sdcard/Music/")).stdout.decode().endswith(" 照片\n")

    asyncio.run(main())


def test_an_idle_phone_gives_its_sandbox_back(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_sandbox()
    monkeypatch.setattr(phone_module, "SANDBOX_IDLE_SECONDS", 1.0)

    async def main() -> None:
        async with _pair(home / "p") as (phone, adb):
            await adb.shell("true")
            sandbox = phone.sandbox
            assert sandbox is not None
            init = sandbox.init_pid
            assert _alive(init)
            await until(lambda: phone.sandbox is None)
            await until(lambda: not _alive(init))
            done = await adb.shell("(sleep 1; echo late > /data/late) > /dev/null 2>&1 &")
            assert done.code == 0
            await until((home / "p" / "data" / "late").exists)  # background work keeps it
            await until(lambda: phone.sandbox is None)

    asyncio.run(main())


def test_power_off_ends_every_process(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with _pair(home / "p") as (phone, adb):
            await adb.shell("nohup sleep 1000 > /dev/null 2>&1 & exit 0")
            sandbox = phone.sandbox
            assert sandbox is not None
            pids = list(sandbox._pids())
            assert len(pids) >= 3 and all(map(_alive, pids))
            await phone.stop()
            await until(lambda: not any(map(_alive, pids)))

    asyncio.run(main())


def test_a_vanished_client_ends_its_command(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with running(home / "p") as phone:
            adb = await dial(phone)
            stream = await adb.open("shell,v2,raw:echo begun; sleep 1000")
            assert b"begun" in await stream.read()
            sandbox = phone.sandbox
            assert sandbox is not None
            (process,) = sandbox._processes
            await adb.close()
            await until(lambda: not _alive(process.pid))
            await until(lambda: not sandbox._processes)

    asyncio.run(main())


def test_a_slow_reader_holds_the_command_back(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with _pair(home / "p") as (phone, adb):
            reader, writer = await asyncio.open_connection(phone.config.ip, phone.adb_port)
            from opencph.adb import client, messages

            writer.write(client.CONNECT + messages.message(messages.OPEN, 1, 0, b"shell,v2,raw:cat /dev/zero\0"))
            await until(lambda: phone.sandbox is not None and phone.sandbox._processes)
            assert (await adb.shell("echo other")).stdout == b"other\n"
            daemon = phone.daemon
            assert daemon is not None
            for connection in daemon._connections:
                for stream in connection._streams.values():
                    assert stream.pending_bytes < 2 * MIB
            writer.close()
            del reader

    asyncio.run(main())


def test_an_interactive_shell_has_a_terminal(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with _pair(home / "p") as (_, adb):
            stream = await adb.open("shell,v2,TERM=xterm,pty:")
            await stream.write(wire.packet(wire.WINDOW_SIZE, b"33x101,0x0"))
            await stream.write(wire.packet(wire.STDIN, b"stty size; tty; exit 7\n"))
            packets = wire.PacketReader()
            out, code = b"", -1
            while code < 0:
                data = await asyncio.wait_for(stream.read(), 20)
                assert data, out
                for kind, piece in packets.feed(memoryview(data)):
                    if kind == wire.EXIT:
                        code = piece[0]
                    else:
                        out += piece
            assert b"33 101" in out and b"/dev/pts/" in out and code == 7

    asyncio.run(main())


def test_declared_ports_reach_what_listens_inside_and_refuse_otherwise(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with _pair(home / "p", listen_ports=(38080,)) as (phone, adb):

            async def ask() -> bytes:
                try:
                    reader, writer = await asyncio.open_connection(phone.config.ip, 38080)
                    writer.write(b"hello")
                    writer.write_eof()
                    answer = await asyncio.wait_for(reader.read(), 10)
                    writer.close()
                    return answer
                except ConnectionResetError:
                    return b"refused"

            assert await ask() in (b"refused", b"")
            await adb.shell("nohup nc -L -p 38080 cat > /dev/null 2>&1 &")
            async with asyncio.timeout(15):
                while await ask() != b"hello":  # noqa: ASYNC110 - nothing tells when it listens
                    await asyncio.sleep(0.05)

    asyncio.run(main())


def test_root_and_back_on_a_phone_that_allows_it(home: Path) -> None:
    need_sandbox()

    async def service(adb: Connection, name: str) -> bytes:
        return await (await adb.open(name)).read()

    async def main() -> None:
        async with running(home / "p", properties={"ro.com.cph.non_root": "0"}) as phone:
            adb = await dial(phone)
            assert (await adb.shell("id -u; cat /proc/self/status | grep Uid")).stdout.startswith(b"0\nUid:\t0\t0")
            assert await service(adb, "root:") == b"adbd is already running as root\n"
            assert b"read-only" in await service(adb, "remount:")
            assert await service(adb, "unroot:") == b"restarting adbd as non root\n"
            async with await dial(phone) as adb2:
                await until(lambda: not phone.adb_root)
            async with await dial(phone) as adb2:
                assert (await adb2.shell("id -u; true")).stdout == b"2000\n"
                assert (await adb2.shell("su -c id")).stderr == b"su: uid 2000 not allowed to su: adbd is not root: `adb root`\n"
                assert await service(adb2, "remount:") == b'Not running as root. Try "adb root" first.\n'
                assert f"TCP port {phone.adb_port}\n".encode() in await service(adb2, "usb:")
                assert b"invalid port" in await service(adb2, "tcpip:1")
            await adb.close()

    asyncio.run(main())


def test_unknown_services_are_refused_at_once(home: Path) -> None:
    async def main() -> None:
        async with _pair(home / "p") as (_, adb):
            for name in (
                "jdwp:1",
                "track-app",
                "tcp:1",
                "localabstract:x",
                "localfilesystem:/x",
                "reverse:",
                "reverse:nonsense",
                "sideload:1",
            ):
                with pytest.raises(AdbError, match="refuses"):
                    await asyncio.wait_for(adb.open(name), 5)

    asyncio.run(main())


def test_the_framebuffer_has_a_header_and_all_pixels(home: Path) -> None:
    async def main() -> None:
        async with _pair(home / "p", width=240, height=320) as (_, adb):
            stream = await adb.open("framebuffer:")
            header = struct.unpack("<13I", await stream.read_exactly(52))
            assert header[:5] == (1, 32, 240 * 320 * 4, 240, 320)
            assert len(await stream.read_exactly(header[2])) == header[2]

    asyncio.run(main())


def _without(monkeypatch: pytest.MonkeyPatch, find: Callable[[str], Path | None], line: str, home: Path) -> tuple[int, bytes]:
    monkeypatch.setattr(sandbox_module, "find", find)

    async def main() -> tuple[int, bytes]:
        async with _pair(home / "p") as (_, adb):
            assert (await adb.shell("getprop ro.product.brand")).stdout == b"OpenCPH\n"
            done = await adb.shell(line)
            return done.code, done.stderr

    return asyncio.run(main())


def test_without_bubblewrap_the_shell_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, error = _without(monkeypatch, lambda name: None, "ls", home)
    assert code == 126
    assert b"sudo apt-get install bubblewrap" in error


def test_a_bubblewrap_that_fails_is_quoted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = home / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: no permissions here' >&2\nexit 1\n")
    broken.chmod(0o755)
    code, error = _without(monkeypatch, lambda name: broken, "ls", home)
    assert code == 126
    assert b"no permissions here" in error
    sandbox_module._try_bwrap.cache_clear()


def test_a_killed_spawner_is_replaced(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        from opencph.handset.sandbox import link

        async with _pair(home / "p") as (phone, adb):
            await adb.shell("true")
            os.kill(link._links[0]._pid, 9)
            await until(lambda: phone.sandbox is None)
            assert (await adb.shell("echo back")).stdout == b"back\n"

    asyncio.run(main())


def test_phones_cannot_see_each_other(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with _pair(home / "a") as (_, one), _pair(home / "b") as (_, other):
            await one.shell("nohup sleep 777 > /dev/null 2>&1 & echo a > /sdcard/a")
            assert b"777" not in (await other.shell("cat /proc/*/cmdline")).stdout
            assert (await other.shell("ls /sdcard/a")).code != 0
            if os.geteuid() == 0:
                assert (home / "a" / "data").stat().st_uid != (home / "b" / "data").stat().st_uid

    asyncio.run(main())


def test_a_killed_phone_process_takes_its_sandbox_along(home: Path) -> None:
    need_sandbox()
    handset = Handset(home / "p")
    host, _, port = handset.serial.rpartition(":")

    async def processes() -> list[int]:
        async with await connect(host, int(port)) as adb:
            await adb.shell("nohup sleep 4242 > /dev/null 2>&1 &")
        owned = [str(pid) for pid in Path("/proc").iterdir() if pid.name.isdigit()]
        return [int(Path(name).name) for name in owned if handset.process.pid in _ancestors(int(Path(name).name))]

    pids = asyncio.run(processes())
    assert len(pids) >= 4
    handset.process.kill()
    handset.process.wait(10)
    asyncio.run(until(lambda: not any(map(_alive, pids))))
    handset.start(int(port))  # the address is free at once
    handset.stop()


def _ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
        found.append(pid)
    return found


def test_power_off_while_a_sandbox_is_being_made_leaves_none(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with running(home / "p") as phone:
            making = asyncio.create_task(phone.enter_sandbox())
            await until(lambda: phone._sandbox_lock is not None and phone._sandbox_lock.locked())
            await phone.stop()
            sandbox = await making
            assert not sandbox.alive and phone.sandbox is None
            assert not _alive(sandbox.init_pid)

    asyncio.run(main())


def test_the_processes_of_a_phone_share_one_memory_limit(home: Path) -> None:
    if "memory" not in cgroups.bases():
        pytest.skip("no writable control groups: memory is limited for each process only")

    async def main() -> None:
        async with _pair(home / "p", memory_bytes=256 * MIB) as (_, adb):
            hog = "/system/lib/handset/bin/python* -IS -c 'b = bytearray(110 << 20); import time; time.sleep(4)'"
            one = await adb.shell(f"{hog}; echo $?")
            assert one.stdout == b"0\n"
            many = await adb.shell(f"for n in 1 2 3 4; do ({hog}; echo $?) & done; wait")
            assert sorted(many.stdout.split())[-1] == b"137", many
            assert (await adb.shell("echo alive")).stdout == b"alive\n"
        before = {path.name for base in cgroups.bases().values() for path in base.glob(cgroups.prefix(os.getpid()) + "*")}
        await until(lambda: not any(list(base.glob(cgroups.prefix(os.getpid()) + "*")) for base in cgroups.bases().values()))
        assert len(before) <= 1

    asyncio.run(main())


def test_groups_of_a_dead_host_are_ended_and_those_of_another_container_are_not() -> None:
    if "memory" not in cgroups.bases():
        pytest.skip("no writable control groups: memory is limited for each process only")
    base = cgroups.bases()["memory"]
    nobody = 2**22 + os.getpid()  # no process has such a number
    dead, elsewhere = base / f"{cgroups.prefix(nobody)}0", base / f"opencph-1-{nobody}-0"
    processes: dict[Path, subprocess.Popen[bytes]] = {}
    try:
        for group in (dead, elsewhere):
            group.mkdir()
            processes[group] = subprocess.Popen(["sleep", "60"])
            (group / "cgroup.procs").write_text(str(processes[group].pid))
        cgroups._sweep(base)
        assert processes[dead].wait(10) == -signal.SIGKILL
        assert processes[elsewhere].poll() is None and elsewhere.exists()
    finally:
        for group, process in processes.items():
            process.kill()
            process.wait()
            for _ in range(100):
                with contextlib.suppress(OSError):
                    group.rmdir()
                if not group.exists():
                    break
                time.sleep(0.05)


def test_a_log_that_is_followed_shows_what_happens(home: Path) -> None:
    async def main() -> None:
        async with running(home / "p") as phone, await dial(phone) as adb:
            stream = await adb.open("shell,v2,raw:logcat -v tag -s adbd:I")
            reader = wire.PacketReader()
            got = b""
            while b"listening" not in got:
                got += b"".join(bytes(piece) for _, piece in reader.feed(memoryview(await asyncio.wait_for(stream.read(), 10))))
            phone.note("init", "not wanted")
            phone.note("adbd", "wanted")
            while b"wanted" not in got:
                got += b"".join(bytes(piece) for _, piece in reader.feed(memoryview(await asyncio.wait_for(stream.read(), 10))))
            assert got.splitlines()[-1] == b"I/adbd    : wanted" and b"not wanted" not in got
            stream.close()
            await until(lambda: not phone.log_watchers)
            assert (await adb.shell("logcat -d -e '(a+'")).code == 1

    asyncio.run(main())


def test_clients_that_leave_while_a_sandbox_is_made_leave_nothing_behind(home: Path) -> None:
    def children(directory: Path) -> list[str]:
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if path.read_bytes().startswith(b"/init\0--args") and path.parent.stat().st_uid == (directory.stat().st_uid):
                    found.append(path.parent.name)
            except OSError:
                continue
        return found

    async def main() -> None:
        need_sandbox()
        for delay in (0.0, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03):
            async with running(home / f"p{delay}") as phone:
                adb = await connect(phone.config.ip, phone.adb_port)
                asking = asyncio.create_task(adb.shell("cat /proc/version"))
                await asyncio.sleep(delay)
                asking.cancel()
                await adb.close()
            if (home / f"p{delay}" / "data").exists():
                await until(lambda d=home / f"p{delay}" / "data": not children(d))  # type: ignore[misc]

    asyncio.run(main())


def test_a_command_that_comes_while_an_idle_sandbox_ends_runs_in_another_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_sandbox()
    monkeypatch.setattr(phone_module, "SANDBOX_IDLE_SECONDS", 0.0)

    async def main() -> None:
        async with running(home) as phone:
            first = await phone.enter_sandbox()
            destroy = first._link.destroy
            told = asyncio.Event()

            def tell(number: int) -> None:
                told.set()  # and do not tell the spawner yet: this is the moment in which a command would die

            monkeypatch.setattr(first._link, "destroy", tell)
            async with asyncio.timeout(30):
                await told.wait()
            assert not first.alive
            monkeypatch.setattr(first._link, "destroy", destroy)
            second = await phone.enter_sandbox()
            assert second is not first and second.alive
            process = await second.spawn(["/system/bin/sh", "-c", "sleep 0.2; exit 7"])
            assert await process.wait() == 7
            process.close()

    asyncio.run(main())


def test_a_sandbox_that_somebody_just_got_is_not_idle(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_sandbox()
    monkeypatch.setattr(phone_module, "SANDBOX_IDLE_SECONDS", 1.0)

    async def main() -> None:
        async with running(home) as phone:
            sandbox = await phone.enter_sandbox()
            for _ in range(30):  # for far longer than it may be idle
                await asyncio.sleep(0.1)
                assert await phone.enter_sandbox() is sandbox

    asyncio.run(main())
