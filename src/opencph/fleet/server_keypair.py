"""Another key pair for servers: UpdateKeypair. Accepting it, and the kind of job that does it: the row changes, and the job ends
when every gateway lets the new key in and the old one no longer."""

from __future__ import annotations

import msgspec
from sqlalchemy import bindparam, delete, select, update

from opencph.fleet import Fleet, server_batches
from opencph.fleet.generations import NETWORK
from opencph.fleet.payloads import UPDATE_KEYPAIR, UpdateKeypairJob
from opencph.fleet.publishing import wait_until_published
from opencph.fleet.server_batches import Server
from opencph.fleet.times import now_ms
from opencph.iam import Caller
from opencph.jobs import Batch, JobFailedError, JobKind, NewJob, Step
from opencph.store import revisions, tables
from opencph.store.database import Query, Transaction, command, in_list, json_list, scalar
from opencph.wire.errors import CphError
from opencph.wire.server_actions import ServerJobsResponse, UpdateKeypairRequest

_s, _k = tables.servers.c, tables.keypairs.c

_KNOWN: Query[str] = Query(select(_k.name).where(_k.project_id == bindparam("of_project"), in_list(_k.name, "names")), scalar)
_SET_KEYPAIR = command(
    update(tables.generations)
    .where(
        tables.generations.c.generation_id
        == select(_s.generation_id).where(_s.server_id == bindparam("of_server")).scalar_subquery()
    )
    .values(keypair_name=bindparam("new_name"))
)
_FORGET_KEPT_KEY = command(  # what it kept of a deleted key pair
    delete(tables.kept_public_keys).where(
        tables.kept_public_keys.c.generation_id
        == select(_s.generation_id).where(_s.server_id == bindparam("of_server")).scalar_subquery()
    )
)
_TOUCH = command(update(tables.servers).where(_s.server_id == bindparam("of_server")).values(update_ms=bindparam("now")))


def update_keypair(fleet: Fleet, caller: Caller, request_id: str, body: UpdateKeypairRequest) -> ServerJobsResponse:
    """Let another key pair of the project into each server (cph-api.md section 4, number 10).

    What is wrong with one server stands in its item: CPS.0097, CPS.0015, CPS.0098 not ready, CPS.0067 no such key pair.
    """

    def job_of(server: Server, keypair_name: str) -> NewJob:
        if keypair_name not in known:
            raise _unknown(keypair_name)
        return NewJob(
            project_id=caller.project_id,
            request_id=request_id,
            kind=UPDATE_KEYPAIR,
            lane=server.server_id,
            server_id=server.server_id,
            payload=UpdateKeypairJob(keypair_name=keypair_name),
        )

    with fleet.database.write() as tx:
        tx.lock("placement")
        names = json_list({one.keypair_name for one in body.servers})
        known = set(tx.rows(_KNOWN, of_project=caller.project_id, names=names))
        wanted = [(one.server_id, one.keypair_name) for one in body.servers]
        jobs = server_batches.accept(tx, caller.project_id, wanted, "CPS.0098", job_of)
    return ServerJobsResponse(request_id=request_id, jobs=jobs)


def kinds(fleet: Fleet) -> dict[str, JobKind]:
    """The kind `update_keypair`."""

    def set_keypair(tx: Transaction, batch: Batch) -> None:
        name = msgspec.json.decode(batch.job.payload, type=UpdateKeypairJob).keypair_name
        if not tx.rows(_KNOWN, of_project=batch.job.project_id, names=json_list([name])):
            gone = _unknown(name)  # deleted since the call
            raise JobFailedError(gone.code, gone.message)
        tx.run(_SET_KEYPAIR, of_server=batch.job.lane, new_name=name)
        tx.run(_FORGET_KEPT_KEY, of_server=batch.job.lane)
        tx.run(_TOUCH, of_server=batch.job.lane, now=now_ms())
        revisions.bump(tx, NETWORK)

    async def publish(batch: Batch) -> None:
        await wait_until_published(fleet.database)

    steps = (Step("set", commit=set_keypair), Step("publish", effect=publish))
    return {UPDATE_KEYPAIR: JobKind(name=UPDATE_KEYPAIR, steps=steps, point_of_no_return="set")}


def _unknown(name: str) -> CphError:
    return CphError("CPS.0067", f"keypair_name {name!r} does not exist in this project")
