"""Which of several versions of a shared package a phone takes as the newest."""

from __future__ import annotations

import asyncio
from pathlib import Path

from handset.one_phone import dial, running
from handset.shared_apps import archive

PACKAGE = "com.cph.config"


def test_the_newest_version_is_the_one_that_was_pushed_last_whatever_its_number(home: Path) -> None:
    async def main() -> None:
        async with running(home / "phone") as phone, await dial(phone) as adb:
            for version, pushed in (("1", 200), ("9", 100), ("2", 300), ("10", 250)):
                shared = archive(("data/local/config/InstallWhitelist", version.encode()))
                await adb.push(shared, f"/data/share_apps/{PACKAGE}/{version}.tar", mtime=pushed)
            assert (await adb.shell(f"appctrl applyConfig {PACKAGE}")).stdout == b"Success\n"
            assert (await adb.shell("cat /data/local/config/InstallWhitelist")).stdout == b"2"

    asyncio.run(main())
