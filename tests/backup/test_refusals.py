"""What is refused, and that nothing is changed then: hostile archives, damage, newer versions, places in use, full disks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from sqlalchemy import text

from backup.made import HEADER, a_backup, file, settings_of
from opencph.backup import BackupError, Header
from opencph.backup.making import back_up
from opencph.backup.members import Member
from opencph.backup.restoring import check, restore
from opencph.backup.trees import DEPTH_MAX
from opencph.preparation import prepare_database, prepare_directories
from opencph.runtimes.builtin.homes import Homes
from opencph.settings import Settings
from opencph.store.database import Query, open_database, scalar
from opencph.store.migrate import HEAD, migrate
from small_disk import small_file_system

G = "files/builtin/" + "a" * 32


def prepared(data: Path) -> Settings:
    """An installation that was started once, and a phone's file."""
    settings = settings_of(data)
    prepare_directories(settings)
    prepare_database(settings)
    return settings


def nothing_is_there(directory: Path, *but: str) -> None:
    assert {path.name for path in directory.iterdir()} == set(but)


@pytest.mark.parametrize(
    "member",
    [
        Member(name="files/../../escaped"),
        Member(name="files/builtin/../../escaped"),
        Member(name="/files/builtin/x/y"),
        Member(name="files//builtin/x/y"),
        Member(name="files/builtin/./y"),
        Member(name="files"),
        Member(name="files/opencph.db"),
        Member(name="files/run/up.lock"),
        Member(name="files/builtin/.trash/x"),
        Member(name="files/.hidden/x"),
        Member(name="elsewhere/x"),
        Member(name="rows/users/deep/1.jsonl"),
        Member(name="rows/users/1.jsonl", kind="symlink", link="/etc/passwd"),
        Member(name="files/credentials.json", kind="symlink", link="/etc/passwd"),
        Member(name="files/key.pem", kind="hardlink", link="files/credentials.json"),
        Member(name="files/images/x.tar", kind="symlink", link="/etc/shadow"),
        Member(name="files/objects/b/x", kind="hardlink", link=f"{G}/x"),
        Member(name="files/builtin", kind="symlink", link="/tmp"),
        Member(name=G, kind="symlink", link="/tmp"),
        Member(name=f"{G}/x", kind="hardlink", link="files/credentials.json"),
        Member(name=f"{G}/x", kind="hardlink", link="/etc/passwd"),
        Member(name=f"{G}/x", kind="hardlink", link=f"{G}/../../credentials.json"),
    ],
    ids=lambda member: f"{member.kind} {member.name}",
)
def test_a_hostile_member_is_refused_and_nothing_is_there(tmp_path: Path, member: Member) -> None:
    path = a_backup(tmp_path / "b", (member, b""))
    with pytest.raises(BackupError):
        restore(settings_of(tmp_path / "new"), path)
    with pytest.raises(BackupError):
        check(path)
    nothing_is_there(tmp_path, "b")


def test_a_member_below_a_link_is_refused_and_nothing_is_written_there(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = (Member(name=f"{G}/link", kind="symlink", link=str(outside)), b"")
    path = a_backup(tmp_path / "b", link, file(f"{G}/link/file", b"x"))
    with pytest.raises(BackupError, match="which is a link or a file in it"):
        restore(settings_of(tmp_path / "new"), path)
    nothing_is_there(outside)
    nothing_is_there(tmp_path, "b", "outside")


G2 = "files/builtin/" + "b" * 32
LINK = Member(name=f"{G}/z", kind="hardlink", link=f"{G}/a")


@pytest.mark.parametrize(
    "members",
    [
        [LINK],
        [Member(name=f"{G}/a", kind="symlink", link="/etc/passwd"), LINK],
        [Member(name=f"{G}/a", kind="fifo"), LINK],
        [Member(name=f"{G}/a/b", kind="directory"), LINK],
        [Member(name=f"{G}/b", kind="hardlink", link=f"{G}/z"), Member(name=f"{G}/z")],
        [Member(name=f"{G}/a"), LINK, Member(name=f"{G2}/z", kind="hardlink", link=f"{G2}/a")],
        [Member(name=f"{G}/a"), Member(name=f"{G}/a")],
        [Member(name=f"{G}/a"), Member(name=f"{G}/b"), Member(name=f"{G}/a")],
        [Member(name=f"{G}/a"), Member(name=f"{G2}/a"), Member(name=f"{G}/b")],
        [Member(name=f"{G}/a"), Member(name=f"{G}/a/b")],
        [Member(name=f"{G}/a", kind="symlink", link="b"), Member(name=f"{G}/a/c")],
        [Member(name=f"{G}/a/b"), Member(name=f"{G}/a")],
        [Member(name=f"{G}/a/b"), Member(name=f"{G}/a", kind="symlink", link="/tmp")],
        [Member(name=f"{G}/a", xattrs={"security.capability": b"x"})],
        [Member(name=f"{G}/a", xattrs={"trusted.overlay.opaque": b"y"})],
        [Member(name=f"{G}/a", kind="fifo", xattrs={"user.a": b"y"})],
        [Member(name=f"{G}/a", kind="symlink", link="x" * 5000)],
        [Member(name=f"{G}/{'n' * 256}")],
        [Member(name=f"{G}/host.json", kind="fifo")],
        [Member(name="files/images/a.tar"), Member(name="files/images/a.tar")],
        [Member(name="files/images/a.tar"), Member(name="files/images/a.tar/b.tar")],
        [Member(name="files/images/a.tar/b.tar"), Member(name="files/images/a.tar")],
    ],
    ids=lambda members: " ".join(f"{member.kind}:{member.name[-3:]}" for member in members),
)
def test_what_a_restore_refuses_a_check_refuses_in_the_same_words(tmp_path: Path, members: list[Member]) -> None:
    path = a_backup(tmp_path / "b", *((member, b"") for member in members))
    with pytest.raises(BackupError) as restored:
        restore(settings_of(tmp_path / "new"), path)
    with pytest.raises(BackupError) as checked:
        check(path)
    assert str(checked.value) == str(restored.value)
    nothing_is_there(tmp_path, "b")


@pytest.mark.parametrize(
    "rows",
    [
        b'["user_id","nonsense"]\n["a","b"]\n',
        b'["user_id","user_id"]\n["a","b"]\n',
        b'["user_id) VALUES (1); DROP TABLE users; --"]\n["a"]\n',
        b'["user_id"]\n["a","b"]\n',
        b'["user_id"]\n[{"a":1}]\n',
        b"",
        b"[" * 100_000,
        b'["user_id"]\n["a"]\n',
        b'["user_id","domain_id","name","password_hash","enabled"]\n["u","nowhere","n","h",1]\n',
        b'["user_id","domain_id","name","password_hash","enabled"]\n["u","d","n","h",99999999999999999999999]\n',
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, rows: bytes) -> None:
    path = a_backup(tmp_path / "b", file("rows/users/1.jsonl", rows))
    with pytest.raises(BackupError):
        restore(settings_of(tmp_path / "new"), path)
    with pytest.raises(BackupError):
        check(path)
    nothing_is_there(tmp_path, "b")


@pytest.mark.parametrize("table", ["alembic_version", "sqlite_master", "sqlite_sequence", "nothing", "processes"])
def test_rows_of_tables_that_are_none_are_refused(tmp_path: Path, table: str) -> None:
    path = a_backup(tmp_path / "b", file(f"rows/{table}/1.jsonl", b'["name"]\n["a"]\n'))
    with pytest.raises(BackupError, match="do not fit"):
        restore(settings_of(tmp_path / "new"), path)


@pytest.mark.parametrize(
    "header",
    [
        msgspec.structs.replace(HEADER, revision=f"{int(HEAD) + 1:04}"),
        msgspec.structs.replace(HEADER, revision="../x"),
        msgspec.structs.replace(HEADER, format=2),
    ],
)
def test_a_backup_of_a_newer_version_is_refused_with_what_to_do(tmp_path: Path, header: Header) -> None:
    path = a_backup(tmp_path / "b", header=header)
    with pytest.raises(BackupError, match=r"restore it with that version or a newer one"):
        restore(settings_of(tmp_path / "new"), path)
    nothing_is_there(tmp_path, "b")


def test_what_is_no_backup_or_not_whole_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a backup")
    (tmp_path / "empty").touch()
    a_backup(tmp_path / "cut", file(f"{G}/x", b"x"), whole=False)
    for name, why in (
        ("text", "damaged, or is none"),
        ("empty", "not whole|no backup|none"),
        ("cut", "no manifest"),
        ("gone", "cannot read"),
    ):
        with pytest.raises(BackupError, match=why):
            restore(settings_of(tmp_path / "new"), tmp_path / name)
    nothing_is_there(tmp_path, "text", "empty", "cut")


def test_a_member_that_is_missing_or_too_many_is_found(tmp_path: Path) -> None:
    from opencph.backup import archive, restoring

    original = archive.Writer.add
    dropped: list[str] = []

    def forgetful(self: archive.Writer, member: Member, pieces: object = ()) -> None:
        if member.name.endswith("/lost"):
            dropped.append(member.name)
            self.tally.open(member)
            return
        original(self, member, pieces)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive.Writer, "add", forgetful)
        path = a_backup(tmp_path / "b", file(f"{G}/lost"), file(f"{G}/kept"))
    assert dropped
    with pytest.raises(BackupError, match=f"{G} is not what its manifest says"):
        restoring.check(path)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some.data())
def test_no_damage_anywhere_is_restored(tmp_path: Path, data: some.DataObject) -> None:
    place = tmp_path / "whole"
    whole = place.read_bytes() if place.exists() else a_backup(place, file(f"{G}/x", os.urandom(3000))).read_bytes()
    changed = bytearray(whole)
    if data.draw(some.booleans()):
        changed = changed[: data.draw(some.integers(0, len(whole) - 1))]
    else:
        changed[data.draw(some.integers(8, len(whole) - 1))] ^= 1 << data.draw(some.integers(0, 7))
    (tmp_path / "damaged").write_bytes(changed)
    with pytest.raises(BackupError):
        check(tmp_path / "damaged")


def test_a_directory_or_a_database_that_is_not_empty_is_refused_and_stays_as_it_is(tmp_path: Path, postgresql_url: str) -> None:
    path = a_backup(tmp_path / "b")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("mine")
    with pytest.raises(BackupError, match="is not empty"):
        restore(settings_of(tmp_path / "full"), path)
    assert [each.name for each in (tmp_path / "full").iterdir()] == ["mine"]
    migrate(postgresql_url)
    with pytest.raises(BackupError, match="the database is not empty"):
        restore(settings_of(tmp_path / "new", postgresql_url), path)
    (tmp_path / "there.db").touch()
    with pytest.raises(BackupError, match="is there already"):
        restore(settings_of(tmp_path / "new", f"sqlite:///{tmp_path}/there.db"), path)
    with pytest.raises(BackupError, match="cannot be reached"):
        restore(settings_of(tmp_path / "new", "postgresql://nobody@/nothing?host=/nowhere"), path)
    nothing_is_there(tmp_path, "b", "full", "there.db")


def test_a_postgresql_that_was_refused_is_still_empty(tmp_path: Path, postgresql_url: str) -> None:
    bad = b'["user_id","domain_id","name","password_hash","enabled"]\n["u","nowhere","n","h",1]\n'
    with pytest.raises(BackupError):
        restore(settings_of(tmp_path / "new", postgresql_url), a_backup(tmp_path / "b", file("rows/users/1.jsonl", bad)))
    database = open_database(postgresql_url)
    tables: Query[int] = Query(text("SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema()"), scalar)
    assert database.row(tables) == 0
    database.close()


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    installation = prepared(tmp_path / "data")
    (tmp_path / "b").write_text("precious")
    with pytest.raises(BackupError, match="is there already"):
        back_up(installation, tmp_path / "b")
    assert (tmp_path / "b").read_text() == "precious"
    with pytest.raises(BackupError, match=r"cannot be written: .*nowhere"):
        back_up(installation, tmp_path / "nowhere/b")
    with pytest.raises(BackupError, match="no data directory"):
        back_up(settings_of(tmp_path / "nodata"), tmp_path / "c")


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own, of 4 MiB."""
    with small_file_system("4m") as place:
        yield place


def test_a_full_disk_leaves_no_half_backup_and_no_half_installation(tmp_path: Path, small_disk: Path) -> None:
    installation = prepared(tmp_path / "data")
    share = tmp_path / "data/share-filesystems/p/s"
    share.mkdir(parents=True)
    (share / "noise").write_bytes(os.urandom(8 << 20))
    with pytest.raises(BackupError, match="no space left"):
        back_up(installation, small_disk / "b")
    nothing_is_there(small_disk)
    made = back_up(installation, tmp_path / "b")
    with pytest.raises(BackupError, match="no space left"):
        restore(settings_of(small_disk / "new"), made.file)
    nothing_is_there(small_disk)


def opencph(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "opencph", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, errors="surrogateescape", timeout=100, check=False)


@pytest.mark.parametrize("pages_short", [1, 2, 33, 400])
def test_the_command_says_in_one_sentence_that_the_disk_is_full(tmp_path: Path, pages_short: int) -> None:
    prepared(tmp_path / "data")
    share = tmp_path / "data/share-filesystems/p/s"
    share.mkdir(parents=True)
    for number in range(300):
        (share / f"noise{number}").write_bytes(os.urandom(10_000))
    pages = -(-back_up(settings_of(tmp_path / "data"), tmp_path / "whole").size // 4096)
    with small_file_system(str((pages - pages_short) * 4096)) as disk:
        done = opencph("backup", disk / "b", "--data", tmp_path / "data")
        assert (done.returncode, done.stdout) == (1, ""), done
        assert done.stderr.count("\n") == 1 and "no space left" in done.stderr, done.stderr
        nothing_is_there(disk)


def test_what_any_phone_can_do_to_its_files_stops_no_backup_and_no_restore(tmp_path: Path) -> None:
    prepared(tmp_path / "data")
    share = tmp_path / "data/share-filesystems/p/s"
    share.mkdir(parents=True)
    subprocess.run(["truncate", "-s", "100000", share / "urlaubsfoto-größe.jpg", share / ("n" * 200)], check=True)
    (share / "q").touch()
    values = {b"user.\xff": b"bar", b"user.a=\n%": b"21 hdrcharset=BINARY\n9 hdrcharset=\xff\n", b"user.b": bytes(3000)}
    for name, value in values.items():
        os.setxattr(share / "q", name, value)
    made = opencph("backup", tmp_path / "b", "--data", tmp_path / "data")
    assert (made.returncode, made.stderr) == (0, "")
    checked = opencph("restore", tmp_path / "b", "--check")
    assert (checked.returncode, checked.stderr) == (0, "")
    restored = opencph("restore", tmp_path / "b", "--data", tmp_path / "new")
    assert restored.returncode == 0, restored
    found = tmp_path / "new/share-filesystems/p/s"
    assert (found / "urlaubsfoto-größe.jpg").stat().st_size == 100_000
    assert {os.fsencode(name): os.getxattr(found / "q", name) for name in os.listxattr(found / "q")} == values


def test_what_is_left_out_is_named_on_one_line_whatever_it_is_called(tmp_path: Path) -> None:
    prepared(tmp_path / "data")
    deep = tmp_path / "data/share-filesystems/p/s"
    deep.mkdir(parents=True)
    descriptor = os.open(deep, os.O_RDONLY)
    for _ in range(DEPTH_MAX):
        name = "d\nopencph: all is well\x1b[2J"
        os.mkdir(name, dir_fd=descriptor)
        below = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    made = opencph("backup", tmp_path / "b", "--data", tmp_path / "data")
    assert made.returncode == 0
    assert made.stderr.count("\n") == 1 and "\x1b" not in made.stderr and made.stderr.startswith("opencph: not in it: files/share")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_backup_that_is_ended_in_the_middle_is_none(tmp_path: Path, number: signal.Signals) -> None:
    prepared(tmp_path / "data")
    share = tmp_path / "data/share-filesystems/p/s"
    share.mkdir(parents=True)
    (share / "noise").write_bytes(os.urandom(300 << 20))
    backup = subprocess.Popen(
        [sys.executable, "-m", "opencph", "backup", str(tmp_path / "b"), "--data", str(tmp_path / "data")],
        stderr=subprocess.PIPE,
        text=True,
    )
    part = tmp_path / "b.part"
    deadline = time.monotonic() + 60
    while not part.exists() or part.stat().st_size < 1 << 20:
        assert backup.poll() is None and time.monotonic() < deadline, backup.stderr and backup.stderr.read()
        time.sleep(0.005)
    backup.send_signal(number)
    _, said = backup.communicate(timeout=30)
    assert backup.returncode != 0
    assert "Traceback" not in said
    assert not (tmp_path / "b").exists()
    assert part.exists() == (number == signal.SIGKILL)
    (share / "noise").write_bytes(b"quiet")
    assert check(back_up(settings_of(tmp_path / "data"), tmp_path / "b").file)  # what the killed one left is in nobody's way
    nothing_is_there(tmp_path, "b", "data")


def test_what_is_deleted_while_a_backup_is_made_waits_in_the_trash_until_it_is_copied(tmp_path: Path) -> None:
    homes = Homes(tmp_path)
    (tmp_path / "g1/phones").mkdir(parents=True)
    with homes.hold():
        homes.delete("g1")
        assert not homes.exists("g1")
        ((kept),) = [path for path in homes.places("g1") if path.exists()]
        assert (kept / "phones").is_dir()
        Homes(tmp_path).sweep()
        assert kept.exists()
    assert list((tmp_path / ".trash").iterdir()) == []
    (tmp_path / "g2").mkdir()
    homes.delete("g2")
    assert list((tmp_path / ".trash").iterdir()) == []


def test_what_a_killed_backup_left_in_the_trash_is_swept_after_some_time_and_not_what_is_being_deleted(tmp_path: Path) -> None:
    homes = Homes(tmp_path)
    (tmp_path / ".trash/g1.aa").mkdir(parents=True)
    homes.sweep(older_seconds=600)
    assert (tmp_path / ".trash/g1.aa").exists()
    homes.sweep(older_seconds=-600)
    assert not (tmp_path / ".trash/g1.aa").exists()
