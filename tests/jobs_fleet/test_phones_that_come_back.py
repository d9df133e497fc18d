"""What a job for a phone does while its phone is down: it waits for a while, and only then fails."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest

from handset.one_phone import config
from opencph.fleet import phone_reach
from opencph.fleet.phone_reach import NOT_RUNNING, Target, reached
from opencph.handset.phone import Phone
from opencph.jobs import JobFailedError


def _target(phone: Phone) -> Target:
    return Target(phone.config.phone_id, phone.config.ip, 1, "")


def test_a_phone_that_comes_back_in_time_gets_its_command() -> None:
    async def main(home: Path) -> None:
        phone = Phone(config(home / "p", ip="127.77.9.3", adb_port=5555))

        async def command() -> str:
            async with reached(_target(phone), "CPS.0117") as connection:
                return (await connection.shell("getprop ro.product.model")).stdout.decode()

        waiting = asyncio.create_task(command())
        await asyncio.sleep(4 * phone_reach.LOOK_AGAIN_SECONDS)
        assert not waiting.done(), "nobody listens yet"
        await phone.start()
        try:
            async with asyncio.timeout(30):
                assert await waiting
        finally:
            await phone.stop()

    with tempfile.TemporaryDirectory(prefix="cph-", dir="/tmp") as home:
        asyncio.run(main(Path(home)))


def test_a_phone_that_stays_away_fails_it_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phone_reach, "COME_BACK_SECONDS", 0.5)

    async def main() -> None:
        async with asyncio.timeout(30), reached(Target("p", "127.77.9.4", 1, ""), "CPS.0117"):
            raise AssertionError("there is none")

    with pytest.raises(JobFailedError, match="does not answer") as failed:
        asyncio.run(main())
    assert failed.value.code == NOT_RUNNING
