"""Which user of this machine a phone's processes and files belong to. Using that user is the sandbox's business."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

CAP_SYS_ADMIN = 21
CAP_CHOWN, CAP_SETGID, CAP_SETUID = 0, 6, 7
FIRST = 1 << 30  # a range that no distribution gives to users or containers
SPAN = 1 << 24


@cache
def _may_give_away() -> bool:
    """Whether this process may make other users' files and processes: root, and not in a container that forbids it."""
    if os.geteuid() != 0:
        return False
    try:
        status = Path("/proc/self/status").read_text().splitlines()
        effective = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
        ranges = [tuple(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    except (OSError, StopIteration):
        return False
    if any(not effective >> capability & 1 for capability in (CAP_SYS_ADMIN, CAP_CHOWN, CAP_SETGID, CAP_SETUID)):
        return False
    return any(start <= FIRST and start + length >= FIRST + SPAN for start, _, length in ranges)


def owner_of(ip: str) -> int | None:
    """The uid (and gid) for the phone at this address: its own one when we are root, else ours (None)."""
    if not _may_give_away():
        return None
    return FIRST + int(ipaddress.ip_address(ip)) % SPAN


@contextmanager
def with_real_uid(owner: int | None) -> Iterator[None]:
    """Be the owner in name (the real uid and gid alone): the kernel asks for that, or for CAP_SYS_RESOURCE, before prlimit(2)."""
    if owner is None:
        yield
        return
    os.setresgid(owner, -1, -1)
    os.setresuid(owner, -1, -1)
    try:
        yield
    finally:
        os.setresuid(0, -1, -1)
        os.setresgid(0, -1, -1)
