"""What the runtime tests share: a data directory whose processes are ended with the test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from opencph.runtimes.builtin import end_all


@pytest.fixture
def data() -> Iterator[Path]:
    """An empty data directory with a short name; afterwards its zygote and hosts are ended."""
    directory = Path(tempfile.mkdtemp(prefix="ocph-", dir="/tmp"))
    yield directory
    end_all(directory)
    shutil.rmtree(directory, ignore_errors=True)
