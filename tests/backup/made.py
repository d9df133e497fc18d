"""Making backups in tests: a database with rows, a file tree with everything in it, and archives that no `opencph backup` makes."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import msgspec

from opencph.backup import FORMAT, HEADER_NAME, MANIFEST_NAME, Header, Manifest
from opencph.backup.archive import Writer
from opencph.backup.members import Member
from opencph.settings import Settings
from opencph.store.migrate import HEAD

HEADER = Header(
    format=FORMAT,
    version="0.1.0",
    revision=HEAD,
    create_ms=1,
    data="/var/lib/old",
    network="127.64.0.0/10",
    dialect="sqlite",
    objects="",
    sequences={},
)


def settings_of(data: Path, database: str = "", **more: object) -> Settings:
    """Settings that know nothing of the environment."""
    return Settings.load({"data": data, "database": database or None, **more}, None, {})


def a_backup(path: Path, *members: tuple[Member, bytes], header: Header = HEADER, whole: bool = True) -> Path:
    """A backup that has these members below its header, and the manifest that belongs to them."""
    counts: dict[str, int] = {}
    for member, data in members:
        if member.name.startswith("rows/"):
            counts[member.name.split("/")[1]] = max(0, data.count(b"\n") - 1)
    with path.open("wb") as file:
        writer = Writer(file)
        writer.add_bytes(HEADER_NAME, msgspec.json.encode(header))
        for member, data in members:
            writer.add(member, (data,))
        if whole:
            manifest = Manifest(version="0.1.0", revision=header.revision, parts=writer.tally.parts(), rows=counts, absent=[])
            writer.add_bytes(MANIFEST_NAME, msgspec.json.encode(manifest))
        writer.close()
    return path


def file(name: str, data: bytes = b"") -> tuple[Member, bytes]:
    """A regular file."""
    return Member(name=name, size=len(data)), data


def raw(kind: bytes, name: str, link: str = "", **pax: str) -> bytes:
    """The header of a member of any tar there may be."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.pax_headers = kind, link, pax
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def picture(root: Path) -> dict[str, tuple[object, ...]]:
    """All that can be seen of a tree: kinds, modes, owners, times, contents, links, attributes, and where files have data."""
    found: dict[str, tuple[object, ...]] = {}
    firsts: dict[tuple[int, int], str] = {}
    for path in [root, *root.rglob("*")]:
        info = path.lstat()
        seen: tuple[object, ...] = (oct(info.st_mode), info.st_uid, info.st_gid, info.st_mtime_ns)
        shown = str(path.relative_to(root))
        if path.is_symlink():
            seen += (path.readlink(),)
        elif path.is_file():
            attributes = {key: os.getxattr(path, key) for key in os.listxattr(path)}
            same = firsts.setdefault((info.st_dev, info.st_ino), shown) if info.st_nlink > 1 else ""
            seen += (path.read_bytes() if info.st_size < 1 << 24 else info.st_size, attributes, bool(same))
        found[shown] = seen
    return found
