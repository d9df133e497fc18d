"""Jobs over HTTP."""

from __future__ import annotations

from opencph.api.call import Call, Result
from opencph.fleet import job_views
from opencph.wire import query_checks
from opencph.wire.checks import check_id


def show_job(call: Call) -> Result:
    """GET /v1/{project_id}/cloud-phone/jobs/{job_id}. A malformed id has the code of an unknown one: no other is documented."""
    return job_views.show_job(call.fleet, call.caller, call.request_id, check_id(call.params[0], "CPS.0011", "job_id"))


def list_jobs(call: Call) -> Result:
    """GET /v1/{project_id}/cloud-phone/jobs."""
    return job_views.list_jobs(call.fleet, call.caller, call.request_id, query_checks.list_jobs(call.query))
