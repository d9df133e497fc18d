"""Logging while the disk of the log is full: quiet, and what is logged later is there. And whose file it is."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from opencph.log import FILE_NAME, _File
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


def test_other_errors_of_logging_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler = _File(tmp_path / FILE_NAME, delay=True)
    handler.handle(logging.LogRecord("x", logging.INFO, "x", 1, "%d", ("no number",), None))
    assert "Logging error" in capsys.readouterr().err


def test_the_log_is_its_owners_alone_whatever_it_was(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        for name in ("new", "old"):
            path = tmp_path / name
            if name == "old":
                path.touch(0o644)
            handler = _File(path, delay=True)
            handler.handle(logging.LogRecord("x", logging.INFO, "x", 1, "line", (), None))
            handler.close()
            assert path.stat().st_mode & 0o777 == 0o600 and path.read_text() == "line\n"
    finally:
        os.umask(before)
