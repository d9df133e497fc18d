"""Does a phone answer ADB: the connection handshake with many phones at once. Nothing beyond the handshake; that is `adb/`.

The handshake is one exchange: we send CNXN, and an adbd that is up answers CNXN, or AUTH when it wants a key, or STLS when it
wants TLS. Any of the three comes from a live adbd, so any of the three is the answer (AOSP, packages/modules/adb/protocol.txt).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping, Sequence

from opencph.runtimes import ADB_PORT

HEADER = struct.Struct("<6I")  # command, arg0, arg1, payload length, payload sum, command ^ 0xffffffff
CNXN, AUTH, STLS = 0x4E584E43, 0x48545541, 0x534C5453
VERSION = 0x01000001
PAYLOAD_MAX = 256 * 1024

CHECKS_AT_ONCE = 256
TIMEOUT_SECONDS = 20.0
RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS = 0.02, 0.5

_BANNER = b"host::\0"
_HELLO = HEADER.pack(CNXN, VERSION, PAYLOAD_MAX, len(_BANNER), sum(_BANNER), CNXN ^ 0xFFFFFFFF) + _BANNER


async def answers_adb(ip: str, timeout: float = TIMEOUT_SECONDS, port: int = ADB_PORT) -> str | None:
    """None when the phone at `ip` answers the ADB handshake within `timeout` seconds, else what was wrong at the last try.

    A phone that refuses the connection, or closes it, may still be booting: it is asked again until the time is over.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    pause = RETRY_FIRST_SECONDS
    cause = "it was not asked"
    while True:
        left = deadline - loop.time()
        if left <= 0:
            return f"no ADB answer from {ip}:{port} within {timeout:g} s: {cause}"
        try:
            async with asyncio.timeout(left):
                found = await _handshake(loop, ip, port)
        except TimeoutError:
            found = "the connection stays silent"
        except OSError as error:
            found = error.strerror or str(error)
        if found is None:
            return None
        cause = found
        await asyncio.sleep(min(pause, max(0.0, deadline - loop.time())))
        pause = min(pause * 2, RETRY_MAX_SECONDS)


async def _handshake(loop: asyncio.AbstractEventLoop, ip: str, port: int) -> str | None:
    connection = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        await loop.sock_connect(connection, (ip, port))
        await loop.sock_sendall(connection, _HELLO)
        header = b""
        while len(header) < HEADER.size:
            part = await loop.sock_recv(connection, HEADER.size - len(header))
            if not part:
                return "it closes the connection without an answer"
            header += part
    finally:
        connection.close()
    command, _, _, _, _, magic = HEADER.unpack(header)
    if magic != command ^ 0xFFFFFFFF or command not in (CNXN, AUTH, STLS):
        return f"it answers {header[:4]!r}, which is not ADB"
    return None


async def silent_phones(ips: Mapping[str, str], timeout: float = TIMEOUT_SECONDS, port: int = ADB_PORT) -> dict[str, str]:
    """Ask many phones at once, at most CHECKS_AT_ONCE of them at a time: {phone_id: cause} of those that do not answer.

    `ips` is {phone_id: ip}. `timeout` is for each phone, in seconds.
    """
    waiting: Sequence[tuple[str, str]] = list(ips.items())
    silent: dict[str, str] = {}
    following = iter(waiting)

    async def ask() -> None:
        for phone_id, ip in following:
            cause = await answers_adb(ip, timeout, port)
            if cause is not None:
                silent[phone_id] = cause

    async with asyncio.TaskGroup() as group:
        for _ in range(min(CHECKS_AT_ONCE, len(waiting))):
            group.create_task(ask())
    return silent
