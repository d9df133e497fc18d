"""Directories through a backup: they come back as they were, and nobody's links lead it astray."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from backup.made import picture
from opencph.backup import BackupError
from opencph.backup.archive import Member, Tally, Writer, read
from opencph.backup.trees import DEPTH_MAX, TreeReader, TreeWriter


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
