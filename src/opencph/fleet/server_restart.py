"""Restarting servers: RestartCloudPhoneServer. Accepting it, and the kind of job that does it: the host of the phones ends and is
made anew, and every phone boots but those that their owner has stopped. Data is kept."""

from __future__ import annotations

import asyncio

import msgspec
from sqlalchemy import bindparam, select, update

from opencph.fleet import Fleet, generations, server_batches
from opencph.fleet.boots import bring_up
from opencph.fleet.filters import among
from opencph.fleet.job_errors import RUNTIME_FAILED, TIMED_OUT, job_failed
from opencph.fleet.payloads import RESTART_SERVER, RestartServerJob
from opencph.fleet.server_batches import Server
from opencph.fleet.statuses import PhoneStatus, ServerStatus
from opencph.fleet.times import now_ms
from opencph.iam import Caller
from opencph.jobs import Batch, Job, JobFailedError, JobKind, NewJob, Step
from opencph.runtimes import GenerationSpec, PhoneSpec, Runtime, RuntimeFaultError
from opencph.store import tables
from opencph.store.database import Query, Transaction, command, in_list, json_list, scalar
from opencph.wire.server_actions import RestartCloudPhoneServerRequest, ServerJobsResponse

#: Phones that a restart of their server boots. Others are stopped, frozen, or were never made.
BOOTED = (
    PhoneStatus.RUNNING,
    PhoneStatus.RESTARTING,
    PhoneStatus.ABNORMAL,
    PhoneStatus.RESET_FAILED,
    PhoneStatus.RESTART_FAILED,
    PhoneStatus.STOP_FAILED,
)
_p = tables.phones.c

_SERVERS_START = command(
    update(tables.servers)
    .where(in_list(tables.servers.c.server_id, "server_ids"))
    .values(status=ServerStatus.STARTING, update_ms=bindparam("now"))
)
_PHONES_RESTART = command(
    update(tables.phones)
    .where(in_list(_p.generation_id, "generation_ids"), among(_p.status, BOOTED))
    .values(status=PhoneStatus.RESTARTING, update_ms=bindparam("now"))
)
_TO_BOOT: Query[str] = Query(
    select(_p.phone_id).where(_p.generation_id == bindparam("of_generation"), among(_p.status, BOOTED)).order_by(_p.number), scalar
)
_MARKED: Query[str] = Query(
    select(_p.phone_id).where(
        _p.generation_id == bindparam("of_generation"), among(_p.status, (PhoneStatus.RUNNING, PhoneStatus.RESTARTING))
    ),
    scalar,
)
_PHONES_END = command(
    update(tables.phones)
    .where(in_list(_p.phone_id, "phone_ids"), among(_p.status, BOOTED))
    .values(status=bindparam("new_status"), update_ms=bindparam("now"))
)
_SERVER_END = command(
    update(tables.servers)
    .where(tables.servers.c.server_id == bindparam("of_server"), tables.servers.c.status == ServerStatus.STARTING)
    .values(status=bindparam("new_status"), update_ms=bindparam("now"))
)


def restart_cloud_phone_server(
    fleet: Fleet, caller: Caller, request_id: str, body: RestartCloudPhoneServerRequest
) -> ServerJobsResponse:
    """Restart servers (cph-api.md section 4, number 8). They read 13 and their phones 4 until they are back.

    What is wrong with one server stands in its item: CPS.0097, CPS.0015, CPS.0158, CPS.1028.
    """
    taken: list[Server] = []

    def job_of(server: Server, _: None) -> NewJob:
        taken.append(server)
        return new_job(caller.project_id, request_id, server.server_id, server.generation_id)

    with fleet.database.write() as tx:
        tx.lock("placement")
        jobs = server_batches.accept(tx, caller.project_id, [(one, None) for one in body.server_ids], "CPS.0158", job_of)
        mark(tx, [server.server_id for server in taken], [server.generation_id for server in taken])
    return ServerJobsResponse(request_id=request_id, jobs=jobs)


def new_job(project_id: str, request_id: str, server_id: str, generation_id: str) -> NewJob:
    """The job that restarts one server. Whoever accepts it calls `mark` in the same transaction."""
    return NewJob(
        project_id=project_id,
        request_id=request_id,
        kind=RESTART_SERVER,
        lane=server_id,
        server_id=server_id,
        payload=RestartServerJob(generation_id=generation_id),
    )


def mark(tx: Transaction, server_ids: list[str], generation_ids: list[str]) -> None:
    """Servers and phones that are about to be restarted say so."""
    now = now_ms()
    tx.run(_SERVERS_START, server_ids=json_list(server_ids), now=now)
    tx.run(_PHONES_RESTART, generation_ids=json_list(generation_ids), now=now)


def kinds(fleet: Fleet, runtime: Runtime) -> dict[str, JobKind]:
    """The kind `restart_server`, driving `runtime`."""

    def read(generation_id: str) -> tuple[GenerationSpec, list[PhoneSpec]]:
        with fleet.database.read() as tx:
            spec, to_boot = generations.spec(tx, fleet, generation_id), set(tx.rows(_TO_BOOT, of_generation=generation_id))
            return spec, [phone for phone in spec.phones if phone.phone_id in to_boot]

    async def off(batch: Batch) -> None:
        try:
            await runtime.power_off(_generation(batch.job))
        except RuntimeFaultError as fault:
            raise job_failed(RUNTIME_FAILED, f"the server does not go off: {fault}") from fault

    async def power(batch: Batch) -> None:
        generation_id = _generation(batch.job)
        try:
            spec, phones = await asyncio.to_thread(read, generation_id)
            await runtime.create(spec)
            causes, silent = await bring_up(runtime, generation_id, phones)
        except RuntimeFaultError as fault:
            raise job_failed(RUNTIME_FAILED, f"the server does not come back: {fault}") from fault
        failed = causes | silent
        if failed:
            await asyncio.to_thread(phones_failed, list(failed))
            phone = next(phone for phone in phones if phone.phone_id in failed)
            code, what = (RUNTIME_FAILED, "did not boot") if causes else (TIMED_OUT, "do not answer ADB")
            first = f"{phone.name}: {failed[phone.phone_id]}"
            raise job_failed(code, f"{len(failed)} of {len(phones)} phones {what}; {first}")

    def phones_failed(phone_ids: list[str]) -> None:
        with fleet.database.write() as tx:
            tx.run(_PHONES_END, phone_ids=json_list(phone_ids), new_status=PhoneStatus.RESTART_FAILED, now=now_ms())

    def finish(tx: Transaction, batch: Batch) -> None:
        phone_ids = json_list(tx.rows(_TO_BOOT, of_generation=_generation(batch.job)))
        tx.run(_PHONES_END, phone_ids=phone_ids, new_status=PhoneStatus.RUNNING, now=now_ms())
        tx.run(_SERVER_END, of_server=batch.job.lane, new_status=ServerStatus.NORMAL, now=now_ms())

    def failed(tx: Transaction, job: Job, error: JobFailedError) -> None:
        """The reconciler finds out which phones run (2) and brings back those that do not; those known to have failed read -6."""
        down = tx.rows(_MARKED, of_generation=_generation(job))
        tx.run(_PHONES_END, phone_ids=json_list(down), new_status=PhoneStatus.ABNORMAL, now=now_ms())
        tx.run(_SERVER_END, of_server=job.lane, new_status=ServerStatus.ABNORMAL, now=now_ms())

    steps = (Step("off", effect=off), Step("power", effect=power), Step("finish", commit=finish))
    return {RESTART_SERVER: JobKind(name=RESTART_SERVER, steps=steps, on_failure=failed)}


def _generation(job: Job) -> str:
    return msgspec.json.decode(job.payload, type=RestartServerJob).generation_id
