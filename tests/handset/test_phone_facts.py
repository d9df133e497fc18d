"""What programs in a phone find out: of the phone, not of the machine that it runs on."""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from handset.one_phone import MIB, dial, need_sandbox, running, typed, until_printed
from opencph.adb import shell_protocol as wire
from opencph.adb.client import Connection
from opencph.handset.sandbox import cgroups, facts, isolation, landlock

HOG = "/system/lib/handset/bin/python* -IS -c 'b = bytearray(100 << 20); print(len(b), flush=True); input()'"


async def _text(adb: Connection, line: str) -> str:
    done = await adb.shell(line)
    assert done.code == 0, (line, done)
    return done.stdout.decode()


async def _numbers(adb: Connection) -> dict[str, int]:
    lines = (await _text(adb, "cat /proc/meminfo")).splitlines()
    return {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}


def test_an_interactive_shells_terminal_is_one_of_the_phones_own(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with running(home / "p") as phone, await dial(phone) as adb:
            seen = await typed(
                adb, 'stty size; stty -a; echo "tty=$(tty)"; ls -l $(tty) /dev/pts; stty size < $(tty)\nexit', 33, 101
            )
            assert seen.count("33 101") == 2, seen
            assert "rows 33; columns 101" in seen and "standard input" not in seen, seen
            assert "tty=/dev/pts/0" in seen and "No such file" not in seen, seen

    asyncio.run(main())


def test_memory_is_the_phones_wherever_a_program_asks(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with running(home / "p", memory_bytes=512 * MIB) as phone, await dial(phone) as adb:
            before = await _numbers(adb)
            assert before["MemTotal"] == 512 * 1024 and before["SwapTotal"] == 0
            assert 0 < before["MemFree"] <= before["MemAvailable"] <= before["MemTotal"]
            columns = (await _text(adb, "free -m")).splitlines()[1].split()
            assert columns[:2] == ["Mem:", "512"]
            assert (await _text(adb, "free")).splitlines()[1].split()[1] == str(512 * MIB)
            assert f"{512 * 1024:,}K" in await _text(adb, "dumpsys meminfo")
            assert "524288K total" in await _text(adb, "top -b -n 1 | head -n 3")
            hog = await adb.open(f"shell,v2,raw:{HOG}")
            await asyncio.wait_for(hog.read(), 20)
            await until_printed(adb, "grep MemFree /proc/meminfo | awk '{ print ($2 < 430000) }'", b"1\n")
            await hog.write(wire.packet(wire.STDIN, b"\n"))
            await until_printed(adb, "grep MemFree /proc/meminfo | awk '{ print ($2 > 430000) }'", b"1\n")

    asyncio.run(main())


def test_uptime_load_boot_and_names_are_the_phones(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with running(home / "p") as phone, await dial(phone) as adb:
            phone.booted_at -= 5_000 if time.monotonic() > 6_000 else 1
            shown = float(await _text(adb, "cut -d' ' -f1 /proc/uptime"))
            assert abs(shown - phone.uptime) < 5, "not the machine's"
            if platform.machine() == "x86_64":
                assert await _text(adb, "cat /proc/cmdline") != Path("/proc/cmdline").read_text()
            assert (await _text(adb, "cat /proc/cmdline")).startswith("androidboot.hardware=")
            assert await _text(adb, "cat /proc/sys/kernel/hostname") == "handset\n"
            assert float((await _text(adb, "cat /proc/loadavg")).split()[0]) <= 4, "its few processes, whatever the machine does"
            boot = await _text(adb, "cat /proc/sys/kernel/random/boot_id")
            assert boot != Path("/proc/sys/kernel/random/boot_id").read_text()
            assert (await _text(adb, "cat /proc/sys/kernel/random/boot_id")) == boot
            await phone.reboot()
        async with running(home / "q") as other, await dial(other) as adb:
            assert await _text(adb, "cat /proc/sys/kernel/random/boot_id") != boot

    asyncio.run(main())


def test_processors_are_as_many_as_may_be_used_and_bear_no_name_of_the_machine(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with running(home / "p") as phone, await dial(phone) as adb:
            seen = await _text(adb, "cat /proc/cpuinfo")
            assert seen.count("processor") == len(os.sched_getaffinity(0)) == int(await _text(adb, "nproc"))
            names = {
                line.split(":", 1)[1].strip()
                for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")
            }
            assert not any(name in seen for name in names) and "OpenCPH handset" in seen

    asyncio.run(main())


def test_the_machines_disks_modules_and_devices_are_not_listed(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with running(home / "p", data_bytes=64 * MIB) as phone, await dial(phone) as adb:
            for name in (*facts.EMPTY_FILES, *(f"{each}/*" for each in facts.EMPTY_DIRECTORIES)):
                assert (await adb.shell(f"cat /proc/{name}")).stdout == b"", name
            size = os.statvfs(home)
            for line in ("stat -f /data", "toybox df /data", "toybox df", "df"):
                said = (await adb.shell(line)).stdout.decode()
                assert str(size.f_blocks) not in said and str(size.f_blocks * size.f_frsize // 1024) not in said, line
            assert str(64 * 1024) in await _text(adb, "df")

    asyncio.run(main())


def test_control_groups_are_seen_from_the_phones_own(home: Path) -> None:
    """Of the machine's groups nothing but how many hierarchies it has."""
    need_sandbox()

    async def main() -> None:
        async with running(home / "p") as phone, await dial(phone) as adb:
            for path in ("/proc/self/cgroup", "/proc/1/cgroup"):
                lines = (await _text(adb, f"cat {path}")).split()
                assert len(lines) == len(Path("/proc/self/cgroup").read_text().splitlines())
                assert {line.split(":")[2] for line in lines} == {"/"}, lines

    asyncio.run(main())


def test_the_first_process_is_called_init(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with running(home / "p") as phone, await dial(phone) as adb:
            words = (await _text(adb, "cat /proc/1/cmdline; echo; toybox ps -A")).replace("\0", " ")
            assert words.startswith("/init ")
            if phone.files.owner is not None:
                assert "bwrap" not in words and await _text(adb, "cat /proc/1/comm") == "init\n"

    asyncio.run(main())


def test_what_tells_of_a_sandbox_goes_with_it(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with running(home / "p") as phone, await dial(phone) as adb:
            await _text(adb, "true | cat")
            assert sorted(path.name for path in (home / "p" / facts.DIRECTORY).iterdir()) == sorted(facts.CHANGING)
            assert (await adb.shell("echo x > /proc/meminfo; rm /proc/meminfo")).code != 0
            await phone.stop()
            assert not (home / "p" / facts.DIRECTORY).exists()

    asyncio.run(main())


def test_landlock_lets_programs_change_only_what_is_the_phones(home: Path) -> None:
    """Asked in this process's child, where no mount is read-only: Landlock alone refuses."""
    if not landlock.version():
        pytest.skip("the kernel has no Landlock")
    from opencph.handset.sandbox import linux

    (home / "mine").mkdir()
    (home / "theirs").mkdir()
    (home / "theirs" / "file").write_text("theirs")
    attempts: list[Callable[[], object]] = [
        lambda: (home / "theirs" / "file").write_text("changed"),
        lambda: (home / "theirs" / "file").unlink(),
        lambda: (home / "theirs" / "new").mkdir(),
        lambda: (home / "mine" / "directory" / "file").rename(home / "theirs" / "moved"),
        lambda: os.mknod(home / "mine" / "device", 0o20666, os.makedev(1, 3)),
    ]
    if landlock.version() >= 3:
        attempts.append(lambda: os.truncate(home / "theirs" / "file", 0))
    pid = os.fork()
    if not pid:
        results = []
        try:
            linux.forbid_new_privileges()
            landlock.confine([str(home / "mine"), str(home / "absent")])
            (home / "mine" / "file").write_text("mine")
            (home / "mine" / "directory").mkdir()
            (home / "mine" / "file").rename(home / "mine" / "directory" / "file")
            assert (home / "theirs" / "file").read_text() == "theirs"
            Path("/dev/null").write_text("gone")
            for number, attempt in enumerate(attempts):
                try:
                    attempt()
                    results.append(number)
                except OSError:
                    continue
            os._exit(100 + results[0] if results else 0)
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
        os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (home / "theirs" / "file").read_text() == "theirs"


def test_doctor_names_each_layer_that_is_missing_and_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {layer.name for layer in isolation.layers() if not layer.fix}
    if landlock.version():
        assert {"Landlock", "seccomp"} <= there
    monkeypatch.setattr(landlock, "version", lambda: 0)
    monkeypatch.setattr(cgroups, "bases", dict)
    lacks = {layer.name: layer.fix for layer in isolation.layers() if layer.fix}
    assert lacks.keys() >= {"Landlock", "control groups"}
    assert "landlock" in lacks["Landlock"].lower() and "Delegate=yes" in lacks["control groups"]

    from opencph.doctor import CHECKS
    from opencph.settings import Settings

    finding = next(found for check in CHECKS if check.__name__ == "_isolation" for found in [check(Settings())])
    assert finding.state == "note" and "Delegate=yes" in finding.fix and "Landlock" in finding.found
