"""Power, addresses, configuration and memory of a phone."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from pathlib import Path

import msgspec
import pytest

from handset.one_phone import config, dial, own_address, running, until
from opencph.adb import client
from opencph.handset.config import HandsetError
from opencph.handset.phone import Phone


def _sockets_of_this_process() -> int:
    count = 0
    for fd in Path("/proc/self/fd").iterdir():
        try:
            count += fd.readlink().name.startswith("socket:")
        except OSError:
            continue
    return count


def test_a_stopped_phone_holds_no_socket_and_makes_no_directory(home: Path) -> None:
    async def main() -> None:
        before = _sockets_of_this_process()
        phone = Phone(config(home / "p", listen_ports=(38080, 38081)))
        assert (phone.state, _sockets_of_this_process(), (home / "p").exists()) == ("stopped", before, False)
        await phone.start()
        assert (phone.state, _sockets_of_this_process()) == ("running", before + 3)
        await phone.start()
        assert _sockets_of_this_process() == before + 3
        await phone.stop()
        await phone.stop()
        assert (phone.state, _sockets_of_this_process()) == ("stopped", before)

    asyncio.run(main())


def test_a_running_phone_has_no_task_until_it_is_used(home: Path) -> None:
    async def main() -> None:
        async with running(home / "p") as phone:
            assert len(asyncio.all_tasks()) == 1
            async with await dial(phone) as adb:
                assert (await adb.shell("getprop ro.serialno")).stdout.strip() == phone.config.phone_id[:16].encode()
            await until(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(main())


def test_a_taken_address_is_named_and_leaves_nothing_open(home: Path) -> None:
    async def main() -> None:
        ip = own_address()
        with socket.socket() as taken:
            taken.bind((ip, 38081))
            taken.listen()
            phone = Phone(config(home / "p", ip=ip, listen_ports=(38080, 38081)))
            with pytest.raises(HandsetError, match=f"{ip}:38081 is taken") as caught:
                await phone.start()
            assert caught.value.errno == errno.EADDRINUSE
            assert phone.state == "stopped"
            with socket.socket() as free:
                free.bind((ip, 38080))
        await phone.start()
        await phone.stop()

    asyncio.run(main())


def test_an_address_of_another_machine_is_named(home: Path) -> None:
    async def main() -> None:
        with pytest.raises(HandsetError, match=r"192.0.2.1:\d+ is no address of this machine"):
            await Phone(config(home / "p", ip="192.0.2.1")).start()

    asyncio.run(main())


def test_a_directory_that_cannot_be_written_is_named(home: Path) -> None:
    async def main() -> None:
        (home / "file").write_text("")
        with pytest.raises(HandsetError, match=r"cannot write .*/file/p/boots"):
            await Phone(config(home / "file" / "p")).start()

    asyncio.run(main())


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6: the kernel has none")
def test_ipv6_listens_without_the_address_being_there(home: Path) -> None:
    async def main() -> None:
        async with running(home / "p", ipv6="fd00::aed:3d"):
            listening = Path("/proc/net/tcp6").read_text()
            assert "000000FD000000000000000" in listening  # fd00:: as the kernel writes it

    asyncio.run(main())


def test_restart_keeps_data_and_reset_wipes_it(home: Path) -> None:
    async def main() -> None:
        phone = Phone(config(home / "p"))
        await phone.start()
        async with await dial(phone) as adb:
            await adb.push(b"mine", "/sdcard/mine")
            await adb.shell("settings put global stay_on 1")
            await adb.shell("setprop persist.a 1")
        with pytest.raises(HandsetError, match="stop it before"):
            phone.wipe()
        await phone.reboot()
        async with await dial(phone) as adb:
            assert await adb.pull("/sdcard/mine") == b"mine"
            assert (await adb.shell("settings get global stay_on")).stdout == b"1\n"
            assert b"boot 2" in (await adb.shell("logcat -d")).stdout
        await phone.stop()
        phone.wipe()
        assert [path.name for path in (home / "p").iterdir()] == []
        await phone.start()
        async with await dial(phone) as adb:
            with pytest.raises(client.AdbError, match="No such file"):
                await adb.pull("/sdcard/mine")
            assert (await adb.shell("settings get global stay_on")).stdout == b"null\n"
            assert (await adb.shell("getprop persist.a")).stdout == b"\n"
            assert b"boot 1" in (await adb.shell("logcat -d")).stdout
        await phone.stop()

    asyncio.run(main())


def test_wiping_a_tree_that_was_made_to_resist_works(home: Path) -> None:
    async def main() -> None:
        phone = Phone(config(home / "p"))
        await phone.start()
        async with await dial(phone) as adb:
            await adb.push(b"x", "/data/x")
        await phone.stop()
        fd = os.open(home / "p" / "data", os.O_RDONLY)
        for _ in range(3000):  # far deeper than a path may be long
            os.mkdir("d", dir_fd=fd)
            deeper = os.open("d", os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = deeper
        os.symlink("/etc", "link", dir_fd=fd)
        os.mkdir("closed", 0, dir_fd=fd)
        os.close(fd)
        phone.wipe()
        assert not (home / "p" / "data").exists()
        assert Path("/etc/passwd").exists()

    asyncio.run(main())


def test_name_and_size_act_at_once_and_properties_at_the_next_boot(home: Path) -> None:
    async def main() -> None:
        async with running(home / "p", properties={"com.cph.mainkeys": "0"}) as phone, await dial(phone) as adb:

            async def read(name: str) -> str:
                return (await adb.shell(f"getprop {name}")).stdout.decode().strip()

            changed = {"com.cph.mainkeys": "1", "ro.install.auto": "1"}
            fresh = msgspec.structs.replace(phone.config, name="new-00001", data_bytes=32 << 20, properties=changed)
            phone.reconfigure(fresh)
            assert await read("ro.cph.phone_name") == "new-00001"
            assert await read("ro.install.auto") == "1"
            assert await read("com.cph.mainkeys") == "0"
            assert (await adb.shell("df")).stdout.split()[-5] == b"32768"
            await phone.reboot()
            async with await dial(phone) as adb2:
                assert (await adb2.shell("getprop com.cph.mainkeys")).stdout == b"1\n"

    asyncio.run(main())


def test_the_apis_properties_show_up_as_they_are(home: Path) -> None:
    values = {
        "sys.prop.writephonenum": "13666666666",
        "sys.prop.writeimsi": "460021624617113",
        "sys.prop.writewifissid": "test_wifi",
    }

    async def main() -> None:
        async with running(home / "p", properties=values) as phone, await dial(phone) as adb:
            lines = (await adb.shell("getprop")).stdout.decode().splitlines()
            for name, value in values.items():
                assert f"[{name}]: [{value}]" in lines
            assert "[gsm.operator.alpha]: [CMCC]" in lines
            assert f"[ro.ril.oem.imei]: [{phone.config.imei}]" in lines

    asyncio.run(main())


def test_read_only_properties_stay(home: Path) -> None:
    async def main() -> None:
        async with running(home / "p") as phone, await dial(phone) as adb:
            for line in ("setprop ro.serialno 1", "setprop a..b 1", f"setprop debug.x {'v' * 92}", "setprop one"):
                done = await adb.shell(line)
                assert done.code == 1 and done.stderr, line
            assert (await adb.shell("setprop debug.x 1")).code == 0
            assert (await adb.shell("getprop debug.x")).stdout == b"1\n"

    asyncio.run(main())


def test_sixty_phones_boot_and_answer_in_one_process(home: Path) -> None:
    async def main() -> None:
        phones = [Phone(config(home / str(number), ip=f"127.251.{os.getpid() % 256}.{number + 1}")) for number in range(60)]
        await asyncio.gather(*(phone.start() for phone in phones))
        banners = await asyncio.gather(*(client.handshake(phone.config.ip, phone.adb_port) for phone in phones))
        assert len(banners) == 60
        await asyncio.gather(*(phone.stop() for phone in phones))

    asyncio.run(main())


def test_damaged_state_files_do_not_stop_the_boot(home: Path) -> None:
    async def main() -> None:
        (home / "p").mkdir()
        (home / "p" / "state.json").write_bytes(b'{"properties": "many')
        (home / "p" / "boots").write_bytes(b"x")
        async with running(home / "p") as phone:
            assert phone.boots == 1

    asyncio.run(main())
