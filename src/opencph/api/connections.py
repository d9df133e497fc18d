"""How many connections the api process holds, of each client and in all, and how long they may lie idle. Nothing of requests.

The HTTP server limits neither by client nor lets connections be chosen that must go, so this looks at the process's own sockets,
every second, and shuts those that are too many: the newest of a client that has more than its share and, when all together are too
many, the newest of the client that has most. Who has few connections is served whatever others hold. A client is an IPv4 address
or the /64 of an IPv6 address.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import stat
import struct
from collections import defaultdict
from contextlib import suppress
from typing import NamedTuple

import structlog

LOOK_SECONDS = 1.0
#: With few connections only every so many looks go beyond counting descriptors.
LOOKS_PER_ROUND = 10
#: A connection on which nothing came and nothing went for so long is shut: stalled handshakes, clients that read nothing.
IDLE_SECONDS = 120.0
WARN_SECONDS = 60.0
DESCRIPTORS = "/proc/self/fd"

_TCP_INFO_BYTES = 104
_LAST = struct.Struct("=44xI4xI")  # milliseconds since data was last sent, and received (linux/tcp.h, struct tcp_info)

_logger = structlog.get_logger("opencph.api")


class Seen(NamedTuple):
    """One connection: its socket's number, which is its own while it lives, its client, and for how long nothing moved."""

    number: int
    client: str
    idle_seconds: float


class Connections:
    """Keeps the connections of one listening port within limits."""

    def __init__(self, port: int, per_client: int, total: int) -> None:
        self._port, self._per_client, self._total = port, per_client, total
        self._order: dict[int, int] = {}  # socket number -> when it was first seen
        self._next = 0
        self._warned = 0.0

    async def watch(self) -> None:
        """Look again and again."""
        look = 0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            look = (look + 1) % LOOKS_PER_ROUND
            if not look or len(os.listdir(DESCRIPTORS)) > self._per_client:  # noqa: PTH208 - a quarter of the time
                self.look()

    def look(self) -> int:
        """Shut what is too much or idle; how many that were."""
        found: list[tuple[Seen, socket.socket]] = []
        numbers = set()  # a duplicate of ours may get a number that is still to be looked at
        try:
            for descriptor in os.listdir(DESCRIPTORS):  # noqa: PTH208
                with suppress(OSError, ValueError):
                    for seen, sock in self._of_ours(int(descriptor)):
                        if seen.number in numbers:
                            sock.close()
                        else:
                            found.append((seen, sock))
                            numbers.add(seen.number)
            doomed = self._too_many([seen for seen, _ in found])
            for seen, sock in found:
                if seen.number in doomed:
                    with suppress(OSError):
                        sock.shutdown(socket.SHUT_RDWR)
        finally:
            for _, sock in found:
                sock.close()
        if doomed and asyncio.get_running_loop().time() > self._warned + WARN_SECONDS:
            self._warned = asyncio.get_running_loop().time()
            clients = sorted({seen.client for seen, _ in found if seen.number in doomed})
            _logger.warning("connections shut: too many, or idle", count=len(doomed), open=len(found), clients=clients[:5])
        return len(doomed)

    def _of_ours(self, descriptor: int) -> list[tuple[Seen, socket.socket]]:
        """The connection behind a descriptor, if it is one. The duplicate keeps it the same while we look."""
        if not stat.S_ISSOCK(os.stat(descriptor).st_mode):
            return []
        sock = socket.socket(fileno=os.dup(descriptor))
        try:
            if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.getsockname()[1] == self._port:
                client = client_of(sock.getpeername()[0])  # a listening socket has none, and ends here
                sent, received = _LAST.unpack_from(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES))
                return [(Seen(os.fstat(sock.fileno()).st_ino, client, min(sent, received) / 1000), sock)]
        except (OSError, struct.error):
            pass
        sock.close()
        return []

    def _too_many(self, found: list[Seen]) -> set[int]:
        """Which must go."""
        for seen in found:
            if seen.number not in self._order:
                self._next += 1
                self._order[seen.number] = self._next
        alive = {seen.number for seen in found}
        self._order = {number: since for number, since in self._order.items() if number in alive}
        doomed = {seen.number for seen in found if seen.idle_seconds > IDLE_SECONDS}
        of_client: dict[str, list[int]] = defaultdict(list)
        for seen in sorted(found, key=lambda one: self._order[one.number]):
            if seen.number not in doomed:
                of_client[seen.client].append(seen.number)
        for numbers in of_client.values():
            doomed.update(numbers[self._per_client :])
            del numbers[self._per_client :]
        over = sum(map(len, of_client.values())) - self._total
        for _ in range(over):
            doomed.add(max(of_client.values(), key=len).pop())
        return doomed


def client_of(address: str) -> str:
    """Whom an address stands for: one IPv4 address, or one network of IPv6."""
    if ":" not in address:
        return address
    if address.startswith("::ffff:") and "." in address:
        return address.removeprefix("::ffff:")
    packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    return f"{socket.inet_ntop(socket.AF_INET6, packed[:8] + bytes(8))}/64"


def room_for_descriptors() -> None:
    """Let this process open as many as the machine allows: each connection is one."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
