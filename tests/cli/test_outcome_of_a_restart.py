"""The file in which `up` says how a restart went: its owner's alone."""

from __future__ import annotations

import os
from pathlib import Path

from opencph.restart_command import OUTCOME, write_outcome
from opencph.settings import Settings


def test_the_outcome_is_its_owners_alone_whatever_the_umask_says(tmp_path: Path) -> None:
    settings = Settings.load({"data": tmp_path}, environ={})
    settings.run_directory.mkdir(parents=True)
    before = os.umask(0)
    try:
        write_outcome(settings, "", {"api": 1})
    finally:
        os.umask(before)
    (written,) = settings.run_directory.iterdir()
    assert written.name == OUTCOME and written.stat().st_mode & 0o777 == 0o600
