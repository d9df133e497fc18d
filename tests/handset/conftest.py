"""Fixtures: a connected adb of each kind, and one, once per file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from handset.one_phone import Pair, connected_pair, short_directory


@pytest.fixture(scope="module", params=["debian", "adbutils"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A stock adb and a handset with a disk of 256 MiB."""
    with connected_pair(request.param, "--disk", str(256 << 20), "--property", "ro.com.cph.non_root=1") as made:
        yield made


@pytest.fixture(scope="module")
def phone() -> Iterator[Pair]:
    """A handset without apps."""
    with connected_pair("debian", "--disk", str(256 << 20)) as made:
        yield made


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory of the test's own with a short path."""
    directory = short_directory()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
