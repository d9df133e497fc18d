"""What is done to servers that are there, on the wire: rename, restart, new key pair, new flavor (cph-api.md section 4, numbers 5,
7, 8, 10). Buying, changing, listing and deleting are `servers`; checks are `server_action_checks`."""

from __future__ import annotations

import msgspec


class UpdateServerNameRequest(msgspec.Struct, frozen=True, kw_only=True):
    """PUT /v1/{project_id}/cloud-phone/servers/{server_id}."""

    server_name: str


class UpdateServerNameResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The server has its new name."""

    request_id: str
    error_code: str | None = None
    error_msg: str | None = None


class RestartCloudPhoneServerRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/servers/batch-restart."""

    server_ids: tuple[str, ...]  # 1 to 100


class ServerKeypair(msgspec.Struct, frozen=True, kw_only=True):
    """A server and the key pair it is to have."""

    server_id: str
    keypair_name: str


class UpdateKeypairRequest(msgspec.Struct, frozen=True, kw_only=True):
    """PUT /v1/{project_id}/cloud-phone/servers/open-access."""

    servers: tuple[ServerKeypair, ...]  # at least one


class ServerJob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one server of a batch: a job, or an error and no job (cph-api.md section 6)."""

    server_id: str
    job_id: str | None = None
    error_code: str | None = None
    error_msg: str | None = None


class ServerJobsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """One entry per server of the request, in its order."""

    request_id: str
    jobs: list[ServerJob]


RestartCloudPhoneServerResponse = ServerJobsResponse
UpdateKeypairResponse = ServerJobsResponse


class ChangeCloudPhoneServerModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/servers/change-server-model."""

    server_id: str
    server_model_name: str
    phone_model_name: str
    is_auto_pay: int = 0


class ChangeCloudPhoneServerModelResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The order. The server reads status 3 until it has its new flavor."""

    request_id: str
    order_id: str
    product_id: str
    error_code: str | None = None
    error_msg: str | None = None
