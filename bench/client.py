"""The vendor's SDK as the benchmarks use it: buy, wait, change, restart. Nothing is measured here."""

from __future__ import annotations

import time
from typing import Any

from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcph.v1 import (
    ChangeCloudPhoneServerRequest,
    CphClient,
    CreateNet2CloudPhoneServerRequest,
    ListCloudPhonesRequest,
    ShowCloudPhoneServerDetailRequest,
    ShowJobRequest,
)

from opencph.testing import change, purchase

NORMAL, ABNORMAL, RUNNING = 5, 2, 2
POLL_SECONDS = 0.02


class Client:
    """The SDK's client with one installation's credentials."""

    def __init__(self, credentials: dict[str, Any]) -> None:
        self.credentials = credentials
        keys = BasicCredentials(credentials["access_key"], credentials["secret_key"], credentials["project_id"])
        self.sdk = CphClient.new_builder().with_credentials(keys).with_endpoint(credentials["endpoint"]).build()

    def buy(self, name: str, count: int = 1) -> list[str]:
        """Buy servers of 60 phones; returns their ids at once."""
        body = purchase(self.credentials, name, count)
        return list(self.sdk.create_net2_cloud_phone_server(CreateNet2CloudPhoneServerRequest(body=body)).server_ids)

    def change(self, server_id: str) -> str:
        """Change a server to the flavor and image it has; returns the job's id."""
        bought = purchase(self.credentials)
        body = {**change(self.credentials), **{name: bought[name] for name in ("phone_model_name", "image_id", "ports")}}
        return str(self.sdk.change_cloud_phone_server(ChangeCloudPhoneServerRequest(server_id=server_id, body=body)).job_id)

    def wait_for_job(self, job_id: str, seconds: float = 60.0) -> None:
        """Until the job succeeded."""
        deadline = time.monotonic() + seconds
        while True:
            job = self.sdk.show_job(ShowJobRequest(job_id=job_id))
            if job.status == 2:
                return
            if job.status == -1 or time.monotonic() > deadline:
                raise RuntimeError(f"job {job_id}: status {job.status}, {job.error_code} {job.error_msg}")
            time.sleep(POLL_SECONDS)

    def wait_for_server(self, server_id: str, seconds: float = 60.0) -> None:
        """Until the server is normal."""
        deadline = time.monotonic() + seconds
        while True:
            status = self.sdk.show_cloud_phone_server_detail(ShowCloudPhoneServerDetailRequest(server_id=server_id)).status
            if status == NORMAL:
                return
            if status == ABNORMAL or time.monotonic() > deadline:
                raise RuntimeError(f"server {server_id}: status {status}")
            time.sleep(POLL_SECONDS)

    def phones(self, server_id: str | None = None) -> list[Any]:
        """All phones, of one server or of all."""
        found: list[Any] = []
        while True:
            page = self.sdk.list_cloud_phones(ListCloudPhonesRequest(server_id=server_id, offset=len(found), limit=100)).phones
            found += page
            if len(page) < 100:
                return found
