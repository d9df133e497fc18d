"""Which of several versions of a shared package a phone takes as the newest."""

from __future__ import annotations

import asyncio
import io
import tarfile
from pathlib import Path

from handset.one_phone import dial, running

PACKAGE = "com.cph.config"


def archive(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        info = tarfile.TarInfo("data/local/config/InstallWhitelist")
        info.size, info.mode = len(data), 0o644
        made.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_the_newest_version_is_the_one_that_was_pushed_last_whatever_its_number(home: Path) -> None:
    async def main() -> None:
        async with running(home / "phone") as phone, await dial(phone) as adb:
            for version, pushed in (("1", 200), ("9", 100), ("2", 300), ("10", 250)):
                await adb.push(archive(version.encode()), f"/data/share_apps/{PACKAGE}/{version}.tar", mtime=pushed)
            assert (await adb.shell(f"appctrl applyConfig {PACKAGE}")).stdout == b"Success\n"
            assert (await adb.shell("cat /data/local/config/InstallWhitelist")).stdout == b"2"

    asyncio.run(main())
