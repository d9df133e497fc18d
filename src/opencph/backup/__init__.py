"""Backups: all that must not be lost of an installation in one file, and the way back. The commands are in `backup_commands.py`.

A backup is a tar in zstd, which any `tar --zstd` lists and unpacks. Its members, in this order:

    backup.json                  what it is of: `Header`
    rows/<table>/<n>.jsonl       rows as JSON arrays, PAGE_ROWS at most; the first line has the columns' names
    files/...                    below the data directory: credentials, keys, images, shared storage, objects, phones
    manifest.json                counts and checksums of the parts: `Manifest`; without it the backup is not whole

`archive` knows the file, `headers` and `members` what is one in it, `rows` the database; `trees` reads directories, `planting`
makes them again where `places` allows it; `making` and `restoring` put them together.
"""

from __future__ import annotations

import errno

import msgspec

FORMAT = 1
HEADER_NAME, MANIFEST_NAME = "backup.json", "manifest.json"
ROWS, FILES = "rows", "files"
SUFFIX = ".tar.zst"
#: secrets that lie in the data directory itself, as patterns; each is restored for its owner alone
SECRETS = ("credentials.json", "metrics-token", "*.pem")
PIECE_BYTES = 1 << 20


class BackupError(Exception):
    """There is no backup, or no way back. The message is one sentence that says why, and what to do."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup is of. `create_ms` is the moment the rows are of."""

    format: int
    version: str
    revision: str  # of the schema
    create_ms: int
    data: str  # the data directory that was, links resolved
    network: str
    dialect: str
    objects: str  # the setting, when the objects are elsewhere and not in the backup; else ""
    sequences: dict[str, int]  # table -> the highest `seq` it ever had


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What a part of a backup has: members, the bytes of their contents, and a SHA-256 over both names and contents."""

    members: int
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The last member: what there must be. `absent` are generations whose phones' data was not on that machine."""

    version: str
    revision: str
    parts: dict[str, Part]
    rows: dict[str, int]
    absent: list[str]


def cause_of(error: OSError) -> str:
    """An operating system's error in words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on the disk{f' of {error.filename}' if error.filename else ''}"
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
