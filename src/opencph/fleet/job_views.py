"""Jobs as their owner sees them: ShowJob and ListJobs (cph-api.md section 6). How jobs run is `jobs/`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, func, literal_column, select

from opencph.fleet.times import utc_text
from opencph.jobs import FAILED, RUNNING, SUCCEEDED
from opencph.store.database import Query, in_list, json_list, scalar
from opencph.store.tables import jobs, phones
from opencph.wire.errors import CphError
from opencph.wire.jobs import JobItem, ListJobsQuery, ListJobsResponse, ShowJobResponse

if TYPE_CHECKING:
    from opencph.fleet import Fleet
    from opencph.iam import Caller

_j = jobs.c


class _JobRow(NamedTuple):
    job_id: str
    phone_id: str | None
    server_id: str | None
    status: int
    error_code: str | None
    error_msg: str | None
    execute_msg: str | None
    create_ms: int
    end_ms: int | None


_columns = select(
    _j.job_id, _j.phone_id, _j.server_id, _j.status, _j.error_code, _j.error_msg, _j.execute_msg, _j.create_ms, _j.end_ms
)
_JOB = Query(_columns.where(_j.job_id == bindparam("job_id"), _j.project_id == bindparam("project_id")), _JobRow)
_lane_of_phone = (
    select(phones.c.server_id)
    .where(phones.c.phone_id == bindparam("phone_id"), phones.c.project_id == bindparam("project_id"))
    .scalar_subquery()
)
_NEWEST_OF_PHONE = Query(
    _columns.where(
        _j.status.in_([literal_column(str(status)) for status in (RUNNING, SUCCEEDED, FAILED)]),  # all: so the index is used
        _j.lane == _lane_of_phone,
        _j.phone_id == bindparam("phone_id"),
    )
    .order_by(_j.seq.desc())
    .limit(1),
    _JobRow,
)
_of_requests = (_j.project_id == bindparam("project_id"), in_list(_j.request_id, "request_ids"))
_JOBS = Query(
    _columns.where(*_of_requests).order_by(_j.seq).limit(bindparam("limit")).offset(bindparam("offset")),
    _JobRow,
)
_HOW_MANY: Query[int] = Query(select(func.count()).select_from(jobs).where(*_of_requests), scalar)


def _end_time(row: _JobRow) -> str | None:
    return None if row.end_ms is None else utc_text(row.end_ms)


def show_job(fleet: Fleet, caller: Caller, request_id: str, job_id: str) -> ShowJobResponse:
    """One job. Raises CPS.0011 when the project has none of that id, or none any more (setting `job_retention_days`).

    The id of a phone names its newest job: Terraform's exports and restores wait for that.
    """
    row = fleet.database.row(_JOB, job_id=job_id, project_id=caller.project_id)
    if row is None:
        row = fleet.database.row(_NEWEST_OF_PHONE, phone_id=job_id, project_id=caller.project_id)
    if row is None:
        raise CphError("CPS.0011", f"job_id {job_id} does not exist in this project")
    return ShowJobResponse(
        request_id=request_id,
        job_id=row.job_id,
        begin_time=utc_text(row.create_ms),
        end_time=_end_time(row),
        status=row.status,
        phone_id=row.phone_id,
        server_id=row.server_id,
        error_code=row.error_code,
        error_msg=row.error_msg,
        execute_msg=row.execute_msg,
    )


def list_jobs(fleet: Fleet, caller: Caller, request_id: str, query: ListJobsQuery) -> ListJobsResponse:
    """The jobs that calls have made, oldest first. Raises CPS.0050 when none of the request ids ever made one."""
    request_ids = json_list(query.request_ids)
    rows = fleet.database.rows(_JOBS, project_id=caller.project_id, request_ids=request_ids, limit=query.limit, offset=query.offset)
    if not rows and not fleet.database.row(_HOW_MANY, project_id=caller.project_id, request_ids=request_ids):
        raise CphError("CPS.0050", f"request_id {', '.join(query.request_ids)}: no job of this project was made by it")
    return ListJobsResponse(
        request_id=request_id,
        jobs=[
            JobItem(
                phone_id=row.phone_id,
                server_id=row.server_id,
                node_id=row.server_id,
                job_id=row.job_id,
                begin_time=utc_text(row.create_ms),
                end_time=_end_time(row),
                status=row.status,
                error_code=row.error_code or "",
                error_msg=row.error_msg or "",
                execute_msg=row.execute_msg or "",
            )
            for row in rows
        ],
    )
