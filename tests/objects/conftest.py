"""The two object stores, tested alike: a directory, and S3, whose part is played by a second OpenCPH."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from api.api_service import Service, start, stop
from opencph.objects import ObjectStore, open_store
from opencph.settings import Settings


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """An api process with an object store of its own."""
    data = Path(tempfile.mkdtemp(prefix="ocph-"))
    running = start(data, f"sqlite:///{data / 'opencph.db'}", "127.74.0.0/16")
    yield running
    code = stop(running)
    log = (data / "log").read_text()
    shutil.rmtree(data)
    assert code == 0, log
    assert "Traceback" not in log, log


def s3_client(service: Service, signature: str | None = None) -> boto3.client:
    """A client that signs as boto3 does by default, or with the version `signature` (s3v4, s3)."""
    return boto3.client(
        "s3",
        endpoint_url=service.endpoint,
        aws_access_key_id=service.credentials["access_key"],
        aws_secret_access_key=service.credentials["secret_key"],
        region_name=service.credentials["region"],
        config=Config(signature_version=signature, s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
    )


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """A store with the bucket `mine`."""
    settings: dict[str, str] = {}
    if request.param == "s3":
        service: Service = request.getfixturevalue("service")
        client = s3_client(service)
        if "behind" not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
            client.create_bucket(Bucket="behind")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", service.credentials["access_key"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", service.credentials["secret_key"])
        monkeypatch.setenv("AWS_REGION", service.credentials["region"])
        settings = {"objects": f"s3://behind/{tmp_path.name}", "objects_endpoint": service.endpoint}
    found = open_store(Settings.load({"data": tmp_path, **settings}, environ={}))
    found.make_bucket("mine")
    return found
