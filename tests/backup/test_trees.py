"""Directories through a backup: they come back as they were, and nobody's links lead it astray."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from backup.made import picture
from opencph.backup import BackupError, trees
from opencph.backup.archive import Tally, Writer, read
from opencph.backup.members import Member, Segments
from opencph.backup.places import Places
from opencph.backup.planting import TreeWriter
from opencph.backup.trees import DEPTH_MAX, LEFT_MAX, TreeReader


def packed(root: Path) -> tuple[bytes, TreeReader]:
    target = io.BytesIO()
    writer = Writer(target)
    reader = TreeReader(writer)
    descriptor = os.open(root, os.O_RDONLY)
    try:
        reader.add_tree(descriptor, "files/builtin/g", skip=lambda below: below == "host.lock")
    finally:
        os.close(descriptor)
    writer.close()
    return target.getvalue(), reader


def unpacked(data: bytes, root: Path) -> None:
    root.mkdir(exist_ok=True)
    writer = TreeWriter(str(root))
    try:
        for member, contents in read(io.BytesIO(data), Tally()):
            writer.make(member, member.name.split("/")[3:] or ["."], member.link.split("/")[3:], contents)
    finally:
        writer.close()


def a_tree(root: Path) -> None:
    (root / "data/deep/er").mkdir(parents=True)
    (root / "data/empty").mkdir()
    (root / "data/file").write_bytes(os.urandom(3_000_000))
    (root / "data/none").write_bytes(b"")
    os.link(root / "data/file", root / "data/deep/same")
    (root / "data/link").symlink_to("/etc/passwd")
    (root / "data/dangling").symlink_to("../../nowhere")
    os.mkfifo(root / "data/fifo", 0o622)
    (root / os.fsdecode(b"data/\xff\xfename\nline")).write_text("odd")
    with (root / "data/hole").open("wb") as file:
        file.seek(50 << 20)
        file.write(b"end")
        file.truncate(200 << 20)
    (root / "data/setuid").write_text("x")
    (root / "data/setuid").chmod(0o4755)
    (root / "data/deep").chmod(0o1711)
    os.utime(root / "data/file", ns=(5, 1_234_567_890_123_456_789))
    os.utime(root / "data/link", ns=(5, 987_654_321_000_000_001), follow_symlinks=False)
    os.utime(root / "data/deep/er", ns=(5, 7_000_000_007))
    if os.geteuid() == 0:
        os.chown(root / "data/none", (1 << 30) + 5, (1 << 30) + 6)
        os.chown(root / "data/link", 12345, 54321, follow_symlinks=False)
    with contextlib.suppress(OSError):  # a file system without them
        os.setxattr(root / "data/file", "user.opencph", b'{"a": 1}')


def test_a_tree_comes_back_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    a_tree(tmp_path / "old")
    data, reader = packed(tmp_path / "old")
    unpacked(data, tmp_path / "new")
    expected, found = picture(tmp_path / "old"), picture(tmp_path / "new")
    assert {name: found.get(name) for name in expected if name != "."} == {name: expected[name] for name in expected if name != "."}
    assert found.keys() == expected.keys()
    assert reader.left == []
    assert (tmp_path / "new/data/file").stat().st_ino == (tmp_path / "new/data/deep/same").stat().st_ino
    assert (tmp_path / "new/data/hole").stat().st_blocks * 512 < 1 << 20
    assert len(data) < 4_000_000


def test_sockets_and_what_is_skipped_are_left_out(tmp_path: Path) -> None:
    root = tmp_path / "old"
    root.mkdir()
    (root / "host.lock").write_text("1")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "s"))
        data, _ = packed(root)
    assert [member.name for member, _ in read(io.BytesIO(data), Tally())] == ["files/builtin/g"]


def test_directories_that_are_too_deep_are_told(tmp_path: Path) -> None:
    root = tmp_path / "old"
    root.mkdir()
    descriptor = os.open(root, os.O_RDONLY)
    for _ in range(DEPTH_MAX + 3):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    _, reader = packed(root)
    assert [one.why for one in reader.left] == [f"more than {DEPTH_MAX} directories deep"]


def test_a_tree_that_changes_while_it_is_read_is_no_error_and_leads_nowhere_else(tmp_path: Path) -> None:
    root, secret = tmp_path / "old", tmp_path / "secret"
    (root / "a/b").mkdir(parents=True)
    secret.mkdir()
    (secret / "c").write_text("of the host")
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            for path, target in ((root / "a/b", secret), (root / "a/c", secret / "c")):
                try:
                    path.symlink_to(target)
                    path.unlink()
                    path.mkdir()
                    (path / "c").write_text("of the phone")
                    (path / "c").unlink()
                    path.rmdir()
                except OSError:
                    (path / "c").unlink(missing_ok=True) if not path.is_symlink() else path.unlink()
                    path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        seen: set[bytes] = set()
        for _ in range(200):
            data, reader = packed(root)
            assert reader.left == [] or {one.why for one in reader.left} <= {"Not a directory", "Too many levels of symbolic links"}
            seen |= {b"".join(contents()) for _, contents in read(io.BytesIO(data), Tally())}
    finally:
        over.set()
        swapper.join()
    assert seen <= {b"", b"of the phone", bytes(len("of the phone"))}


def test_a_user_that_is_not_root_reads_what_its_phones_have_locked() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    with tempfile.TemporaryDirectory(prefix="ocph-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        _as_somebody_else(Path(name) / "old")


def _as_somebody_else(root: Path) -> None:
    (root / "locked").mkdir(parents=True)
    (root / "locked/file").write_text("locked away")
    for path, mode in ((root / "locked/file", 0), (root / "locked", 0)):
        path.chmod(mode)
        os.chown(path, 12345, 12345)
    os.chown(root, 12345, 12345)
    program = (
        "import os, sys\nfrom backup.test_trees import packed\nfrom pathlib import Path\n"
        "os.setgroups([]); os.setresgid(12345, 12345, 12345); os.setresuid(12345, 12345, 12345)\n"
        "data, reader = packed(Path(sys.argv[1]))\nassert not reader.left, reader.left\nsys.stdout.buffer.write(data)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", program, root], capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found = {member.name: (member.mode, b"".join(contents())) for member, contents in read(io.BytesIO(done.stdout), Tally())}
    assert found["files/builtin/g/locked/file"] == (0, b"locked away")
    assert found["files/builtin/g/locked"][0] == 0
    assert (root / "locked").stat().st_mode & 0o777 == 0


@pytest.mark.parametrize(
    "members",
    [
        [Member(name="a", kind="symlink", link="/tmp"), Member(name="a/b", size=0)],
        [Member(name="a", kind="symlink", link="."), Member(name="a/b", kind="directory")],
        [Member(name="a", size=0), Member(name="a/b", size=0)],
        [Member(name="a", kind="symlink", link="/etc/passwd"), Member(name="b", kind="hardlink", link="a")],
        [Member(name="b", kind="hardlink", link="nothing")],
        [Member(name="a", size=0), Member(name="a", size=0)],
        [Member(name="a", kind="symlink", link="/tmp/x"), Member(name="a", size=0)],
        [Member(name="a", size=0, xattrs={"security.capability": b"x"})],
    ],
)
def test_members_that_lead_elsewhere_are_refused(tmp_path: Path, members: list[Member]) -> None:
    root = tmp_path / "new"
    root.mkdir()
    writer = TreeWriter(str(root))
    try:
        with pytest.raises((BackupError, NotADirectoryError)):
            for member in members:
                writer.make(member, member.name.split("/"), member.link.split("/"), lambda: iter(()))
    finally:
        writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def churn(root: Path) -> subprocess.Popen[bytes]:
    """A phone that names its files anew all the time, until it is ended."""
    program = 'cd "$0"; while :; do for i in 1 2 3 4; do cp -rl zz a$i; mv a$i b$i; rm -rf b$i; done; done'
    return subprocess.Popen(["sh", "-c", program, root], stderr=subprocess.DEVNULL, start_new_session=True)


def test_names_that_come_and_go_meanwhile_never_make_a_backup_that_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "old"
    (root / "zz").mkdir(parents=True)
    for number in range(30):
        (root / f"zz/{number}").write_text(str(number))
    churning = churn(root)
    try:
        for number in range(60):
            data, _ = packed(root)
            unpacked(data, tmp_path / f"new{number}")
            places = Places()
            for member, contents in read(io.BytesIO(data), Tally()):
                places.check(member, member.name.split("/")[1:])
                assert member.data_bytes == 0 or b"".join(contents()).decode() == member.name.rpartition("/")[2]
            places.finish()
    finally:
        os.killpg(churning.pid, signal.SIGKILL)
        churning.wait()


def test_a_first_name_that_goes_before_it_is_opened_is_no_first_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "old"
    root.mkdir()
    (root / "a").write_text("x")
    (root / "y").hardlink_to(root / "a")
    (root / "z").hardlink_to(root / "a")
    opened = trees.open_at

    def gone(name: str, parent: int, flags: int) -> int:
        if name == "a":
            os.unlink(name, dir_fd=parent)
        return opened(name, parent, flags)

    monkeypatch.setattr(trees, "open_at", gone)
    data, _ = packed(root)
    found = [(member.name[16:], member.kind, member.link[16:]) for member, _ in read(io.BytesIO(data), Tally())]
    assert found[:2] == [("y", "file", ""), ("z", "hardlink", "y")]


@pytest.mark.parametrize("generations", [True, False])
def test_a_file_that_gets_the_number_of_one_that_is_gone_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generations: bool
) -> None:
    root = tmp_path / "old"
    root.mkdir()
    for first, second in ("ab", "cd"):
        (root / first).write_text(first)
        (root / second).hardlink_to(root / first)
    if not generations:
        monkeypatch.setattr(trees, "_GET_VERSION", 0)  # as on a file system without them
    opened, numbers = trees.open_at, []

    def again(name: str, parent: int, flags: int) -> int:
        if name == "b":
            numbers.append((root / "a").stat().st_ino)
            for old in "abcd":
                (root / old).unlink()
            for new, other in ("cd", "ba"):
                (root / new).write_text("the new one")
                (root / other).hardlink_to(root / new)
            numbers.extend((root / new).stat().st_ino for new in "cb")
        return opened(name, parent, flags)

    monkeypatch.setattr(trees, "open_at", again)
    data, _ = packed(root)
    found = {
        member.name[16:]: (member.kind, member.link[16:], b"".join(contents()))
        for member, contents in read(io.BytesIO(data), Tally())
    }
    assert found["a"] == ("file", "", b"a")
    assert found["b"] == ("file", "", b"the new one")
    assert found["c"] == ("file", "", b"the new one")
    assert found["d"] == ("hardlink", "c", b"")
    assert len(numbers) == 3


def test_a_file_that_cannot_be_read_is_told_and_the_rest_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "old"
    root.mkdir()
    (root / "bad").write_bytes(b"x" * 1000)
    (root / "good").write_bytes(b"y" * 1000)
    read_at, number = os.pread, (root / "bad").stat().st_ino

    def failing(descriptor: int, count: int, offset: int) -> bytes:
        if os.fstat(descriptor).st_ino == number:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read_at(descriptor, count, offset)

    monkeypatch.setattr(os, "pread", failing)
    data, reader = packed(root)
    assert reader.left == [("files/builtin/g/bad", "what it has from byte 0: Input/output error")]
    found = [b"".join(contents()) for _, contents in read(io.BytesIO(data), Tally())]
    assert found == [bytes(1000), b"y" * 1000, b""]


def test_many_pieces_and_zeros_come_back_as_holes(tmp_path: Path) -> None:
    root = tmp_path / "old"
    root.mkdir()
    with (root / "pieces").open("wb") as file:
        for number in range(10_005):
            file.seek((number + 1) << 18)
            file.write(b"x\n")
    with (root / "zeros").open("wb") as file:
        file.write(b"begin" + bytes(30 << 20) + b"end")
    data, reader = packed(root)
    assert reader.left == []
    assert len(data) < 1 << 20
    assert sum(member.data_bytes for member, _ in read(io.BytesIO(data), Tally())) < 80 << 20
    unpacked(data, tmp_path / "new")
    old, new = root / "pieces", tmp_path / "new/pieces"
    assert new.stat().st_size == old.stat().st_size
    assert new.stat().st_blocks <= old.stat().st_blocks * 1.1
    assert (tmp_path / "new/zeros").stat().st_blocks * 512 <= 1 << 20
    assert (tmp_path / "new/zeros").read_bytes() == (root / "zeros").read_bytes()
    with new.open("rb") as file:
        for number in (1, 5_000, 10_005):
            file.seek((number << 18) - 3)
            assert file.read(5) == bytes(3) + b"x\n"


def test_a_file_of_more_pieces_than_memory_is_for_is_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "SEGMENTS_MAX", 3)
    root = tmp_path / "old"
    root.mkdir()
    for name, count in (("three", 3), ("four", 4)):
        with (root / name).open("wb") as file:
            for number in range(count):
                file.seek((number + 1) << 20)
                file.write(b"x")
    os.link(root / "four", root / "other-of-four")
    data, reader = packed(root)
    assert [(one.name[16:], one.why) for one in reader.left] == [
        ("four", "more than 3 pieces between holes"),
        ("other-of-four", "more than 3 pieces between holes"),
    ]
    assert [member.name for member, _ in read(io.BytesIO(data), Tally())] == ["files/builtin/g/three", "files/builtin/g"]


def test_attributes_that_are_too_much_are_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "XATTRS_BYTES_MAX", 1000)
    root = tmp_path / "old"
    root.mkdir()
    (root / "file").write_text("x")
    os.setxattr(root / "file", "user.a", b"a" * 100)
    os.setxattr(root / "file", "user.b", b"b" * 1000)
    data, reader = packed(root)
    assert reader.left == [("files/builtin/g/file", "its attributes of more than 1000 bytes")]
    assert len(next(iter(read(io.BytesIO(data), Tally())))[0].xattrs) <= 1


def test_a_phone_that_has_countless_such_files_is_told_of_in_a_few_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "XATTRS_BYTES_MAX", 1)
    root = tmp_path / "old"
    root.mkdir()
    for number in range(LEFT_MAX + 50):
        (root / f"{number}").touch()
        os.setxattr(root / f"{number}", "user.a", b"a")
    _, reader = packed(root)
    assert len(reader.left) == LEFT_MAX + 1
    assert reader.left[-1] == ("files/builtin/g", f"and others; the first {LEFT_MAX} are named")


def test_what_this_disk_cannot_hold_is_left_out_and_the_rest_restored(tmp_path: Path) -> None:
    root = tmp_path / "new"
    root.mkdir()
    writer = TreeWriter(str(root))
    huge = Member(name="huge", size=(1 << 63) - 1, segments=Segments(((1 << 62, 3),)))
    try:
        writer.make(huge, ["huge"], [], lambda: iter((b"abc",)))
        writer.make(Member(name="huge2", kind="hardlink", link="huge"), ["huge2"], ["huge"], lambda: iter(()))
        writer.make(Member(name="much", xattrs={"user.a": bytes(1 << 17)}), ["much"], [], lambda: iter(()))
        writer.make(Member(name="good", size=1), ["good"], [], lambda: iter((b"x",)))
    finally:
        writer.close()
    assert [one.name for one in writer.left] == ["huge", "huge2", "much"]
    assert sorted(path.name for path in root.iterdir()) == ["good", "much"]
