"""Does a phone answer ADB: many phones asked at once, and again while they may still be booting. The handshake is `adb`'s."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from opencph.adb.client import AdbError, handshake
from opencph.fleet.pools import for_each
from opencph.runtimes import ADB_PORT

CHECKS_AT_ONCE = 256
TIMEOUT_SECONDS = 20.0
RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS = 0.02, 0.5


async def answers_adb(ip: str, timeout: float = TIMEOUT_SECONDS, port: int = ADB_PORT) -> str | None:
    """None when the phone at `ip` answers the ADB handshake within `timeout` seconds, else what was wrong at the last try.

    An adbd that asks for a key has answered. A phone that refuses the connection, or closes it, may still be booting: it is asked
    again until the time is over.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    pause = RETRY_FIRST_SECONDS
    while True:
        try:
            await handshake(ip, port, deadline - loop.time())
        except AdbError as error:
            if loop.time() + pause >= deadline:
                return str(error)
        else:
            return None
        await asyncio.sleep(pause)
        pause = min(pause * 2, RETRY_MAX_SECONDS)


async def silent_phones(ips: Mapping[str, str], timeout: float = TIMEOUT_SECONDS, port: int = ADB_PORT) -> dict[str, str]:
    """Ask many phones at once, at most CHECKS_AT_ONCE of them at a time: {phone_id: cause} of those that do not answer.

    `ips` is {phone_id: ip}. `timeout` is for each phone, in seconds.
    """
    silent: dict[str, str] = {}

    async def ask(item: tuple[str, str]) -> None:
        phone_id, ip = item
        cause = await answers_adb(ip, timeout, port)
        if cause is not None:
            silent[phone_id] = cause

    await for_each(ips.items(), ask, at_once=CHECKS_AT_ONCE)
    return silent
