"""The header of one member in a tar of POSIX (PAX), and back. Its contents, checksums and the packing are in `archive`.

tarfile reads and writes the blocks, not the records of PAX: names and attributes come from phones, may be any bytes, and what one
is must never be read as part of another. Holes are kept as GNU tar does it, format 1.0
(https://www.gnu.org/software/tar/manual/html_section/Sparse-Formats.html), extended attributes too (`SCHILY.xattr.`).
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from typing import Any

from opencph.backup import BackupError
from opencph.backup.members import SEGMENTS_MAX, Kind, Member, Segments

#: what the records of one member may have; a backup keeps attributes of XATTRS_BYTES_MAX
HEADER_BYTES_MAX = 16 << 20
BLOCK = tarfile.BLOCKSIZE
_XATTR = b"SCHILY.xattr."
_SPARSE = b"GNU.sparse."
_KINDS: dict[bytes, Kind] = {
    tarfile.REGTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
    tarfile.FIFOTYPE: "fifo",
}
_TYPES = {kind: code for code, kind in _KINDS.items()}
#: what stands in a block for what a record says
_SAID_ELSEWHERE = "in-the-header-before"
_SECONDS_MAX = (1 << 63) // 10**9
_ID_MAX = (1 << 32) - 2
_SIZE_MAX = (1 << 63) - 1


def encode(member: Member) -> Iterator[bytes]:
    """The header, and the map of a file with holes: whole blocks, after which come the contents."""
    segments = member.segments
    size = member.data_bytes if member.kind == "file" else 0
    if segments is not None:
        size += _padded(sum(map(len, _map_of(segments, member.size))))
    info = tarfile.TarInfo(_SAID_ELSEWHERE)
    info.type, info.mode = _TYPES[member.kind], member.mode
    records: list[tuple[bytes, bytes]] = []
    name, link = _bytes_of(member.name), _bytes_of(member.link)
    if not (_is_utf8(name) and _is_utf8(link)):
        records.append((b"hdrcharset", b"BINARY"))
    for key, value, digits in (("size", size, 11), ("uid", member.uid, 7), ("gid", member.gid, 7)):
        if value < 8**digits:
            setattr(info, key, value)
        else:
            records.append((key.encode(), b"%d" % value))
    seconds, nanoseconds = divmod(member.mtime_ns, 10**9)
    info.mtime = seconds if seconds < 8**11 else 0
    records.append((b"mtime", b"%d.%09d" % (seconds, nanoseconds)))
    if segments is not None:
        records += [(_SPARSE + b"major", b"1"), (_SPARSE + b"minor", b"0"), (_SPARSE + b"name", name)]
        records.append((_SPARSE + b"realsize", b"%d" % member.size))
    elif name.isascii() and len(name) < tarfile.LENGTH_NAME:
        info.name = member.name
    else:
        records.append((b"path", name))
    if link.isascii() and len(link) <= tarfile.LENGTH_LINK:
        info.linkname = member.link
    else:
        records.append((b"linkpath", link))
    for attribute, content in member.xattrs.items():
        escaped = _bytes_of(attribute).replace(b"%", b"%25").replace(b"=", b"%3D")
        records.append((_XATTR + escaped, content))
    before = b"".join(_record(key, value) for key, value in records)
    outer = tarfile.TarInfo("././@PaxHeader")
    outer.type, outer.size, outer.mode = tarfile.XHDTYPE, len(before), 0
    yield outer.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
    yield before + bytes(-len(before) % BLOCK)
    yield info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
    if segments is not None:
        written = 0
        for line in _map_of(segments, member.size):
            written += len(line)
            yield line
        yield bytes(-written % BLOCK)


def decode(take: Callable[[int], bytes]) -> Member | None:
    """The next member, or None at the end; `take` gives exactly as many bytes. Raises BackupError, ValueError, TarError."""
    block = take(BLOCK)
    if not any(block):
        return None
    info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    records: dict[bytes, bytes] = {}
    if info.type == tarfile.XHDTYPE:
        if not 0 <= info.size <= HEADER_BYTES_MAX:
            raise BackupError(f"the backup is damaged: a header of more than {HEADER_BYTES_MAX} bytes")
        records = dict(_records(take(_padded(info.size))[: info.size]))
        info = tarfile.TarInfo.frombuf(take(BLOCK), "utf-8", "surrogateescape")
    kind: Any = _KINDS.get(info.type)
    name = _text_of(records.get(_SPARSE + b"name", records.get(b"path", _bytes_of(info.name))))
    if kind is None:
        raise BackupError(f"the backup has a member that no backup has: {name!r} is a device or of an unknown kind")
    size = _number(records, b"size", info.size, _SIZE_MAX)
    if size and kind != "file":
        raise ValueError(f"{name!r} is a {kind} with contents")
    segments = None
    if any(key.startswith(_SPARSE) for key in records):
        if kind != "file" or (records.get(_SPARSE + b"major"), records.get(_SPARSE + b"minor")) != (b"1", b"0"):
            raise ValueError(f"the holes of {name!r}")
        segments, size = _read_map(take, size), _number(records, _SPARSE + b"realsize", -1, _SIZE_MAX)
        if segments.end > size:
            raise ValueError(f"the size of {name!r}")
    seconds, _, fraction = records.get(b"mtime", b"%d" % int(info.mtime)).partition(b".")
    if not seconds.isdigit() or int(seconds) > _SECONDS_MAX or (fraction and not fraction.isdigit()):
        raise ValueError(f"the time of {name!r}")
    return Member(
        name=name.rstrip("/") if kind == "directory" else name,
        kind=kind,
        size=size,
        mode=info.mode & 0o7777,
        uid=_number(records, b"uid", info.uid, _ID_MAX),
        gid=_number(records, b"gid", info.gid, _ID_MAX),
        mtime_ns=int(seconds) * 10**9 + int((fraction or b"0")[:9].ljust(9, b"0")),
        link=_text_of(records.get(b"linkpath", _bytes_of(info.linkname))),
        xattrs={
            _text_of(key.removeprefix(_XATTR).replace(b"%3D", b"=").replace(b"%25", b"%")): value
            for key, value in records.items()
            if key.startswith(_XATTR)
        },
        segments=segments,
    )


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _padded(size: int) -> int:
    return size + -size % BLOCK


def _record(key: bytes, value: bytes) -> bytes:
    """A record of PAX: its length, which counts its own digits, the key and the value."""
    rest = b" %b=%b\n" % (key, value)
    length = len(rest)
    while (whole := len(rest) + len(str(length))) != length:
        length = whole
    return b"%d%b" % (length, rest)


def _records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 0
    while place < len(data):
        digits = data[place : place + 20].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        key, is_one, value = data[place + len(digits) + 1 : place + length - 1].partition(b"=")
        if length < len(digits) + 3 or not is_one or data[place + length - 1 : place + length] != b"\n":
            raise ValueError("a header that is none")
        yield key, value
        place += length


def _number(records: dict[bytes, bytes], key: bytes, otherwise: int, most: int) -> int:
    text = records.get(key)
    number = otherwise if text is None else int(text) if text.isdigit() and len(text) < 20 else -1
    if not 0 <= number <= most:
        raise ValueError(f"the {key.decode()} of a member")
    return number


def _map_of(segments: Segments, size: int) -> Iterator[bytes]:
    """How many, and the offset and length of each; the last one, of nothing, is where the file ends."""
    yield b"%d\n" % (len(segments) + 1)
    for pair in segments:
        yield b"%d\n%d\n" % pair
    yield b"%d\n0\n" % size


def _read_map(take: Callable[[int], bytes], size: int) -> Segments:
    """Read the map of a file that has `size` bytes in the archive, the map's own among them."""
    used = 0

    def numbers() -> Iterator[int]:
        nonlocal used
        rest = b""
        while used + BLOCK <= size:
            *lines, rest = (rest + take(BLOCK)).split(b"\n")
            used += BLOCK
            for line in lines:
                if not line.isdigit() or len(line) >= 20:
                    raise ValueError("a map of holes that is none")
                yield int(line)
        raise ValueError("a map of holes that does not end")

    found = numbers()
    count = next(found)
    if count > SEGMENTS_MAX + 1:
        raise ValueError(f"a file of more than {SEGMENTS_MAX} pieces")
    segments = Segments()
    for _ in range(count):
        offset, length = next(found), next(found)
        if length:
            segments.add(offset, length)
    if used + segments.data_bytes != size:
        raise ValueError("a map of holes that does not fit its file")
    return segments
