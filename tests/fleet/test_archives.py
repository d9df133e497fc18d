"""Archives from outside: what is refused, and in which words. They are looked through before anything reaches a phone."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencph.fleet import archives
from opencph.fleet.archives import ArchiveError, ArchiveWriter, check, entries

MIB = 1 << 20


def _tar(*members: tarfile.TarInfo, data: bytes = b"") -> io.BytesIO:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return file


def _member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, target, size
    return member


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (_member("../etc/passwd"), "has '..' in its path"),
        (_member("data/../../x"), "has '..' in its path"),
        (_member("data/link", tarfile.SYMTYPE, "/etc/passwd"), "only relative links"),
        (_member("data/link", tarfile.SYMTYPE, "../x"), "leads out of its directory"),
        (_member("data/a/link", tarfile.SYMTYPE, "b/../../../x"), "leads out of its directory"),
        (_member("data/hard", tarfile.LNKTYPE, "data/x"), "hard link"),
        (_member("data/node", tarfile.CHRTYPE), "device or a pipe"),
        (_member("data/node", tarfile.BLKTYPE), "device or a pipe"),
        (_member("data/pipe", tarfile.FIFOTYPE), "device or a pipe"),
        (_member("data/" + "d/" * 70 + "x"), "directories deep"),
        (_member("data/" + f"{'n' * 200}/" * 5 + "n" * 10), "the path .* has more than"),
        (_member("data/" + "y" * 256), "a name of more than 255 bytes"),
        (_member("data/" + "é" * 128 + "/x"), "a name of more than 255 bytes"),
        (_member("data/new\nline"), "no path may have"),
        (_member("system/x"), "not below /data or /cache"),
    ],
)
def test_what_must_not_be_unpacked_is_refused(member: tarfile.TarInfo, words: str) -> None:
    with pytest.raises(ArchiveError, match=words):
        check(_tar(member), MIB, ("data", "cache"))


def test_an_absolute_name_is_taken_below_the_root_as_tar_does() -> None:
    (entry,) = entries(_tar(_member("/data/x")))
    assert entry.path == "/data/x"


def test_a_file_below_a_link_of_the_same_archive_is_refused() -> None:
    with pytest.raises(ArchiveError, match="is a file or a link"):
        check(_tar(_member("data/a", tarfile.SYMTYPE, "b"), _member("data/a/x")), MIB)


def test_a_name_of_255_bytes_is_taken() -> None:
    assert check(_tar(_member("data/" + "y" * 255, size=1), data=b"x"), MIB) == 1


@pytest.mark.parametrize(
    "members",
    [
        (_member("data/a/b"), _member("data/a")),
        (_member("data/a/b"), _member("data/a", tarfile.SYMTYPE, "b")),
        (_member("data/a", tarfile.DIRTYPE), _member("data/a")),
        (_member("data/a"), _member("data/a", tarfile.DIRTYPE)),
    ],
)
def test_a_directory_that_is_also_something_else_in_the_archive_is_refused(members: tuple[tarfile.TarInfo, ...]) -> None:
    with pytest.raises(ArchiveError, match="'/data/a' is a directory and also a file or a link"):
        check(_tar(*members), MIB)


def test_a_directory_may_be_named_again_behind_what_lies_in_it() -> None:
    check(_tar(_member("data/a/b"), _member("data/a", tarfile.DIRTYPE), _member("data/a", tarfile.DIRTYPE)), MIB)


@pytest.mark.parametrize("compress", ["gz", "bz2", "xz"])
def test_a_compressed_archive_is_refused(compress: str) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=f"w:{compress}") as archive:  # type: ignore[call-overload]
        archive.addfile(_member("data/x"))
    with pytest.raises(ArchiveError, match="must not be compressed"):
        check(file, MIB)


def test_an_archive_that_unpacks_to_more_than_there_is_room_for_is_refused() -> None:
    with pytest.raises(ArchiveError, match="unpacks to more than 99 bytes"):
        check(_tar(_member("data/x", size=100), data=b"x" * 100), 99)


def test_a_header_that_claims_gigabytes_is_not_read() -> None:
    bomb = _member("data/x", tarfile.XHDTYPE, size=5 << 30)
    with pytest.raises(ArchiveError, match="extended header"):
        check(io.BytesIO(bomb.tobuf(tarfile.USTAR_FORMAT) + b"x" * 512), MIB)


def test_a_sparse_file_is_refused() -> None:
    member = _member("data/x")
    member.type = tarfile.GNUTYPE_SPARSE
    with pytest.raises(ArchiveError, match=r"sparse|damaged|device"):
        check(io.BytesIO(member.tobuf(tarfile.GNU_FORMAT) + bytes(1024)), MIB)


def test_too_many_entries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "ENTRIES_MAX", 3)
    with pytest.raises(ArchiveError, match="more than 3 entries"):
        check(_tar(*(_member(f"data/{number}") for number in range(5))), MIB)


@pytest.mark.parametrize("make", [lambda: io.BytesIO(b""), lambda: io.BytesIO(b"no tar at all" * 100), lambda: _tar()])
def test_what_is_no_archive_is_refused(make: Callable[[], io.BytesIO]) -> None:
    with pytest.raises(ArchiveError):
        check(make(), MIB)


@given(st.binary(max_size=2000))
def test_any_bytes_end_in_words(data: bytes) -> None:
    whole = bytearray(_tar(_member("data/x", size=10), data=b"x" * 10).getvalue())
    whole[: len(data)] = data
    try:
        check(io.BytesIO(bytes(whole)), MIB)
    except ArchiveError as refused:
        assert str(refused)


def test_what_an_export_writes_can_be_read_again() -> None:
    file = io.BytesIO()
    writer = ArchiveWriter(file)
    long = "/data/" + "ü" * 100 + "/" + "ü" * 50
    writer.head("/data/d", 0o40751, 7)
    writer.head(long, 0o100640, 8, 3)
    writer.write(b"abc")
    writer.pad(3)
    writer.head("/data/d/l", 0o120777, 9, 0, archives.relative_target("/data/d/l", "/data/media/0"))
    writer.close()
    assert check(file, MIB, ("data",)) == 3
    found = [(one.path, one.mode, one.mtime, b"".join(one.pieces())) for one in entries(file)]
    assert found == [
        ("/data/d", 0o40751, 7, b""),
        (long, 0o100640, 8, b"abc"),
        ("/data/d/l", 0o120777, 9, b"../media/0"),
    ]
