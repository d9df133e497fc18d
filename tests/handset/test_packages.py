"""Packages of a handset: installed by stock adb and by pm, known by what lies on its disk, gone after a removal."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from apk_maker import apk
from handset.one_phone import Pair, dial, running
from opencph.adb.client import Connection
from opencph.handset import packages
from opencph.handset.phone import Phone

APK = "/data/local/tmp/a.apk"


async def _install(adb: Connection, data: bytes, options: str = "") -> str:
    await adb.push(data, APK)
    return (await adb.shell(f"pm install {options} {APK}")).stdout.decode().strip()


def test_stock_adb_installs_lists_and_uninstalls(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "a.apk").write_bytes(apk(filling=300_000))
    assert "Success" in pair.text("install", str(tmp_path / "a.apk"))
    assert "package:com.myapp.test" in pair.text("shell", "pm", "list", "packages", "-3")
    path = pair.text("shell", "pm", "path", "com.myapp.test").strip().removeprefix("package:")
    pair.text("pull", path, str(tmp_path / "back.apk"))
    assert (tmp_path / "back.apk").read_bytes() == (tmp_path / "a.apk").read_bytes()
    assert "Success" in pair.text("uninstall", "com.myapp.test")
    assert "com.myapp.test" not in pair.text("shell", "pm", "list", "packages")


def test_stock_adb_installs_a_split_app(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "base.apk").write_bytes(apk("com.split.app"))
    (tmp_path / "de.apk").write_bytes(apk("com.split.app", split="config.de"))
    assert "Success" in pair.text("install-multiple", str(tmp_path / "base.apk"), str(tmp_path / "de.apk"))
    paths = pair.text("shell", "pm", "path", "com.split.app").split()
    assert [path.rpartition("/")[2] for path in paths] == ["base.apk", "split_config.de.apk"]


def test_versions_go_up_and_down_only_when_asked(home: Path) -> None:
    async def main() -> None:
        async with running(home / "phone") as phone, await dial(phone) as adb:
            assert await _install(adb, apk(version_code=5)) == "Success"
            assert "INSTALL_FAILED_VERSION_DOWNGRADE" in await _install(adb, apk(version_code=4))
            assert await _install(adb, apk(version_code=6)) == "Success"
            assert await _install(adb, apk(version_code=4), "-d") == "Success"
            listed = (await adb.shell("pm list packages -3 -f --show-versioncode")).stdout.decode()
            assert listed.count("package:") == 1 and "=com.myapp.test versionCode:4" in listed
            assert len((await adb.shell("ls /data/app")).stdout.split()) == 1

    asyncio.run(main())


def test_phones_of_a_host_read_the_same_app_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readings: list[int] = []
    read = packages._read_apk

    async def count(phone: Phone, fd: int) -> packages.Read:
        readings.append(fd)
        return await read(phone, fd)

    monkeypatch.setattr(packages, "_read_apk", count)

    async def main() -> None:
        async with running(home / "one") as one, running(home / "two") as two, await dial(one) as adb, await dial(two) as other:
            data = apk("com.read.once", filling=1234)
            assert await _install(adb, data) == "Success"
            assert await _install(other, data) == "Success"
            assert await _install(other, data, "-r") == "Success"
            assert len(readings) == 1
            assert await _install(other, apk("com.read.once", version_code=9), "-r") == "Success"
            assert len(readings) == 2
            refused = apk("refused")
            for phone in (adb, other, adb):
                assert "INSTALL_PARSE_FAILED_BAD_PACKAGE_NAME" in await _install(phone, refused)
            assert len(readings) == 3

    asyncio.run(main())


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"no zip at all", "INSTALL_PARSE_FAILED_NOT_APK"),
        (apk("nodots"), "INSTALL_PARSE_FAILED_BAD_PACKAGE_NAME"),
        (apk("com/../../evil.x"), "INSTALL_PARSE_FAILED_BAD_PACKAGE_NAME"),
        (apk("com.1x.b"), "INSTALL_PARSE_FAILED_BAD_PACKAGE_NAME"),
        (apk("com.a._b"), "INSTALL_PARSE_FAILED_BAD_PACKAGE_NAME"),
        (apk(min_sdk=99), "INSTALL_FAILED_OLDER_SDK"),
        (apk(split="only"), "INSTALL_FAILED_MISSING_SPLIT"),
        (apk()[:200], "INSTALL_PARSE_FAILED_NOT_APK"),
    ],
)
def test_what_is_no_package_is_refused_and_leaves_nothing(home: Path, data: bytes, code: str) -> None:
    async def main() -> None:
        async with running(home / "phone") as phone, await dial(phone) as adb:
            assert code in await _install(adb, data)
            assert (await adb.shell("ls -a /data/app /data/data")).stdout.split() == [
                b"/data/app:", b".", b"..", b"/data/data:", b".", b".."
            ]  # fmt: skip

    asyncio.run(main())


def test_packages_are_what_is_on_the_disk(home: Path) -> None:
    """Unpacked by a restore or a push, without pm, and after a restart of the phone."""

    async def main() -> None:
        async with running(home / "phone") as phone, await dial(phone) as adb:
            await adb.push(apk("com.pushed.app"), "/data/app/com.pushed.app-1/base.apk")
            await adb.push(b"no apk", "/data/app/broken-1/base.apk")
            assert (await adb.shell("pm list packages -3")).stdout == b"package:com.pushed.app\n"
        async with running(home / "phone") as phone, await dial(phone) as adb:
            assert (await adb.shell("cmd package list packages -3")).stdout == b"package:com.pushed.app\n"

    asyncio.run(main())


def test_a_disk_that_is_too_small_refuses_and_gives_its_room_back(home: Path) -> None:
    async def main() -> None:
        async with running(home / "phone", data_bytes=3 << 20) as phone, await dial(phone) as adb:
            phone.files.ensure()
            before = phone.disk.used()
            assert "INSTALL_FAILED_INSUFFICIENT_STORAGE" in await _install(adb, apk(filling=2 << 20))
            await adb.shell(f"rm {APK}")
            phone.disk.forget()
            assert phone.disk.used() <= before + 4096

    asyncio.run(main())


def test_data_is_cleared_and_kept_as_asked(home: Path) -> None:
    async def main() -> None:
        async with running(home / "phone") as phone, await dial(phone) as adb:
            await _install(adb, apk())
            await adb.push(b"x", "/data/data/com.myapp.test/file")
            assert (await adb.shell("pm uninstall -k com.myapp.test")).stdout == b"Success\n"
            assert await adb.pull("/data/data/com.myapp.test/file") == b"x"
            await _install(adb, apk())
            assert (await adb.shell("pm clear com.myapp.test")).stdout == b"Success\n"
            assert (await adb.shell("ls /data/data/com.myapp.test")).stdout == b""
            assert (await adb.shell("pm uninstall com.none.app")).code == 1

    asyncio.run(main())
