"""A file system of a test's own, so small that it can be filled."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_file_system(size: str) -> Iterator[Path]:
    """A file system of that size (as tmpfs takes it, "8m") with a short path; the test is skipped where none can be mounted."""
    place = Path(tempfile.mkdtemp(prefix="cph-", dir="/tmp"))
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        shutil.rmtree(place)
        pytest.skip(f"no small file system: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
        place.rmdir()


def fill(place: Path) -> Path:
    """Write a file there until no room is left; returns it."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(b"x" * 4096)
    return filler
