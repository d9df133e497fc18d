"""ShowJob and ListJobs: fields of running and ended jobs, request ids, paging, other projects' jobs are not there."""

from __future__ import annotations

import pytest

from fleet.fleet_world import FleetWorld
from opencph.fleet.ids import new_id
from opencph.fleet.job_views import list_jobs, show_job
from opencph.fleet.phone_power import restart_cloud_phone
from opencph.fleet.server_change import change_cloud_phone_server
from opencph.fleet.server_create import create_net2_cloud_phone_server
from opencph.wire.errors import CphError
from opencph.wire.jobs import ListJobsQuery
from opencph.wire.phones import RestartCloudPhoneRequest, RestartPhone


def test_a_running_job_has_no_end_and_an_ended_one_tells_its_outcome(world: FleetWorld) -> None:
    server_id = world.serving()
    answer = change_cloud_phone_server(world.fleet, world.caller, new_id(), server_id, world.change_body())
    running = show_job(world.fleet, world.caller, "r", answer.job_id)
    assert (running.request_id, running.job_id, running.server_id, running.status) == ("r", answer.job_id, server_id, 1)
    assert (running.end_time, running.error_code, running.error_msg, running.execute_msg) == (None, None, None, None)
    world.set(
        "jobs",
        {"job_id": answer.job_id},
        status=-1,
        end_ms=1_507_593_600_000,
        error_code="CPS.0092",
        error_msg="Create server failed.",
    )
    ended = show_job(world.fleet, world.caller, "r", answer.job_id)
    assert (ended.status, ended.end_time, ended.error_code) == (-1, "2017-10-10T00:00:00Z", "CPS.0092")


def test_jobs_are_listed_by_the_calls_that_made_them(world: FleetWorld) -> None:
    first, second = new_id(), new_id()
    create_net2_cloud_phone_server(world.fleet, world.caller, first, world.create_body(count=3))
    create_net2_cloud_phone_server(world.fleet, world.caller, second, world.create_body(count=2))
    answer = list_jobs(world.fleet, world.caller, "r", ListJobsQuery(request_ids=(first, second, new_id())))
    assert [job.job_id for job in answer.jobs] == world.column("jobs.job_id")
    assert all(job.node_id == job.server_id and (job.error_code, job.error_msg) == ("", "") for job in answer.jobs)
    page = list_jobs(world.fleet, world.caller, "r", ListJobsQuery(request_ids=(first, second), offset=3, limit=1))
    assert [job.job_id for job in page.jobs] == world.column("jobs.job_id")[3:4]
    assert list_jobs(world.fleet, world.caller, "r", ListJobsQuery(request_ids=(first,), offset=9)).jobs == []
    with pytest.raises(CphError) as raised:
        list_jobs(world.fleet, world.caller, "r", ListJobsQuery(request_ids=(new_id(),)))
    assert raised.value.code == "CPS.0050"


def test_jobs_of_other_projects_are_not_there(world: FleetWorld) -> None:
    request_id, stranger = new_id(), world.project()
    create_net2_cloud_phone_server(world.fleet, world.caller, request_id, world.create_body())
    (job_id,) = world.column("jobs.job_id")
    for asked in (job_id, new_id()):
        with pytest.raises(CphError) as raised:
            show_job(world.fleet, stranger, "r", asked)
        assert (raised.value.code, raised.value.status) == ("CPS.0011", 404)
    with pytest.raises(CphError):
        list_jobs(world.fleet, stranger, "r", ListJobsQuery(request_ids=(request_id,)))


def test_a_phones_id_names_its_newest_job(world: FleetWorld) -> None:
    server_id = world.serving()
    phone_id, other = world.column("phones.phone_id", server_id=server_id)[:2]
    stranger = world.project()
    for _ in range(2):
        world.set("phones", {"phone_id": phone_id}, status=2)
        answer = restart_cloud_phone(
            world.fleet, world.caller, new_id(), RestartCloudPhoneRequest(phones=(RestartPhone(phone_id=phone_id),))
        )
        job_id = answer.jobs[0].job_id
        assert job_id, answer
        found = show_job(world.fleet, world.caller, "r", phone_id)
        assert (found.job_id, found.phone_id) == (job_id, phone_id)
        world.set("jobs", {"job_id": job_id}, status=-1)
        assert show_job(world.fleet, world.caller, "r", phone_id).status == -1
    for caller, asked in ((world.caller, other), (stranger, phone_id), (world.caller, server_id)):
        with pytest.raises(CphError, match="job_id"):
            show_job(world.fleet, caller, "r", asked)
