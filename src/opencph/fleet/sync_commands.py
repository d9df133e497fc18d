"""RunSyncCommand (operation 41): a shell command whose output is the answer. 2 s for each phone, 30 s for all.

It runs beside the jobs of a server, in an api process that drives no runtime: a phone at which nobody listens is brought up by the
reconciler, or by a job, and asked again while the call has time for it.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import NamedTuple

from sqlalchemy import bindparam, insert, select

from opencph.adb.client import AdbError, NobodyListensError, connect
from opencph.fleet import Fleet, phone_batches
from opencph.fleet.command_jobs import command_failed, run_shell, shown_output
from opencph.fleet.commands import named, running
from opencph.fleet.job_errors import TIMED_OUT, job_failed
from opencph.fleet.phone_batches import Phone
from opencph.fleet.phone_reach import NOT_RUNNING
from opencph.fleet.times import now_ms
from opencph.iam import Caller
from opencph.jobs import FAILED, SUCCEEDED, JobFailedError
from opencph.store import tables
from opencph.store.database import Query, command, in_list, json_list
from opencph.wire.commands import CommandRequest, RunSyncCommandResponse, SyncCommandJob
from opencph.wire.errors import CphError

PHONE_SECONDS, CALL_SECONDS = 2.0, 30.0
AT_ONCE = 16
#: How long a phone whose host died is waited for (a round of the reconciler and a boot), and how often it is asked.
COME_BACK_SECONDS, ASK_AGAIN_SECONDS = 15.0, 0.25
SYNC_COMMAND = "sync_command"  # jobs of this kind are written down when they have ended


class _Address(NamedTuple):
    phone_id: str
    ip: str


class _Outcome(NamedTuple):
    output: str
    failure: JobFailedError | None


_ADDRESSES = Query(
    select(tables.phones.c.phone_id, tables.phones.c.phone_ip).where(in_list(tables.phones.c.phone_id, "phone_ids")), _Address
)
_ENDED = command(
    insert(tables.jobs).values(
        job_id=bindparam("job_id"),
        project_id=bindparam("project_id"),
        request_id=bindparam("request_id"),
        kind=SYNC_COMMAND,
        lane=bindparam("server_id"),
        server_id=bindparam("server_id"),
        phone_id=bindparam("phone_id"),
        payload="{}",
        status=bindparam("status"),
        direction="forward",
        step="",
        attempts=1,
        run_after_ms=0,
        lease_until_ms=0,
        error_code=bindparam("error_code"),
        error_msg=bindparam("error_msg"),
        execute_msg=bindparam("execute_msg"),
        create_ms=bindparam("begin"),
        end_ms=bindparam("end"),
    )
)


def run_sync_command(fleet: Fleet, caller: Caller, request_id: str, body: CommandRequest) -> RunSyncCommandResponse:
    """Run it now, in this thread; the jobs are there afterwards to be read again. What a phone says no to fails in its own item."""
    begin = now_ms()
    items: list[SyncCommandJob | Phone] = []
    with fleet.database.read() as tx:
        phone_ids, refused = named(tx, caller.project_id, body)
        phones = phone_batches.read(tx, caller.project_id, phone_ids)
        taken: set[str] = set()
        for phone_id in phone_ids:
            try:
                phone = phone_batches.ready(phones.get(phone_id), phone_id, taken)
                running(phone)
            except CphError as error:
                items.append(SyncCommandJob(phone_id=phone_id, error_code=error.code, error_msg=error.message))
            else:
                taken.add(phone_id)
                items.append(phone)
        ips = {row.phone_id: row.ip for row in tx.rows(_ADDRESSES, phone_ids=json_list(taken))}
    outcomes = asyncio.run(_run_all(ips, body.content))
    jobs: list[SyncCommandJob] = []
    rows = []
    for item in items:
        if isinstance(item, SyncCommandJob):
            jobs.append(item)
            continue
        outcome = outcomes[item.phone_id]
        job = SyncCommandJob(
            phone_id=item.phone_id,
            job_id=secrets.token_hex(16),
            status=SUCCEEDED if outcome.failure is None else FAILED,
            error_code=outcome.failure.code if outcome.failure else "",
            error_msg=outcome.failure.message if outcome.failure else "",
            execute_msg=outcome.output,
        )
        jobs.append(job)
        rows.append(
            {
                "job_id": job.job_id,
                "project_id": caller.project_id,
                "request_id": request_id,
                "server_id": item.server_id,
                "phone_id": item.phone_id,
                "status": job.status,
                "error_code": job.error_code or None,
                "error_msg": job.error_msg or None,
                "execute_msg": job.execute_msg,
                "begin": begin,
                "end": now_ms(),
            }
        )
    if rows:
        with fleet.database.write() as tx:
            tx.run_many(_ENDED, rows)
    missing = [SyncCommandJob(server_id=one.server_id, error_code=one.error_code, error_msg=one.error_msg) for one in refused]
    return RunSyncCommandResponse(request_id=request_id, jobs=jobs + missing)


async def _run_all(ips: dict[str, str], content: str) -> dict[str, _Outcome]:
    """{phone_id: outcome} of each phone; those that it is too late for have failed, with what they printed until then."""
    late = job_failed(TIMED_OUT, f"the call took longer than {CALL_SECONDS:.0f} s")
    outcomes: dict[str, _Outcome] = {}
    outputs = {phone_id: bytearray() for phone_id in ips}
    loop = asyncio.get_running_loop()
    come_back_until = loop.time() + COME_BACK_SECONDS
    bound = asyncio.Semaphore(AT_ONCE)

    async def ask(phone_id: str, ip: str) -> None:
        while True:
            try:
                async with bound:
                    outcomes[phone_id] = await _run_one(ip, content, outputs[phone_id])
            except NobodyListensError as error:  # nothing was asked of it: it may be asked again
                outcomes[phone_id] = _Outcome("", job_failed(NOT_RUNNING, f"phone {phone_id} does not answer: {error}"))
                if loop.time() > come_back_until:
                    return
            else:
                return
            await asyncio.sleep(ASK_AGAIN_SECONDS)

    tasks = [asyncio.create_task(ask(phone_id, ip)) for phone_id, ip in ips.items()]
    if tasks:
        _, waiting = await asyncio.wait(tasks, timeout=CALL_SECONDS - PHONE_SECONDS)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {phone_id: outcomes.get(phone_id) or _Outcome(shown_output(outputs[phone_id]), late) for phone_id in ips}


async def _run_one(ip: str, content: str, output: bytearray) -> _Outcome:
    """What it printed is in its outcome however it ended. Raises NobodyListensError."""
    failure = None
    try:
        async with asyncio.timeout(PHONE_SECONDS), await connect(ip, timeout=PHONE_SECONDS) as phone:
            code = await run_shell(phone, content, output)
        failure = command_failed(f"Exit code {code}.") if code else None
    except TimeoutError:
        failure = job_failed(TIMED_OUT, f"the command took longer than {PHONE_SECONDS:.0f} s")
    except NobodyListensError:
        raise
    except AdbError as error:
        failure = command_failed(str(error))
    return _Outcome(shown_output(output), failure)
