"""Which installations of this machine use which block of addresses. A claim lives as long as a process that holds it.

A claim is a socket with a name in the kernel, in the same network namespace as the addresses themselves; it is gone with its
last process, also after kill -9. /proc/net/unix lists the names, so that blocks which overlap without being the same are seen too.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
import time
from ipaddress import IPv4Network
from pathlib import Path
from typing import NamedTuple

from opencph.settings import Settings

NAMES = Path("/proc/net/unix")
#: How long the processes of an installation that was killed may take to end.
ENDING_SECONDS = 5.0
_NAME = re.compile(r"@opencph-network:([0-9./]+):([0-9]+):([0-9a-f]{16}):[0-9a-f]+$", re.MULTILINE)
_LOOPBACK = IPv4Network("127.0.0.0/8")


class Claim(NamedTuple):
    """A block in use, by a process of an installation."""

    network: IPv4Network
    pid: int
    installation: str


class NetworkTakenError(Exception):
    """Another installation uses addresses of this block. The message is one sentence that names it and says what to do."""


def claim(settings: Settings) -> socket.socket:
    """Claim `settings.network` for as long as the socket is open. Processes of one installation (one database) share it.

    Raises NetworkTakenError when another installation has claimed a block that overlaps.
    """
    mine = _installation(settings)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    sock.bind(f"\0opencph-network:{settings.network}:{os.getpid()}:{mine}:{secrets.token_hex(4)}")
    deadline = time.monotonic() + ENDING_SECONDS
    while (other := rival(settings)) is not None:
        if Path(f"/proc/{other.pid}").exists() or time.monotonic() > deadline:
            sock.close()
            raise NetworkTakenError(refusal(settings, other))
        time.sleep(0.02)
    return sock


def claims() -> list[Claim]:
    """All claims of this machine (of this network namespace)."""
    try:
        text = NAMES.read_text()
    except OSError:
        return []
    return [Claim(IPv4Network(block), int(pid), installation) for block, pid, installation in _NAME.findall(text)]


def rival(settings: Settings) -> Claim | None:
    """A claim of another installation that overlaps with our block."""
    mine, network = _installation(settings), IPv4Network(settings.network)
    return next((one for one in claims() if one.installation != mine and one.network.overlaps(network)), None)


def refusal(settings: Settings, other: Claim) -> str:
    """What there is to say about a block that is taken."""
    return (
        f"another OpenCPH (process {other.pid}) on this machine uses the addresses {other.network}; "
        f"stop it, or give this one a block of its own: {suggestion(settings)}"
    )


def suggestion(settings: Settings) -> str:
    """The variable to set, with a free block of the same size, or else of a smaller one."""
    used = [one.network for one in claims() if one.installation != _installation(settings)]
    for length in range(max(IPv4Network(settings.network).prefixlen, 10), 21):
        for block in list(_LOOPBACK.subnets(new_prefix=length))[1:]:
            if not any(block.overlaps(one) for one in used):
                return f"OPENCPH_NETWORK={block}"
    return "OPENCPH_NETWORK"


def _installation(settings: Settings) -> str:
    return hashlib.sha256(settings.database_url.encode()).hexdigest()[:16]
