"""Jobs on the wire: show and list (cph-api.md section 6)."""

from __future__ import annotations

import msgspec


class ShowJobResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """GET /v1/{project_id}/cloud-phone/jobs/{job_id}. Fields without default are always there, null when nothing is to be said."""

    request_id: str
    job_id: str
    begin_time: str
    end_time: str | None  # null while the job runs
    status: int  # 1 running, 2 success, -1 failed
    phone_id: str | None = None
    server_id: str | None = None
    error_code: str | None
    error_msg: str | None
    execute_msg: str | None


class ListJobsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v1/{project_id}/cloud-phone/jobs. The request ids of `request_ids`, or the one of `request_id`."""

    request_ids: tuple[str, ...]  # 1 to 20
    offset: int = 0
    limit: int = 100


class ListJobsParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The same query as it is sent: one of the first two must be there; `request_ids`, with commas between them, wins."""

    request_id: str | None = None
    request_ids: str | None = None
    offset: int | None = None
    limit: int | None = None


class JobItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job in a list. Here the fields of the outcome are "" when nothing is to be said."""

    phone_id: str | None = None
    server_id: str | None = None
    node_id: str | None = None  # expired: server_id
    job_id: str
    begin_time: str
    end_time: str | None  # null while the job runs
    status: int
    error_code: str
    error_msg: str
    execute_msg: str


class ListJobsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs of the requests asked for, oldest first."""

    request_id: str
    jobs: list[JobItem]
