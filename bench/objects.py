"""Objects of 2 GiB through HTTP and into phones: how much more memory each process holds at its highest than before."""

from __future__ import annotations

import argparse
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import psutil
from botocore.config import Config
from huaweicloudsdkcph.v1 import InstallApkRequest, ListCloudPhonesRequest, PushFileRequest

from bench.client import Client
from bench.starting import held, processes_of
from bench.table import Row
from opencph.testing import RunningCph, opencph_up

MIB = 1 << 20
OBJECT_BYTES = 2048 * MIB
APK_BYTES = 512 * MIB
GROWTH_BYTES_MAX = 64 * MIB
BUCKET = "files"
JOB_SECONDS = 1200.0


def large(_: argparse.Namespace) -> list[Row]:
    """Put, get, push and install; one row for each."""
    with opencph_up() as cph, tempfile.TemporaryDirectory(dir="/tmp") as directory:
        client = Client(cph.credentials)
        (server_id,) = client.buy("objects")
        client.wait_for_server(server_id)
        phone_id = client.sdk.list_cloud_phones(ListCloudPhonesRequest(server_id=server_id, limit=1)).phones[0].phone_id
        s3 = s3_of(cph.credentials)
        s3.create_bucket(Bucket=BUCKET)
        measured = [
            *measure_objects(cph, s3, phone_id, Path(directory), OBJECT_BYTES),
            _measure_package(cph, s3, phone_id, Path(directory), APK_BYTES),
        ]
        return [_row(*one) for one in measured]


def _row(what: str, grown: int, seconds: float, size: int) -> Row:
    reference = f"{size >> 20} MiB in {seconds:.1f} s"
    growth = f"{grown / MIB:.1f} MiB"
    return Row(
        f"memory that {what}", growth, reference, f"{grown / size:.4f}", f"< {GROWTH_BYTES_MAX >> 20} MiB", grown < GROWTH_BYTES_MAX
    )


def measure_objects(cph: RunningCph, s3: Any, phone_id: str, directory: Path, size: int) -> Iterator[tuple[str, int, float, int]]:
    """Put an archive into the bucket `files`, get it, push it: what was done, the most that one process grew by, seconds, bytes."""
    client = Client(cph.credentials)
    archive = directory / "file.tar"
    _write_archive(archive, size)

    def get() -> None:
        body = s3.get_object(Bucket=BUCKET, Key=archive.name)["Body"]
        while body.read(MIB):
            pass

    yield ("putting an object takes", *grown(cph, lambda: _put(s3, archive)), size)
    yield ("getting an object takes", *grown(cph, get), size)
    yield ("pushing a file to a phone takes", *grown(cph, lambda: _push(client, phone_id, archive.name)), size)


def _measure_package(cph: RunningCph, s3: Any, phone_id: str, directory: Path, size: int) -> tuple[str, int, float, int]:
    """The same of an APK that is installed."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from apk_maker import apk

    client = Client(cph.credentials)
    small, large = directory / "small.apk", directory / "large.apk"
    small.write_bytes(apk("com.example.small"))
    large.write_bytes(apk("com.example.large", filling=size))
    _put(s3, small)
    _put(s3, large)
    _install(client, phone_id, small.name)  # what a first time needs is no growth
    return ("installing an APK takes", *grown(cph, lambda: _install(client, phone_id, large.name)), size)


def _put(s3: Any, path: Path) -> None:
    with path.open("rb") as file:
        s3.put_object(Bucket=BUCKET, Key=path.name, Body=file)


def s3_of(credentials: Mapping[str, Any]) -> Any:
    """An S3 client of this installation."""
    return boto3.client(
        "s3",
        endpoint_url=credentials["endpoint"],
        aws_access_key_id=credentials["access_key"],
        aws_secret_access_key=credentials["secret_key"],
        region_name=credentials["region"],
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}, read_timeout=JOB_SECONDS),
    )


def grown(cph: RunningCph, work: Callable[[], object]) -> tuple[int, float]:
    """The most that a process which was there before held above what it held then, in bytes; seconds."""
    before = {}
    for process in processes_of(cph.process.pid, str(cph.data)):
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # the highest begins at what is held now
        before[process.pid] = held(process.pid, "VmRSS")
    begun = time.monotonic()
    work()
    taken = time.monotonic() - begun
    found = {}
    for pid, then in before.items():
        with suppress(FileNotFoundError, ProcessLookupError):
            found[pid] = held(pid, "VmHWM") - then
    for pid in sorted(found, key=found.__getitem__)[-2:]:
        words = " ".join(psutil.Process(pid).cmdline()[1:5])
        print(f"  process {pid} ({words}) grew by {found[pid] / MIB:.1f} MiB", file=sys.stderr)
    return max(found.values()), taken


def _push(client: Client, phone_id: str, key: str) -> None:
    body = {"command": "push", "content": f"obs://{BUCKET}/{key}", "phone_ids": [phone_id]}
    _wait(client, client.sdk.push_file(PushFileRequest(body=body)))


def _install(client: Client, phone_id: str, key: str) -> None:
    body = {"command": "install", "content": f"obs://{BUCKET}/{key}", "phone_ids": [phone_id]}
    _wait(client, client.sdk.install_apk(InstallApkRequest(body=body)))


def _wait(client: Client, answer: Any) -> None:
    for item in answer.jobs:
        client.wait_for_job(item.job_id, JOB_SECONDS)


def _write_archive(path: Path, size: int) -> None:
    """A tar with one file of so many bytes."""
    info = tarfile.TarInfo("data/local/tmp/large.bin")
    info.size = size
    block = os.urandom(MIB)
    with path.open("wb") as file:
        file.write(info.tobuf(tarfile.PAX_FORMAT))
        for _number in range(size // MIB):
            file.write(block)
        file.write(bytes(2 * tarfile.BLOCKSIZE))
