"""A user with one server, for tests of what goes into phones and out of them: the SDK, whose jobs it waits for, and objects."""

from __future__ import annotations

import io
import tarfile
import time
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from huaweicloudsdkcph import v1 as sdk

from api.vendor_clients import client_of
from e2e.running import server_status
from opencph.testing import RunningCph, purchase

WAIT_SECONDS = 60.0


def object_store(running: RunningCph) -> Any:
    """An S3 client of an installation's objects."""
    known = running.credentials
    return boto3.client(
        "s3",
        endpoint_url=running.endpoint,
        aws_access_key_id=known["access_key"],
        aws_secret_access_key=known["secret_key"],
        region_name=known["region"],
        config=Config(s3={"addressing_style": "path"}),
    )


class Ended(NamedTuple):
    status: int | None  # None: no job
    error_code: str | None
    error_msg: str | None
    execute_msg: str | None


class User:
    """A user of one installation with one server."""

    def __init__(self, running: RunningCph) -> None:
        known = running.credentials
        self.cph = client_of(running, sdk.CphClient)
        self.s3 = object_store(running)
        self.s3.create_bucket(Bucket="files")
        bought = self.cph.create_net2_cloud_phone_server(sdk.CreateNet2CloudPhoneServerRequest(body=purchase(known, "data")))
        (self.server_id,) = bought.server_ids
        deadline = time.monotonic() + WAIT_SECONDS
        while server_status(self.cph, self.server_id) != 5:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        listed = self.cph.list_cloud_phones(sdk.ListCloudPhonesRequest(server_id=self.server_id, limit=100)).phones
        self.phones = [str(phone.phone_id) for phone in listed]

    def ended(self, answer: Any) -> list[Ended]:
        """How the jobs of an answer ended."""
        deadline = time.monotonic() + WAIT_SECONDS
        found = []
        for item in answer.jobs:
            if item.job_id is None:
                found.append(Ended(None, item.error_code, item.error_msg, None))
                continue
            while (job := self.cph.show_job(sdk.ShowJobRequest(job_id=item.job_id))).status == 1:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            found.append(Ended(job.status, job.error_code, job.error_msg, job.execute_msg))
        return found

    def shell(self, content: str, *phone_ids: str, **more: Any) -> list[Ended]:
        body = sdk.RunShellCommandRequestBody(command="shell", content=content, phone_ids=list(phone_ids) or None, **more)
        return self.ended(self.cph.run_shell_command(sdk.RunShellCommandRequest(body=body)))

    def text(self, content: str, phone_id: str) -> str:
        (done,) = self.shell(content, phone_id)
        return done.execute_msg or ""

    def push(self, content: str, *phone_ids: str) -> list[Ended]:
        body = sdk.PushFileRequestBody(command="push", content=content, phone_ids=list(phone_ids))
        return self.ended(self.cph.push_file(sdk.PushFileRequest(body=body)))

    def exported(self, phone_id: str, object_path: str, *include_files: str, **more: list[str]) -> Ended:
        """How the export of a phone's files to an object of the bucket ended."""
        info = {
            "phone_id": phone_id,
            "include_files": list(include_files),
            **more,
            "bucket_name": "files",
            "object_path": object_path,
        }
        body = sdk.BatchExportCloudPhoneDataRequestBody(storage_infos=[info])
        (done,) = self.ended(self.cph.batch_export_cloud_phone_data(sdk.BatchExportCloudPhoneDataRequest(body=body)))
        return done

    def restored(self, phone_id: str, object_path: str) -> Ended:
        """How the restore of an object of the bucket ended."""
        info = {"phone_id": phone_id, "bucket_name": "files", "object_path": object_path}
        body = sdk.BatchImportCloudPhoneDataRequestBody(restore_infos=[info])
        (done,) = self.ended(self.cph.batch_import_cloud_phone_data(sdk.BatchImportCloudPhoneDataRequest(body=body)))
        return done

    def upload(self, key: str, *members: tuple[str, bytes, str | bytes]) -> str:
        """An archive of (name, type, contents or target) in the object store."""
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            for name, kind, contents in members:
                member = tarfile.TarInfo(name)
                member.type, member.mode, member.mtime = kind, 0o640, 1000
                if isinstance(contents, str):
                    member.linkname = contents
                    archive.addfile(member)
                else:
                    member.size = len(contents)
                    archive.addfile(member, io.BytesIO(contents))
        self.s3.put_object(Bucket="files", Key=key, Body=file.getvalue())
        return f"obs://files/{key}"
