"""appctrl: what the server shares is installed, or it says why not; never a success without an app."""

from __future__ import annotations

import asyncio
import io
import tarfile
from pathlib import Path

import pytest

from apk_maker import apk
from handset.one_phone import dial, running
from opencph.adb.client import Connection


def archive(*files: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            made.addfile(info, io.BytesIO(data))
    return out.getvalue()


async def share(adb: Connection, name: str, contents: bytes) -> None:
    await adb.push(contents, f"/data/share_apps/{name}/1.0.tar")


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
