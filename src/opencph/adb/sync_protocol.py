"""Framing of the file service (`sync:`), versions 1 and 2: ids, requests and answers as bytes. No I/O, no files.

Source: AOSP `packages/modules/adb/file_sync_protocol.h` and `SYNC.TXT`.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

STAT, LSTAT_V1 = b"STAT", b"STAT"  # version 1 knows only lstat, under the name STAT
STA2, LST2 = b"STA2", b"LST2"
LIST, LIS2, DENT, DNT2 = b"LIST", b"LIS2", b"DENT", b"DNT2"
SEND, SND2, RECV, RCV2 = b"SEND", b"SND2", b"RECV", b"RCV2"
DATA, DONE, OKAY, FAIL, QUIT = b"DATA", b"DONE", b"OKAY", b"FAIL", b"QUIT"

DATA_MAX = 64 * 1024  # bytes in one DATA chunk
PATH_MAX = 1024  # bytes in a path

REQUEST = struct.Struct("<4sI")
STAT_V1 = struct.Struct("<4sIII")
STAT_V2 = struct.Struct("<4sIQQIIIIQqqq")
DENT_V1 = struct.Struct("<4sIIII")
DENT_V2 = struct.Struct("<4sIQQIIIIQqqqI")
SEND_V2_SETUP = struct.Struct("<4sII")
RECV_V2_SETUP = struct.Struct("<4sI")

FLAG_BROTLI, FLAG_LZ4, FLAG_ZSTD, FLAG_DRY_RUN = 1, 2, 4, 0x80000000


class FileStat(NamedTuple):
    """What both versions say of a file. `error` is an errno, 0 when the file is there. Times in seconds."""

    error: int = 0
    dev: int = 0
    ino: int = 0
    mode: int = 0
    nlink: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0
    atime: int = 0
    mtime: int = 0
    ctime: int = 0


def request(kind: bytes, argument: bytes) -> bytes:
    """A request with a path (or nothing) behind it."""
    return REQUEST.pack(kind, len(argument)) + argument


def fail(text: str) -> bytes:
    """The answer that carries an error's text to the user's terminal."""
    data = text.encode("utf-8", "surrogateescape")[:DATA_MAX]
    return REQUEST.pack(FAIL, len(data)) + data


def stat_v1(stat: FileStat) -> bytes:
    """Version 1: mode 0 stands for `not there`; sizes over 4 GiB wrap, as adbd's do."""
    if stat.error:
        return STAT_V1.pack(STAT, 0, 0, 0)
    return STAT_V1.pack(STAT, stat.mode, stat.size & 0xFFFFFFFF, stat.mtime & 0xFFFFFFFF)


def stat_v2(kind: bytes, stat: FileStat) -> bytes:
    """The answer to STA2 or LST2."""
    return STAT_V2.pack(kind, *stat)


def dent_v1(name: bytes, stat: FileStat) -> bytes:
    """One directory entry of version 1."""
    return DENT_V1.pack(DENT, stat.mode, stat.size & 0xFFFFFFFF, stat.mtime & 0xFFFFFFFF, len(name)) + name


def dent_v2(name: bytes, stat: FileStat) -> bytes:
    """One directory entry of version 2."""
    return DENT_V2.pack(DNT2, *stat, len(name)) + name


LIST_DONE_V1 = DENT_V1.pack(DONE, 0, 0, 0, 0)
LIST_DONE_V2 = DENT_V2.pack(DONE, *FileStat(), 0)
