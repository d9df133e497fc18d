"""Landlock: what a phone's program may change, whatever the file system would allow. A second line behind the mount namespace.

Source: the kernel's `Documentation/userspace-api/landlock.rst`; the three calls have the same numbers on every architecture.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from functools import cache

from opencph.handset.sandbox import linux

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION_FLAG = 1
PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_CHAR, MAKE_BLOCK = 1 << 6, 1 << 11
IOCTL_DEV = 1 << 15
#: how many of the file rights, in the kernel's order, each version of the interface knows
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_RIGHTS_MOST = 16


@cache
def version() -> int:
    """Of the kernel's interface; 0 where there is none, or where it is switched off."""
    try:
        return linux.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(VERSION_FLAG))
    except OSError:
        return 0


def confine(writable: Iterable[str]) -> None:
    """Read and execute what is there, change files below `writable` only, make no devices. For this process and all after it.

    Raises OSError where the kernel has Landlock and refuses.
    """
    if not version():
        return
    every = (1 << _RIGHTS.get(version(), _RIGHTS_MOST)) - 1
    rules = linux.syscall(CREATE_RULESET, struct.pack("=Q", every), ctypes.c_size_t(8), ctypes.c_uint(0))
    try:
        _allow(rules, "/", (EXECUTE | READ_FILE | READ_DIR) & every)
        _allow(rules, "/dev", (WRITE_FILE | READ_FILE | IOCTL_DEV) & every)
        _allow(rules, "/proc", WRITE_FILE | READ_FILE)
        for path in writable:
            with suppress(FileNotFoundError):
                _allow(rules, path, every & ~(MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV))
        linux.syscall(RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint(0))
    finally:
        os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        linux.syscall(
            ADD_RULE, ctypes.c_int(rules), ctypes.c_int(PATH_BENEATH), struct.pack("=Qi", rights, place), ctypes.c_uint(0)
        )
    finally:
        os.close(place)
