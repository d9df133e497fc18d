"""The file of a backup: what goes in comes out, stock tar reads it, and no damage passes."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from backup.made import a_backup, file, raw
from opencph.backup import BackupError
from opencph.backup.archive import Tally, Writer, read, zstd
from opencph.backup.headers import HEADER_BYTES_MAX
from opencph.backup.members import Member, Segments

MEMBERS = (
    Member(name="files/images/a.tar", size=5, mode=0o640, uid=1 << 30, gid=7, mtime_ns=1_700_000_000_123_456_789),
    Member(name="files/builtin/g/phones/ü\udcff", size=3, xattrs={"user.a=b%": b"\x00\xff\n", "user.c": b""}),
    Member(name="files/builtin/g/hole", size=1 << 40, segments=Segments(((4096, 3), (1 << 39, 2)))),
    Member(name="files/builtin/g/only-hole", size=123456, segments=Segments()),
    Member(name="files/builtin/g/link", kind="symlink", link="/data/../\udc80"),
    Member(name="files/builtin/g/second", kind="hardlink", link="files/builtin/g/phones/ü\udcff"),
    Member(name="files/builtin/g/fifo", kind="fifo", mode=0o611),
    Member(name="files/builtin/g/" + "d" * 300, kind="directory", mode=0o4711),
)


def contents(member: Member) -> bytes:
    return bytes(n % 251 for n in range(member.data_bytes)) if member.kind == "file" else b""


def written() -> tuple[bytes, dict[str, object]]:
    target = io.BytesIO()
    writer = Writer(target)
    for member in MEMBERS:
        writer.add(member, (contents(member),))
    writer.close()
    return target.getvalue(), dict(writer.tally.parts())


def test_members_come_out_as_they_went_in_with_the_same_checksums() -> None:
    data, parts = written()
    tally = Tally()
    found = [(member, b"".join(taken())) for member, taken in read(io.BytesIO(data), tally)]
    assert found == [(member, contents(member)) for member in MEMBERS]
    assert tally.parts() == parts
    assert set(parts) == {"files/images", "files/builtin/g"}


def test_what_is_not_asked_for_is_checked_all_the_same() -> None:
    data, parts = written()
    tally = Tally()
    for _ in read(io.BytesIO(data), tally):
        pass
    assert tally.parts() == parts


def test_stock_tar_reads_a_backup(tmp_path: Path) -> None:
    if shutil.which("tar") is None or shutil.which("zstd") is None:
        pytest.skip("no tar that unpacks zstd: sudo apt-get install tar zstd")
    hole = (Member(name="files/builtin/g/hole", size=1 << 20, segments=Segments(((8192, 4),))), b"here")
    path = a_backup(tmp_path / "b.tar.zst", file("files/images/a.tar", b"hello"), hole)
    subprocess.run(["tar", "--zstd", "-xf", path, "-C", tmp_path], check=True)
    assert (tmp_path / "files/images/a.tar").read_bytes() == b"hello"
    assert (tmp_path / "files/builtin/g/hole").read_bytes() == bytes(8192) + b"here" + bytes((1 << 20) - 8196)


def test_a_file_that_shrinks_while_it_is_read_is_filled_with_zeros_and_one_that_grows_is_cut() -> None:
    target = io.BytesIO()
    writer = Writer(target)
    writer.add(Member(name="files/a/short", size=10), (b"abc",))
    writer.add(Member(name="files/a/long", size=2), (b"abc", b"def"))
    writer.close()
    target.seek(0)
    assert [b"".join(taken()) for _, taken in read(target, Tally())] == [b"abc" + bytes(7), b"ab"]


@settings(max_examples=150)
@given(some.data())
def test_no_change_of_any_byte_passes(data: some.DataObject) -> None:
    whole, parts = written()
    place = data.draw(some.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(some.integers(1, 255))
    tally = Tally()
    try:
        for _ in read(io.BytesIO(bytes(changed)), tally):
            pass
    except BackupError:
        return
    # What is left are bits that zstd does not use: then nothing else may have come out.
    assert tally.parts() == parts


@settings(max_examples=100)
@given(some.data())
def test_a_file_that_ends_early_never_reads_as_whole(data: some.DataObject) -> None:
    whole, parts = written()
    tally = Tally()
    cut = data.draw(some.integers(0, len(whole) - 1))
    with pytest.raises(BackupError, match=r"ends early|damaged"):
        for _ in read(io.BytesIO(whole[:cut]), tally):
            pass
    assert parts


def packed(*pieces: bytes) -> io.BytesIO:
    return io.BytesIO(zstd.compress(b"".join(pieces) + bytes(1024)))


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.CONTTYPE, b"Z"])
def test_devices_and_unknown_kinds_are_refused(kind: bytes) -> None:
    with pytest.raises(BackupError, match="device or of an unknown kind"):
        list(read(packed(raw(kind, "files/builtin/g/x")), Tally()))


def bomb() -> Iterator[bytes]:
    """A PAX header that says it has gigabytes, and has them: they pack to nothing."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 4 << 30
    yield info.tobuf(tarfile.USTAR_FORMAT)
    yield bytes(2 * HEADER_BYTES_MAX)


def test_a_header_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(BackupError, match="header of more than"):
        list(read(packed(*bomb()), Tally()))


@pytest.mark.parametrize(
    "pax",
    [
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "files/x/y", "GNU.sparse.realsize": "-5"},
        {"GNU.sparse.map": "0,1,-7,2", "GNU.sparse.size": "10"},
        {"GNU.sparse.map": "5,3,0,2", "GNU.sparse.size": "10"},
        {"GNU.sparse.map": "0,100", "GNU.sparse.size": "10"},
        {"mtime": "soon"},
        {"size": "-1"},
    ],
)
def test_headers_that_make_no_sense_are_refused(pax: dict[str, str]) -> None:
    with pytest.raises(BackupError, match="damaged"):
        list(read(packed(raw(tarfile.REGTYPE, "files/x/y", **pax), b"0\n" + bytes(510)), Tally()))


@given(some.binary(max_size=300))
def test_any_bytes_at_all_are_a_damaged_backup_and_no_crash(data: bytes) -> None:
    for given_bytes in (data, zstd.compress(data), zstd.compress(raw(tarfile.REGTYPE, "files/a/b") + data)):
        try:
            list(read(io.BytesIO(given_bytes), Tally()))
        except BackupError:
            continue
