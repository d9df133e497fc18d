"""The machine's adb as the benchmarks use it, a file to move, and a clock. Nothing is measured here."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.openssh import free_port

BLOCK_BYTES = 1 << 20


@contextmanager
def adb_program() -> Iterator[Callable[..., bytes]]:
    """The machine's adb with a server of its own: called with its arguments, returns its output."""
    program = shutil.which("adb")
    if program is None:
        raise RuntimeError("no adb program: sudo apt-get install adb")
    environment = {**os.environ, "ANDROID_ADB_SERVER_PORT": str(free_port())}

    def adb(*words: str) -> bytes:
        return subprocess.run([program, *words], check=True, env=environment, capture_output=True).stdout

    try:
        yield adb
    finally:
        subprocess.run([program, "kill-server"], check=False, env=environment, capture_output=True)


def timed(work: Callable[[], object]) -> float:
    """How many seconds it takes."""
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def noise(path: Path, size: int) -> None:
    """A file of so many bytes that nothing compresses."""
    block = os.urandom(BLOCK_BYTES)
    with path.open("wb") as file:
        for _ in range(size // BLOCK_BYTES):
            file.write(block)
