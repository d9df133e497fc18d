"""Logging while the file cannot be written: quiet, nobody who logs learns of it, and what is logged later is there. And whose
file it is."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec
import pytest

from opencph.log import FILE_NAME, _File, open_for_owner
from small_disk import fill, small_file_system

_TALK = """
import logging, sys
from pathlib import Path
from opencph import log
log.configure("info", process="api", directory=Path(sys.argv[1]), style="text")
for line in sys.stdin:
    logging.getLogger("opencph.test").info(line.strip())
    print("said", flush=True)
"""


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own, of 256 KiB."""
    with small_file_system("256k") as place:
        yield place


def test_a_full_disk_is_no_news_on_stderr_and_later_lines_are_kept(small_disk: Path, tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("wb") as stderr:
        talk = subprocess.Popen(
            [sys.executable, "-c", _TALK, small_disk], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    assert talk.stdin is not None and talk.stdout is not None

    def say(text: str) -> None:
        assert talk.stdin is not None and talk.stdout is not None
        print(text, file=talk.stdin, flush=True)
        assert talk.stdout.readline() == "said\n"

    say("before")
    filler = fill(small_disk)
    for number in range(300):
        say(f"lost-{number}" + "x" * 200)
    filler.unlink()
    for number in range(10):
        say(f"after-{number}")
    talk.communicate(timeout=30)
    said = (tmp_path / "stderr").read_text()
    assert "Logging error" not in said and "Traceback" not in said
    events = [msgspec.json.decode(line)["event"] for line in (small_disk / FILE_NAME).read_bytes().splitlines()]
    assert events[0] == "before" and events[-10:] == [f"after-{number}" for number in range(10)]
    written = sum(event.startswith("lost-") for event in events)
    assert written < 300 and events[-11] == f"{300 - written} lines are missing before this: No space left on device"
    assert said.count("cannot be written") == 1, "and not once for each"


def test_other_errors_of_logging_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler = _File(tmp_path / FILE_NAME)
    handler.handle(logging.LogRecord("x", logging.INFO, "x", 1, "%d", ("no number",), None))
    assert "Logging error" in capsys.readouterr().err


def test_the_log_is_its_owners_alone_whatever_it_was(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        for name in ("new", "old"):
            path = tmp_path / name
            if name == "old":
                path.touch(0o644)
            handler = _File(path)
            handler.handle(logging.LogRecord("x", logging.INFO, "x", 1, "line", (), None))
            handler.close()
            assert path.stat().st_mode & 0o777 == 0o600 and path.read_text() == "line\n"
    finally:
        os.umask(before)


@contextmanager
def _gone(directory: Path) -> Iterator[None]:
    """It is made anew at once; only its place is taken while this lasts."""
    shutil.rmtree(directory)
    directory.write_text("no directory")
    yield
    directory.unlink()


@contextmanager
def _fifo(directory: Path) -> Iterator[None]:
    """Nobody reads it."""
    (directory / FILE_NAME).unlink()
    os.mkfifo(directory / FILE_NAME)
    yield
    (directory / FILE_NAME).unlink()


@contextmanager
def _directory_of_that_name(directory: Path) -> Iterator[None]:
    (directory / FILE_NAME).unlink()
    (directory / FILE_NAME).mkdir()
    yield
    (directory / FILE_NAME).rmdir()


@contextmanager
def _no_descriptors(directory: Path) -> Iterator[None]:
    (directory / FILE_NAME).rename(directory / "elsewhere")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _say(handler: _File, text: str) -> None:
    handler.handle(logging.LogRecord("x", logging.INFO, "x", 1, text, (), None))


@pytest.mark.parametrize("harm", [_gone, _fifo, _directory_of_that_name, _no_descriptors])
def test_a_file_that_cannot_be_opened_is_nobodys_trouble_and_is_there_when_it_can(
    tmp_path: Path, harm: Callable[[Path], AbstractContextManager[None]], caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "logs"
    handler = _File(directory / FILE_NAME)
    _say(handler, "before")
    with harm(directory):
        for _line in range(3):
            _say(handler, "lost")
        assert "cannot be written" in handler.look()
    assert handler.look() == "" and handler.lost == 3
    _say(handler, "after")
    handler.close()
    told, after = (directory / FILE_NAME).read_text().splitlines()
    assert after == "after" and told.startswith("3 lines are missing before this: ")
    assert len([line for line in caplog.messages if "cannot be written" in line]) == 1
    assert directory.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_is_taken_away_is_made_anew_and_no_line_is_lost(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    handler = _File(directory / FILE_NAME)
    for line in ("first", "second"):
        _say(handler, line)
        assert (directory / FILE_NAME).read_text() == f"{line}\n"
        shutil.rmtree(directory)
    handler.close()
    assert handler.lost == 0


def test_a_data_directory_that_is_taken_away_is_not_made_anew(tmp_path: Path) -> None:
    handler = _File(tmp_path / "data" / "logs" / FILE_NAME)
    _say(handler, "lost")
    assert handler.lost == 1 and not list(tmp_path.iterdir())


def test_a_file_that_was_put_aside_while_no_file_can_be_made_is_made_when_one_can() -> None:
    with small_file_system("256k,nr_inodes=4") as disk:
        handler = _File(disk / FILE_NAME)
        _say(handler, "before")
        (disk / FILE_NAME).rename(disk / "opencph.log.1")
        for number in range(2):
            (disk / str(number)).touch()
        _say(handler, "lost")
        assert "No space left on device" in handler.look()
        (disk / "0").unlink()
        _say(handler, "after")
        handler.close()
        assert (disk / FILE_NAME).read_text() == "1 lines are missing before this: No space left on device\nafter\n"


def test_what_a_log_is_a_link_to_keeps_its_mode_unless_it_is_a_file(tmp_path: Path) -> None:
    pipe, file = tmp_path / "pipe", tmp_path / "file"
    os.mkfifo(pipe)
    file.touch()
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    for target, mode in ((pipe, 0o622), (file, 0o600)):
        target.chmod(0o622)
        link = tmp_path / f"log of {target.name}"
        link.symlink_to(target)
        os.close(open_for_owner(link))
        assert target.stat().st_mode & 0o777 == mode
    os.close(reader)
