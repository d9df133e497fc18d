"""appctrl: what the server shares is installed, or it says why not; never a success without an app."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from apk_maker import apk
from handset.one_phone import dial, running
from handset.shared_apps import archive
from opencph.adb.client import Connection


async def share(adb: Connection, name: str, contents: bytes, version: str = "1.0") -> None:
    await adb.push(contents, f"/data/share_apps/{name}/{version}.tar", mtime=int(version.partition(".")[0]))


async def run(adb: Connection, line: str) -> str:
    return (await adb.shell(line)).stdout.decode().strip()


def test_a_shared_app_is_installed_with_its_data_and_started(home: Path) -> None:
    async def main() -> None:
        async with running(home / "phone") as phone, await dial(phone) as adb:
            files = (("data/data/com.real.app/f", b"x"), ("data/app/com.real.app-1/base.apk", apk("com.real.app")))
            await share(adb, "com.real.app", archive(*files))
            assert await run(adb, "appctrl start com.real.app") == "Success"
            assert "package:com.real.app" in await run(adb, "pm list packages -3")
            assert await run(adb, "cat /data/data/com.real.app/f") == "x"
            assert await run(adb, "appctrl uninstall com.real.app") == "Success"
            assert await run(adb, "appctrl uninstall com.real.app") == "Failure: com.real.app is not installed"

    asyncio.run(main())


@pytest.mark.parametrize(
    "files",
    [
        (("data/local/tmp/hi.txt", b"hi"),),
        (("data/app/com.zzz.app-1/base.apk", b"PK"), ("data/local/tmp/hi.txt", b"hi")),
        (("data/app/com.real.app-1/base.apk", apk("com.real.app")), ("data/local/tmp/hi.txt", b"hi")),
    ],
    ids=["files", "broken", "another-app"],
)
@pytest.mark.parametrize("word", ["install", "start"])
def test_an_archive_without_the_app_is_no_success_and_leaves_nothing(
    files: tuple[tuple[str, bytes], ...], word: str, home: Path
) -> None:
    async def main() -> None:
        async with running(home / "phone") as phone, await dial(phone) as adb:
            await share(adb, "com.zzz.app", archive(*files))
            done = await adb.shell(f"appctrl {word} com.zzz.app")
            assert done.stdout == b"Failure: version 1.0 of com.zzz.app holds no such app\n"
            assert done.code == 1
            assert await run(adb, "ls /data/app; ls /data/local/tmp; pm list packages -3") == ""

    asyncio.run(main())


def test_a_damaged_archive_says_so(home: Path) -> None:
    async def main() -> None:
        async with running(home / "phone") as phone, await dial(phone) as adb:
            await share(adb, "com.zzz.app", archive(("data/app/com.zzz.app-1/base.apk", apk("com.zzz.app")))[:700])
            assert (await run(adb, "appctrl install com.zzz.app")).startswith("Failure: com.zzz.app cannot be unpacked")
            assert await run(adb, "ls /data/app") == ""

    asyncio.run(main())


def test_a_package_of_files_is_deployed_and_is_nothing_to_start(home: Path) -> None:
    async def main() -> None:
        async with running(home / "phone") as phone, await dial(phone) as adb:
            await share(adb, "com.cph.config", archive(("data/local/config/InstallWhitelist", b"com.a")))
            assert await run(adb, "appctrl applyConfig com.cph.config") == "Success"
            assert await run(adb, "cat /data/local/config/InstallWhitelist") == "com.a"
            assert await run(adb, "appctrl install com.cph.config") == "Success"
            assert "no app that could be started" in await run(adb, "appctrl start com.cph.config")
            assert "does not share this package" in await run(adb, "appctrl applyConfig com.other.config")

    asyncio.run(main())


def app(name: str, version: int, split: str = "", signer: str = "tester") -> bytes:
    return apk(name, version, f"{version}.0", split=split, signer=signer)


def test_a_newer_version_in_the_directory_of_the_older_one_takes_its_place(home: Path) -> None:
    async def main() -> None:
        async with running(home / "phone") as phone, await dial(phone) as adb:
            old = (("data/app/com.up.same-1/base.apk", app("com.up.same", 1)), ("data/app/com.up.same-1/old.odex", b"o"))
            await share(adb, "com.up.same", archive(*old), "1")
            assert await run(adb, "appctrl install com.up.same") == "Success"
            uid = await run(adb, "pm list packages -U com.up.same")
            files = (("data/app/com.up.same-1/base.apk", app("com.up.same", 2)), ("data/local/tmp/two", b"2"))
            await share(adb, "com.up.same", archive(*files), "2")
            assert await run(adb, "appctrl install com.up.same") == "Success"
            assert "versionName=2.0" in await run(adb, "dumpsys package com.up.same")
            assert await run(adb, "pm list packages -U com.up.same") == uid
            assert (
                await run(adb, "ls /data/app; ls /data/app/com.up.same-1; cat /data/local/tmp/two") == "com.up.same-1\nbase.apk\n2"
            )

    asyncio.run(main())


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ((("split_y.apk", app("com.ver.app", 11, split="y")),), "holds no such app"),
        ((("base.apk", app("com.ver.app", 11)), ("split_y.apk", app("com.other.pkg", 11, split="y"))), "y package com.other.pkg"),
        ((("base.apk", app("com.ver.app", 11)), ("split_y.apk", app("com.ver.app", 12, split="y"))), "y version code 12"),
        ((("base.apk", b"PK"),), "holds no such app"),
        ((("base.apk", app("com.ver.app", 11, signer="another")),), "signatures do not match"),
    ],
    ids=["split-alone", "split-of-another-app", "split-of-another-version", "broken", "another-signer"],
)
@pytest.mark.parametrize("directory", ["com.ver.app-1", "com.ver.app-2"])
def test_a_version_that_cannot_be_installed_leaves_the_older_one(
    files: tuple[tuple[str, bytes], ...], why: str, directory: str, home: Path
) -> None:
    async def main() -> None:
        async with running(home / "phone") as phone, await dial(phone) as adb:
            await share(adb, "com.ver.app", archive(("data/app/com.ver.app-1/base.apk", app("com.ver.app", 9))), "9")
            assert await run(adb, "appctrl install com.ver.app") == "Success"
            look = (
                "dumpsys package com.ver.app; pm path com.ver.app; ls -R /data/app; md5sum /data/app/*/base.apk; ls /data/local/tmp"
            )
            before = await run(adb, look)
            assert "versionName=9.0" in before
            placed = [(f"data/app/{directory}/{name}", data) for name, data in files]
            await share(adb, "com.ver.app", archive(*placed, ("data/local/tmp/hi.txt", b"hi")), "11")
            done = await adb.shell("appctrl install com.ver.app")
            assert done.code == 1
            assert done.stdout.startswith(b"Failure: version 11 of com.ver.app ")
            assert why in done.stdout.decode()
            assert await run(adb, look) == before

    asyncio.run(main())


def test_an_app_with_its_splits_is_installed_whatever_their_files_are_called(home: Path) -> None:
    async def main() -> None:
        async with running(home / "phone") as phone, await dial(phone) as adb:
            files = (("a.apk", app("com.split.app", 7)), ("base.apk", app("com.split.app", 7, split="x")))
            await share(adb, "com.split.app", archive(*((f"data/app/com.split.app-1/{name}", data) for name, data in files)))
            assert await run(adb, "appctrl install com.split.app") == "Success"
            paths = ["package:/data/app/com.split.app-1/base.apk", "package:/data/app/com.split.app-1/split_x.apk"]
            assert (await run(adb, "pm path com.split.app")).splitlines() == paths

    asyncio.run(main())
