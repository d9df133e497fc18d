"""Objects of 2 GiB through HTTP and into phones: how much more memory each process holds at its highest than before."""

from __future__ import annotations

import argparse
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import psutil
from botocore.config import Config
from huaweicloudsdkcph.v1 import InstallApkRequest, ListCloudPhonesRequest, PushFileRequest

from bench.client import Client
from bench.starting import processes_of
from bench.table import Row
from opencph.testing import RunningCph, opencph_up

MIB = 1 << 20
OBJECT_BYTES = 2048 * MIB
APK_BYTES = 512 * MIB
GROWTH_BYTES_MAX = 64 * MIB
BUCKET = "large"
JOB_SECONDS = 1200.0


def large(options: argparse.Namespace) -> list[Row]:
    """Put, get, push and install; one row for each."""
    with opencph_up() as cph, tempfile.TemporaryDirectory(dir="/tmp") as directory:
        return [_row(*measured) for measured in measure(cph, Path(directory), OBJECT_BYTES, APK_BYTES)]


def _row(what: str, grown: int, seconds: float, size: int) -> Row:
    reference = f"{size >> 20} MiB in {seconds:.1f} s"
    growth = f"{grown / MIB:.1f} MiB"
    return Row(
        f"memory that {what}", growth, reference, f"{grown / size:.4f}", f"< {GROWTH_BYTES_MAX >> 20} MiB", grown < GROWTH_BYTES_MAX
    )


def measure(cph: RunningCph, directory: Path, object_bytes: int, apk_bytes: int) -> Iterator[tuple[str, int, float, int]]:
    """What was done, the most that one process grew by meanwhile, seconds, bytes."""
    client = Client(cph.credentials)
    (server_id,) = client.buy("objects")
    client.wait_for_server(server_id)
    phone_id = client.sdk.list_cloud_phones(ListCloudPhonesRequest(server_id=server_id, limit=1)).phones[0].phone_id
    s3 = s3_of(cph.credentials)
    s3.create_bucket(Bucket=BUCKET)
    archive, package = directory / "file.tar", directory / "file.apk"
    _write_archive(archive, object_bytes)
    _write_package(package, apk_bytes)
    small = _small_package()
    s3.put_object(Bucket=BUCKET, Key="small.apk", Body=small)
    _install(client, phone_id, "small.apk")  # what a first time needs is no growth

    def put(path: Path) -> None:
        with path.open("rb") as file:
            s3.put_object(Bucket=BUCKET, Key=path.name, Body=file)

    def get() -> None:
        body = s3.get_object(Bucket=BUCKET, Key=archive.name)["Body"]
        while body.read(MIB):
            pass

    yield ("putting an object takes", *_grown(cph, lambda: put(archive)), object_bytes)
    yield ("getting an object takes", *_grown(cph, get), object_bytes)
    yield ("pushing a file to a phone takes", *_grown(cph, lambda: _push(client, phone_id, archive.name)), object_bytes)
    put(package)
    yield ("installing an APK takes", *_grown(cph, lambda: _install(client, phone_id, package.name)), apk_bytes)


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


def _grown(cph: RunningCph, work: Any) -> tuple[int, float]:
    """The most that a process which was there before held above what it held then, in bytes; seconds."""
    before = {}
    for process in processes_of(cph.process.pid, str(cph.data)):
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # the highest begins at what is held now
        before[process.pid] = _held(process.pid, "VmRSS")
    begun = time.monotonic()
    work()
    taken = time.monotonic() - begun
    grown = {}
    for pid, held in before.items():
        with suppress(FileNotFoundError, ProcessLookupError):
            grown[pid] = _held(pid, "VmHWM") - held
    for pid in sorted(grown, key=grown.__getitem__)[-2:]:
        words = " ".join(psutil.Process(pid).cmdline()[1:5])
        print(f"  process {pid} ({words}) grew by {grown[pid] / MIB:.1f} MiB", file=sys.stderr)
    return max(grown.values()), taken


def _held(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise ProcessLookupError(pid)


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


def _small_package() -> bytes:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from apk_maker import apk

    return apk("com.example.small")


def _write_package(path: Path, size: int) -> None:
    """A signed APK of about so many bytes, of which the reader unpacks a few."""
    from apk_maker import apk

    path.write_bytes(apk("com.example.large", filling=size))
