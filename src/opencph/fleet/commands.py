"""Accepting ADB commands for phones and whole servers (operations 37 to 40). What the worker does is in `command_jobs`; the command
that answers at once is in `sync_commands`."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, select

from opencph.fleet import Fleet, phone_batches
from opencph.fleet.command_payloads import PHONE_COMMAND, PhoneCommandJob
from opencph.fleet.phone_batches import Phone
from opencph.fleet.statuses import PhoneStatus
from opencph.iam import Caller
from opencph.jobs import NewJob
from opencph.store import tables
from opencph.store.database import Query, Transaction, in_list, json_list
from opencph.wire.checks import HEX_ID
from opencph.wire.commands import CommandJob, CommandRequest, CommandResponse
from opencph.wire.errors import CphError, shown


class _Found(NamedTuple):
    server_id: str
    phone_id: str | None  # None: the server has no phones


_PHONES_OF_SERVERS = Query(
    select(tables.servers.c.server_id, tables.phones.c.phone_id)
    .outerjoin(tables.phones, tables.phones.c.generation_id == tables.servers.c.generation_id)
    .where(tables.servers.c.project_id == bindparam("of_project"), in_list(tables.servers.c.server_id, "server_ids"))
    .order_by(tables.servers.c.seq, tables.phones.c.number),
    _Found,
)


def running(phone: Phone) -> None:
    """Raises CphError CPS.0141 for a phone that ADB cannot reach."""
    if phone.status != PhoneStatus.RUNNING:
        raise CphError("CPS.0141", f"phone {phone.phone_id} has status {phone.status}; start it with batch-restart")


def named(tx: Transaction, project_id: str, body: CommandRequest) -> tuple[list[str], list[CommandJob]]:
    """The phones that a call is for, and the refusals of the servers that are not there."""
    if body.phone_ids:
        return list(body.phone_ids), []
    well_formed = [server_id for server_id in body.server_ids if HEX_ID.fullmatch(server_id)]
    found = tx.rows(_PHONES_OF_SERVERS, of_project=project_id, server_ids=json_list(well_formed))
    known = {row.server_id for row in found}
    with_phones = {row.server_id for row in found if row.phone_id is not None}
    refused = []
    for server_id in dict.fromkeys(body.server_ids):
        if server_id not in with_phones:
            there = server_id in known
            cause = f"server {server_id} has no phones" if there else f"there is no server {shown(server_id)} in this project"
            error = CphError("CPS.0097", cause)
            refused.append(CommandJob(server_id=server_id, error_code=error.code, error_msg=error.message))
    return [row.phone_id for row in found if row.phone_id is not None], refused


def run_shell_command(fleet: Fleet, caller: Caller, request_id: str, body: CommandRequest) -> CommandResponse:
    """A job for each phone that runs; refusals beside them, and nothing half: all in one transaction."""

    def job_of(phone: Phone, _: None) -> NewJob:
        running(phone)
        payload = PhoneCommandJob(generation_id=phone.generation_id, command=body.command, content=body.content)
        return phone_batches.new_job(caller, request_id, PHONE_COMMAND, phone, payload)

    with fleet.database.write() as tx:
        tx.lock("placement")
        phone_ids, refused = named(tx, caller.project_id, body)
        items = phone_batches.accept(tx, caller.project_id, [(phone_id, None) for phone_id in phone_ids], job_of)
    jobs = [
        CommandJob(phone_id=one.phone_id, job_id=one.job_id, error_code=one.error_code, error_msg=one.error_msg) for one in items
    ]
    return CommandResponse(request_id=request_id, jobs=jobs + refused)
