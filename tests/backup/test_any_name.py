"""Whatever phones name their files and attributes, and wherever those have holes: it comes back, and stock tar reads it too."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some

from backup.made import a_backup, settings_of
from opencph.backup import BackupError
from opencph.backup.archive import Tally, Writer, read, zstd
from opencph.backup.headers import BLOCK, decode, encode
from opencph.backup.making import back_up
from opencph.backup.members import Kind, Member, Segments
from opencph.backup.restoring import check, restore
from opencph.preparation import prepare_database, prepare_directories

NAMES = some.one_of(
    some.binary(min_size=1, max_size=255),
    some.text(min_size=1, max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass")[:255]),
    some.integers(80, 255).map(lambda count: b"n" * count),
).filter(lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b".."))
#: what an attribute or a link may be so that a reader takes it for something else
TRAPS = (
    b"21 hdrcharset=BINARY\n",
    b"9 hdrcharset=\xff\n",
    b"20 path=/etc/passwd\n",
    b"GNU.sparse.map=1",
    b"=",
    b"%3D%25%",
    b"\n",
    b"\xff",
)


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


@some.composite
def segments(draw: some.DrawFn) -> tuple[int, Segments | None]:
    """A size, and where there is data."""
    if draw(some.booleans()):
        return draw(some.sampled_from((0, 1, 511, 512, 513, 5000))), None
    found, end = Segments(), 0
    for _ in range(draw(some.integers(0, 6))):
        offset = end + draw(some.sampled_from((0, 1, 512, 4096, 1 << 20, 1 << 40)))
        length = draw(some.integers(1, 2000))
        found.add(offset, length)
        end = offset + length
    return end + draw(some.sampled_from((0, 1, 4096, 1 << 50))), found


@some.composite
def members(draw: some.DrawFn) -> Member:
    kinds: tuple[Kind, ...] = ("file", "directory", "symlink", "hardlink", "fifo")
    kind = draw(some.sampled_from(kinds))
    name = "files/builtin/g/" + text(b"/".join(draw(some.lists(NAMES, min_size=1, max_size=4))))
    size, where = draw(segments()) if kind == "file" else (0, None)
    link = ""
    if kind in ("symlink", "hardlink"):
        link = text(draw(some.one_of(NAMES, some.sampled_from(TRAPS), some.just(b"x/" * 2000))))
    attributes = some.dictionaries(
        some.one_of(NAMES, some.sampled_from(TRAPS)).map(lambda name: text(b"user." + name)),
        some.one_of(some.binary(max_size=300), some.sampled_from(TRAPS), some.just(b"\0" * 70_000)),
        max_size=3,
    )
    return Member(
        name=name,
        kind=kind,
        size=size,
        mode=draw(some.integers(0, 0o7777)),
        uid=draw(some.sampled_from((0, 1000, 8**7 - 1, 8**7, 2**32 - 2))),
        gid=draw(some.sampled_from((0, 8**7, 2**32 - 2))),
        mtime_ns=draw(some.one_of(some.integers(0, 2**62), some.sampled_from((0, 8**11 * 10**9, 2**63 - 1)))),
        link=link,
        xattrs=draw(attributes) if kind in ("file", "directory") else {},
        segments=where,
    )


@settings(max_examples=300, deadline=None)
@given(some.lists(members(), min_size=1, max_size=3))
@example([Member(name="files/builtin/g/urlaubsfoto-größe.jpg", size=100_000, segments=Segments())])
@example([Member(name="files/builtin/g/" + "n" * 99, kind="directory")])
def test_a_member_comes_out_as_it_went_in_whatever_it_is_called(given_members: list[Member]) -> None:
    target = io.BytesIO()
    writer = Writer(target)
    data = [bytes(n % 253 + 1 for n in range(member.data_bytes)) for member in given_members]
    for member, contents in zip(given_members, data, strict=True):
        writer.add(member, (contents,) if contents else ())
    writer.close()
    target.seek(0)
    tally = Tally()
    found = [(member, b"".join(contents())) for member, contents in read(target, tally)]
    assert found == list(zip(given_members, data, strict=True))
    assert tally.parts() == writer.tally.parts()


@settings(max_examples=200, deadline=None)
@given(members(), some.data())
def test_a_header_that_is_changed_is_another_or_is_refused_and_never_a_crash(member: Member, data: some.DataObject) -> None:
    whole = bytearray(b"".join(encode(member)))
    for _ in range(data.draw(some.integers(1, 4))):
        whole[data.draw(some.integers(0, len(whole) - 1))] = data.draw(some.integers(0, 255))
    # the sums of the blocks are made right again: who harms does so too
    for start in range(0, len(whole), BLOCK):
        if whole[start + 257 : start + 262] == b"ustar":
            block = whole[start : start + BLOCK]
            block[148:156] = b" " * 8
            whole[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    try:
        list(read(io.BytesIO(zstd.compress(bytes(whole) + bytes(1024))), Tally()))
    except BackupError:
        return


def test_a_file_of_any_size_with_holes_has_a_header_that_stock_tar_and_python_read() -> None:
    member = Member(name="files/builtin/g/größe", size=1 << 45, segments=Segments(((0, 9 << 30), (1 << 40, 512))))
    whole = io.BytesIO(b"".join(encode(member)))
    assert decode(whole.read) == member
    assert whole.read() == b""
    whole.seek(0)
    with tarfile.open(fileobj=whole, mode="r:") as archive:
        info = archive.next()
    assert info is not None
    assert (info.name, info.size) == (member.name, member.size)
    assert getattr(info, "sparse", None) == [(0, 9 << 30), (1 << 40, 512), (1 << 45, 0)]


def a_phone(place: Path, names: list[bytes]) -> None:
    """Every kind of file, under names such as these."""
    kinds = ("file", "sparse", "link", "hard", "directory", "fifo")
    first = place
    for number, name in enumerate(dict.fromkeys(names)):
        path = place / os.fsdecode(name)
        kind = kinds[number % len(kinds)]
        if kind == "directory":
            path.mkdir()
            place = path
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "link":
            os.symlink(name, path)  # noqa: PTH211 (a Path would make another name of it)
        elif kind == "hard":
            path.hardlink_to(first)
        else:
            path.write_bytes(name)
            os.truncate(path, 1_000_000 if kind == "sparse" else len(name))
            os.setxattr(path, b"user." + name[:200], name)
            first = path


def seen(root: Path) -> dict[str, tuple[object, ...]]:
    """What is below a directory."""
    found: dict[str, tuple[object, ...]] = {}
    for path in root.rglob("*"):
        info = path.lstat()
        said: tuple[object, ...] = (info.st_mode, info.st_nlink, info.st_mtime_ns, info.st_uid)
        if path.is_symlink():
            said += (os.readlink(os.fsencode(path)),)  # noqa: PTH115 (a Path would make another name of it)
        elif path.is_file():
            said += (path.read_bytes(), {key: os.getxattr(path, key) for key in os.listxattr(path)})
        found[str(path.relative_to(root))] = said
    return found


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(some.lists(NAMES, min_size=4, max_size=14))
@example([b"a", "größe".encode(), b"\xff", b"n" * 255, b"\n", "ü".encode() * 100, b"\xfe", b"%=", "z\u0308".encode() * 60])
def test_what_phones_have_is_restored_whatever_it_is_called(names: list[bytes]) -> None:
    with tempfile.TemporaryDirectory(prefix="cph-", dir="/tmp") as place:
        old = settings_of(Path(place) / "old")
        prepare_directories(old)
        prepare_database(old)
        share = old.data / "share-filesystems/p/s"
        share.mkdir(parents=True)
        a_phone(share, names)
        made = back_up(old, Path(place) / "b")
        assert made.left == []
        check(made.file)
        assert restore(settings_of(Path(place) / "new"), made.file).left == []
        assert seen(Path(place) / "new/share-filesystems") == seen(old.data / "share-filesystems")


def test_stock_tar_reads_every_name_with_its_holes_and_attributes(tmp_path: Path) -> None:
    if shutil.which("tar") is None or shutil.which("zstd") is None:
        pytest.skip("no tar that unpacks zstd: sudo apt-get install tar zstd")
    names = ["größe", "n" * 255, "\udcff\udcfe", "a\nb", "d" * 90 + "/" + "e" * 90 + "/ü"]
    attributes = {"user.\udcff=%": b"\0\xff"}
    sparse = [
        (Member(name=f"files/builtin/g/{name}", size=1 << 20, segments=Segments(((8192, 4),)), xattrs=attributes), b"here")
        for name in sorted(names)
    ]
    path = a_backup(tmp_path / "b", *sparse)
    command = ["tar", "--zstd", "--xattrs", "--xattrs-include=user.*", "-xf", str(path), "-C", str(tmp_path)]
    subprocess.run(command, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    for name in names:
        found = tmp_path / "files/builtin/g" / name
        assert found.read_bytes() == bytes(8192) + b"here" + bytes((1 << 20) - 8196)
        assert os.getxattr(found, os.fsdecode(b"user.\xff=%")) == b"\0\xff"
        assert found.stat().st_blocks * 512 <= 65536
