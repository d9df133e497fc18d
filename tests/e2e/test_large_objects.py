"""What is large goes through in pieces, and an APK that would unpack to much is looked at in little memory: real processes."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
from huaweicloudsdkcph import v1 as sdk

from bench.objects import grown, measure_objects
from bench.starting import processes_of
from e2e.data_user import User
from opencph.testing import RunningCph, opencph_up

T = TypeVar("T")
MIB = 1 << 20
GROWTH_BYTES_MAX = 64 * MIB
OBJECT_BYTES = 256 * MIB
BOMB_BYTES = 256 * MIB
READERS_AT_ONCE, READER_BYTES_MAX = 2, 256 * MIB


@pytest.fixture(scope="module")
def cph() -> Iterator[RunningCph]:
    with opencph_up() as running:
        yield running


@pytest.fixture(scope="module")
def user(cph: RunningCph) -> User:
    return User(cph)


def test_a_large_object_is_put_got_and_pushed_to_a_phone_in_little_memory(cph: RunningCph, user: User, tmp_path: Path) -> None:
    for what, most, _seconds, _bytes in measure_objects(cph, user.s3, user.phones[0], tmp_path, OBJECT_BYTES):
        assert most < GROWTH_BYTES_MAX, f"{what} {most / MIB:.0f} MiB"


def test_an_apk_bomb_on_a_whole_server_at_once_is_refused_in_words_and_in_little_memory(cph: RunningCph, user: User) -> None:
    user.s3.put_object(Bucket="files", Key="bomb.apk", Body=_bomb())
    body = sdk.InstallApkRequestBody(command="install", content="obs://files/bomb.apk", server_ids=[user.server_id])

    def install() -> None:
        ended = user.ended(user.cph.install_apk(sdk.InstallApkRequest(body=body)))
        assert len(ended) == len(user.phones)
        for one in ended:
            assert one.status == -1, one
            assert f"AndroidManifest.xml unpacks to {BOMB_BYTES} bytes: at most" in (one.error_msg or ""), one

    with _readers(cph) as seen:
        most, _seconds = grown(cph, install)
    assert most < GROWTH_BYTES_MAX
    assert seen, "nobody read the package"
    at_once, held = max(len(one) for one in seen), max(sum(one) for one in seen)
    print(f"{len(user.phones)} phones: processes grew by {most / MIB:.1f} MiB; {at_once} readers held {held / MIB:.1f} MiB")
    assert at_once <= READERS_AT_ONCE and held < READERS_AT_ONCE * READER_BYTES_MAX


def _bomb() -> bytes:
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("AndroidManifest.xml", "w") as manifest,
    ):
        for _ in range(BOMB_BYTES // MIB):
            manifest.write(bytes(MIB))
    return file.getvalue()


@contextmanager
def _readers(cph: RunningCph) -> Iterator[list[list[int]]]:
    """Again and again, while the block runs: the bytes that each process holds which reads an APK, if any does."""
    parts = processes_of(cph.process.pid, str(cph.data))
    seen: list[list[int]] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            held = [_held(process) for part in parts for process in _children(part) if _is_reader(process)]
            if held:
                seen.append(held)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def _children(part: psutil.Process) -> list[psutil.Process]:
    """From the kernel's own list: looking through all processes of the machine takes longer than a reader lives."""
    found: list[psutil.Process] = []
    for path in Path(f"/proc/{part.pid}/task").glob("*/children"):
        with suppress(OSError, psutil.Error):
            found += [psutil.Process(int(pid)) for pid in path.read_text().split()]
    return found


def _is_reader(process: psutil.Process) -> bool:
    return _or(lambda: "opencph.handset.apk" in process.cmdline(), False)


def _held(process: psutil.Process) -> int:
    return _or(lambda: process.memory_info().rss, 0)


def _or(ask: Callable[[], T], otherwise: T) -> T:
    """What a process says of itself; it may end at any moment."""
    with suppress(psutil.Error):
        return ask()
    return otherwise
