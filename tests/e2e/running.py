"""Looking at a running OpenCPH from outside, as the end-to-end tests do."""

from __future__ import annotations

import shutil
import socket
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import psutil
from huaweicloudsdkcph.v1 import CphClient, ShowCloudPhoneServerDetailRequest

from opencph.testing import RunningCph

Eventually = Callable[[Callable[[], bool], str], None]
PARTS = ("api", "worker", "gateway")


class StartUp(Protocol):
    """Starts `opencph up` on the test's own directory and network; ready unless told not to wait."""

    def __call__(self, *arguments: str, data: Path | None = None, wait: bool = True, **settings: str) -> RunningCph: ...


def processes_with(data: Path) -> list[psutil.Process]:
    """Every process that works on a data directory."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(data) in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@contextmanager
def watched_directory() -> Iterator[Path]:
    """A directory with a short path; at its end nothing may be left that runs on it."""
    path = Path(tempfile.mkdtemp(prefix="cph-", dir="/tmp"))
    yield path
    left = processes_with(path)
    for process in left:
        process.kill()
    shutil.rmtree(path, ignore_errors=True)
    assert not left, f"left running: {[(process.pid, process.cmdline()) for process in left]}"


def answers(cph: RunningCph) -> bool:
    """Whether the api answers."""
    try:
        with urllib.request.urlopen(f"{cph.endpoint}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def part(cph: RunningCph, name: str) -> psutil.Process | None:
    """The process of a part, if it lives."""
    for child in psutil.Process(cph.process.pid).children():
        try:
            if child.name() == f"opencph-{name}":
                return child
        except psutil.NoSuchProcess:  # it has ended since it was listed
            continue
    return None


def pids(cph: RunningCph) -> dict[str, int]:
    """The parts that live."""
    return {name: found.pid for name in PARTS if (found := part(cph, name)) is not None}


def said(cph: RunningCph, text: str) -> bool:
    """Whether a line of it has these words. It is read a moment after it was written: wait for it."""
    return any(text in line for line in cph.output)


def words(cph: RunningCph) -> str:
    """The end of what it said."""
    return "\n".join(cph.output[-15:])


def refused(cph: RunningCph, status: int = 1) -> str:
    """The one sentence of an `up` that did not start."""
    assert cph.process.wait(20) == status
    cph.stop()
    assert not [line for line in cph.output if line.startswith("ready ")]
    said = [line for line in cph.output if not line.startswith("{")]
    assert len(said) == 1, cph.output
    return said[0]


def server_status(client: CphClient, server_id: str) -> int:
    """The status that the API shows."""
    return int(client.show_cloud_phone_server_detail(ShowCloudPhoneServerDetailRequest(server_id=server_id)).status)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
