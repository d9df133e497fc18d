"""What the worker does to build, change and delete servers: the steps of three kinds of job. What a user may ask is in
`server_create`, `server_change` and `server_delete`; the rows of a generation are `generations`'."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec
from sqlalchemy import bindparam, delete, exists, func, select, update

from opencph.fleet import Fleet, address_check, generations, orders, shared_storage
from opencph.fleet.boots import bring_up
from opencph.fleet.generation_routes import route, serving_before
from opencph.fleet.image_data import lay_down
from opencph.fleet.job_errors import CREATE_FAILED, TIMED_OUT, change_failed, job_failed
from opencph.fleet.payloads import CHANGE_SERVER, CREATE_SERVER, DELETE_SERVER, ChangeServerJob, CreateServerJob, DeleteServerJob
from opencph.fleet.publishing import wait_until_published
from opencph.fleet.statuses import PhoneStatus, ServerStatus
from opencph.fleet.times import now_ms
from opencph.jobs import RUNNING, Batch, Job, JobFailedError, JobKind, Step
from opencph.runtimes import GenerationSpec, Runtime, RuntimeFaultError
from opencph.sockets import address_text
from opencph.store import revisions, tables
from opencph.store.database import Query, Transaction, command, in_list, json_list, scalar

REMOVALS_AT_ONCE = 8
SETTLE_POLL_SECONDS = 0.05

_PHONES_CREATED = command(
    update(tables.phones)
    .where(tables.phones.c.generation_id == bindparam("of_generation"), tables.phones.c.status == PhoneStatus.CREATING)
    .values(status=bindparam("new_status"), update_ms=bindparam("now"))
)
_GENERATION_SERVES = command(
    update(tables.generations).where(tables.generations.c.generation_id == bindparam("of_generation")).values(state="serving")
)
_SERVER_STATUS = command(
    update(tables.servers)
    .where(tables.servers.c.server_id == bindparam("of_server"))
    .values(status=bindparam("new_status"), update_ms=bindparam("now"))
)
_SERVER_ENTERPRISE_PROJECT = command(
    update(tables.servers)
    .where(tables.servers.c.server_id == bindparam("of_server"))
    .values(enterprise_project_id=bindparam("enterprise_project_id"))
)
_GENERATIONS_OF_SERVERS: Query[str] = Query(
    select(tables.generations.c.generation_id).where(in_list(tables.generations.c.server_id, "server_ids")), scalar
)
_POINTED_AT_WITHOUT_ROW: Query[str] = Query(
    select(tables.servers.c.generation_id).where(
        in_list(tables.servers.c.server_id, "server_ids"),
        ~exists().where(tables.generations.c.generation_id == tables.servers.c.generation_id),
    ),
    scalar,
)
_SERVERS_GONE = command(delete(tables.servers).where(in_list(tables.servers.c.server_id, "server_ids")))
_SERVERS_STATUS = command(
    update(tables.servers)
    .where(in_list(tables.servers.c.server_id, "server_ids"))
    .values(status=bindparam("new_status"), update_ms=bindparam("now"))
)
_OLDER_JOBS: Query[int] = Query(
    select(func.count())
    .select_from(tables.jobs)
    .where(
        tables.jobs.c.status == RUNNING,
        in_list(tables.jobs.c.lane, "lanes"),
        tables.jobs.c.seq
        < select(tables.jobs.c.seq).where(tables.jobs.c.job_id == bindparam("own_job_id")).correlate(None).scalar_subquery(),
    ),
    scalar,
)


def kinds(fleet: Fleet, runtime: Runtime) -> dict[str, JobKind]:
    """The kinds `create_server`, `change_server` and `delete_server`, driving `runtime`."""
    work = _ServerWork(fleet, runtime)
    all_kinds = (
        JobKind(
            name=CREATE_SERVER,
            steps=(
                Step("build", effect=work.on_new(work.build), undo_effect=work.on_new(work.unbuild)),
                Step("boot", effect=work.on_new(work.boot)),
                Step("verify", effect=work.on_new(work.verify)),
                Step("serve", commit=work.serve),
                Step("publish", effect=work.publish),
                Step("finish", commit=work.finish_creation),
            ),
            point_of_no_return="serve",
            on_failure=work.creation_failed,
        ),
        JobKind(
            name=CHANGE_SERVER,
            steps=(
                Step("build", effect=work.on_new(work.build), undo_effect=work.on_new(work.unbuild)),
                Step("boot", effect=work.on_new(work.boot)),
                Step("verify", effect=work.on_new(work.verify)),
                Step("swap", commit=work.swap),
                Step("publish", effect=work.publish),
                Step("retire", effect=work.retire),
                Step("release", commit=work.release),
            ),
            point_of_no_return="swap",
            on_failure=work.change_failed,
        ),
        JobKind(
            name=DELETE_SERVER,
            steps=(
                Step("settle", effect=work.settle),
                Step("remove", effect=work.remove_servers),
                Step("release", commit=work.release_servers),
                Step("publish", effect=work.publish),
            ),
            point_of_no_return="settle",
            on_failure=work.deletion_failed,
        ),
    )
    return {kind.name: kind for kind in all_kinds}


class _ServerWork:
    """The steps. All state is in the job's payload and the database, so any worker can go on after any step."""

    def __init__(self, fleet: Fleet, runtime: Runtime) -> None:
        self.fleet = fleet
        self.runtime = runtime

    # --- a new generation: the same for a purchase and a change ---

    def on_new(self, do: Callable[[str], Awaitable[None]]) -> Callable[[Batch], Awaitable[None]]:
        """An effect that works on the new generation of the batch's job."""

        async def effect(batch: Batch) -> None:
            try:
                await do(_new_generation(batch.job))
            except JobFailedError as failed:
                raise (change_failed(failed) if batch.job.kind == CHANGE_SERVER else failed) from failed.__cause__

        return effect

    async def _spec(self, generation_id: str) -> GenerationSpec:
        def read() -> GenerationSpec:
            with self.fleet.database.read() as tx:
                return generations.spec(tx, self.fleet, generation_id)

        try:
            return await asyncio.to_thread(read)
        except RuntimeFaultError as fault:
            raise job_failed(CREATE_FAILED, str(fault)) from fault

    async def build(self, generation_id: str) -> None:
        spec = await self._spec(generation_id)
        try:
            await self.runtime.create(spec)
        except RuntimeFaultError as fault:
            raise job_failed(CREATE_FAILED, f"the new phones cannot be made: {fault}") from fault

    async def unbuild(self, generation_id: str) -> None:
        await self.runtime.remove(generation_id)

    async def boot(self, generation_id: str) -> None:
        spec = await self._spec(generation_id)
        try:
            causes = await self.runtime.start(spec.generation_id, [phone.phone_id for phone in spec.phones])
        except RuntimeFaultError as fault:
            raise job_failed(CREATE_FAILED, f"the new phones do not boot: {fault}") from fault
        if causes:
            raise job_failed(CREATE_FAILED, _count(spec, causes, "did not boot"))

    async def verify(self, generation_id: str) -> None:
        """Ask every phone. Booted once more before, which changes nothing unless their host died since `boot` was recorded."""
        spec = await self._spec(generation_id)
        try:
            boot = await bring_up(self.runtime, generation_id, spec.phones)
        except RuntimeFaultError as fault:
            raise job_failed(CREATE_FAILED, f"the new phones do not boot: {fault}") from fault
        if boot.failed:
            raise job_failed(CREATE_FAILED, _count(spec, boot.failed, "did not boot"))
        if boot.silent:
            raise job_failed(TIMED_OUT, _count(spec, boot.silent, "did not answer ADB"))
        causes = await lay_down(self.fleet, spec.phones)
        if causes:
            raise job_failed(CREATE_FAILED, _count(spec, causes, "do not have their image"))
        causes = await shared_storage.lay_down(self.fleet, spec.phones)  # of a change: what the server shares, before the swap
        if causes:
            raise job_failed(CREATE_FAILED, _count(spec, causes, "do not have all"))
        await self._check_addresses(generation_id)

    async def _check_addresses(self, generation_id: str) -> None:
        """Fail when another program listens where the new generation is to be reached: nobody must be led to it."""
        taken = await asyncio.to_thread(self._taken, generation_id)
        if taken and await wait_until_published(self.fleet.database):  # a gateway may just be leaving what was used before
            taken = await asyncio.to_thread(self._taken, generation_id)
        if taken:
            more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
            raise job_failed(CREATE_FAILED, f"{address_text(taken[0])}{more} cannot be opened: {address_check.ADVICE}")

    def _taken(self, generation_id: str) -> list[address_check.Pair]:
        with self.fleet.database.read() as tx:
            new, old = route(tx, generation_id), serving_before(tx, generation_id)
        if new is None:
            return []
        ssh_port = self.fleet.settings.ssh_port
        own = set(address_check.listened_on(old, ssh_port)) if old else set()
        return address_check.taken(pair for pair in address_check.listened_on(new, ssh_port) if pair not in own)

    async def publish(self, batch: Batch) -> None:
        await wait_until_published(self.fleet.database)

    # --- create_server ---

    def serve(self, tx: Transaction, batch: Batch) -> None:
        tx.run(_GENERATION_SERVES, of_generation=_new_generation(batch.job))
        revisions.bump(tx, generations.NETWORK)

    def finish_creation(self, tx: Transaction, batch: Batch) -> None:
        now = now_ms()
        tx.run(_PHONES_CREATED, of_generation=_new_generation(batch.job), new_status=PhoneStatus.RUNNING, now=now)
        tx.run(_SERVER_STATUS, of_server=batch.job.lane, new_status=ServerStatus.NORMAL, now=now)
        orders.settle(tx, [batch.job.lane], orders.PURCHASE, delivered=True)

    def creation_failed(self, tx: Transaction, job: Job, error: JobFailedError) -> None:
        """The server stays to be seen, abnormal (2) with phones whose creation failed (-8), until its owner deletes it: a purchase
        has no job id to ask, and Terraform ends its wait at 2 (cph-api.md 10.7). Nothing of it is left in the runtime."""
        now = now_ms()
        tx.run(_PHONES_CREATED, of_generation=_new_generation(job), new_status=PhoneStatus.CREATE_FAILED, now=now)
        tx.run(_SERVER_STATUS, of_server=job.lane, new_status=ServerStatus.ABNORMAL, now=now)
        orders.settle(tx, [job.lane], orders.PURCHASE, delivered=False)

    # --- change_server ---

    def swap(self, tx: Transaction, batch: Batch) -> None:
        """The point of no return: from here on the new generation is the server."""
        new = _new_generation(batch.job)
        tx.run(_PHONES_CREATED, of_generation=new, new_status=PhoneStatus.RUNNING, now=now_ms())
        generations.swap(tx, batch.job.lane, new)
        enterprise_project_id = _change(batch.job).enterprise_project_id
        if enterprise_project_id is not None:
            tx.run(_SERVER_ENTERPRISE_PROJECT, of_server=batch.job.lane, enterprise_project_id=enterprise_project_id)

    async def retire(self, batch: Batch) -> None:
        await self.runtime.remove(_change(batch.job).old_generation_id)

    def release(self, tx: Transaction, batch: Batch) -> None:
        generations.release(tx, _change(batch.job).old_generation_id)

    def change_failed(self, tx: Transaction, job: Job, error: JobFailedError) -> None:
        """The server is what it was: the old generation serves, and the new one's addresses, EIPs and quota are free again."""
        generations.release(tx, _new_generation(job))
        tx.run(_SERVER_STATUS, of_server=job.lane, new_status=ServerStatus.NORMAL, now=now_ms())

    # --- delete_server ---

    async def settle(self, batch: Batch) -> None:
        """Wait for the jobs the servers had before; with several servers they are in other lanes than this job."""
        server_ids = _deleted(batch.job)
        if len(server_ids) == 1:
            return  # our own lane: they have ended

        def older() -> int:
            with self.fleet.database.read() as tx:
                return tx.row(_OLDER_JOBS, lanes=json_list(server_ids), own_job_id=batch.job.job_id) or 0

        while await asyncio.to_thread(older):  # noqa: ASYNC110  other processes may end those jobs
            await asyncio.sleep(SETTLE_POLL_SECONDS)

    async def remove_servers(self, batch: Batch) -> None:
        def read() -> list[str]:
            with self.fleet.database.read() as tx:
                return _generations(tx, json_list(_deleted(batch.job)))

        bound = asyncio.Semaphore(REMOVALS_AT_ONCE)

        async def remove(generation_id: str) -> None:
            async with bound:
                await self.runtime.remove(generation_id)

        await _all(remove(generation_id) for generation_id in await asyncio.to_thread(read))

    def release_servers(self, tx: Transaction, batch: Batch) -> None:
        server_ids = json_list(_deleted(batch.job))
        for generation_id in _generations(tx, server_ids):
            generations.delete_rows(tx, generation_id)
        tx.run(_SERVERS_GONE, server_ids=server_ids)
        shared_storage.forget(tx, server_ids)
        orders.settle(tx, _deleted(batch.job), orders.UNSUBSCRIBE, delivered=True)

    def deletion_failed(self, tx: Transaction, job: Job, error: JobFailedError) -> None:
        """Only reached when not even the waiting could begin: nothing was removed yet, and the owner may delete again."""
        tx.run(_SERVERS_STATUS, server_ids=json_list(_deleted(job)), new_status=ServerStatus.ABNORMAL, now=now_ms())
        orders.settle(tx, _deleted(job), orders.UNSUBSCRIBE, delivered=False)


def _change(job: Job) -> ChangeServerJob:
    return msgspec.json.decode(job.payload, type=ChangeServerJob)


def _new_generation(job: Job) -> str:
    if job.kind == CHANGE_SERVER:
        return _change(job).new_generation_id
    return msgspec.json.decode(job.payload, type=CreateServerJob).generation_id


def _deleted(job: Job) -> list[str]:
    return list(msgspec.json.decode(job.payload, type=DeleteServerJob).server_ids)


def _generations(tx: Transaction, server_ids: str) -> list[str]:
    """All generations of servers, also one that has no row any more: what else is left of it goes with its server."""
    named = tx.rows(_POINTED_AT_WITHOUT_ROW, server_ids=server_ids)
    return [*tx.rows(_GENERATIONS_OF_SERVERS, server_ids=server_ids), *named]


def _count(spec: GenerationSpec, causes: Mapping[str, str], what: str) -> str:
    phone = next(phone for phone in spec.phones if phone.phone_id in causes)
    return f"{len(causes)} of {len(spec.phones)} new phones {what}; {phone.name}: {causes[phone.phone_id]}"


async def _all(work: Iterable[Awaitable[None]]) -> None:
    """Run all to their end, also when one fails; then raise the first failure."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
