"""What should run, runs; what should not, does not; what should not exist, is removed: compares what the runtime has with what the
database says.

Two kinds of difference, two ways to act. Phones that should run and do not become a job of their own, `recover_server`, and stopped
ones that run become `stop_phone`, in the lane of their server: so recovery never works on a server at the same time as a user's
job, survives the worker, and leaves its cause to read. Generations that no row knows are nobody's, so they are removed at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import structlog
from sqlalchemy import bindparam, func, or_, select, update

from opencph.fleet import Fleet, command_runs, consistency, findings, generations, phone_home, strangers
from opencph.fleet.adb_check import silent_phones
from opencph.fleet.boots import SHOULD_RUN, down_and_lost
from opencph.fleet.filters import among
from opencph.fleet.ids import new_id
from opencph.fleet.job_errors import RUNTIME_FAILED, job_failed
from opencph.fleet.payloads import STOP_PHONE, StopPhoneJob
from opencph.fleet.statuses import PhoneStatus, ServerStatus
from opencph.fleet.strangers import GenerationRow
from opencph.fleet.times import now_ms
from opencph.jobs import RUNNING, Batch, JobKind, NewJob, Step, queue
from opencph.metrics.families import RECOVERIES
from opencph.runtimes import GenerationInventory, GenerationSpec, Runtime, RuntimeFaultError
from opencph.store import tables
from opencph.store.database import (
    Query,
    StoreBusyError,
    StoreUnavailableError,
    Transaction,
    command,
    in_list,
    json_list,
    scalar,
)

RECOVER_SERVER = "recover_server"
RECONCILE_SECONDS = 4.0
CONSISTENCY_SECONDS = 30.0 - RECONCILE_SECONDS  # it is looked at in the next round: every 30 s
RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS = 2.0, 60.0

#: Servers that are not being created, changed or deleted.
SETTLED: frozenset[int | None] = frozenset({ServerStatus.NORMAL, ServerStatus.ABNORMAL, ServerStatus.FROZEN})

log = structlog.get_logger(__name__)


class RecoverServerJob(msgspec.Struct, frozen=True, kw_only=True):
    """Kind `recover_server`: bring back the phones of a generation that should run."""

    generation_id: str


class _PhoneRow(NamedTuple):
    phone_id: str
    generation_id: str
    status: int


_NEWEST_JOB: Query[int] = Query(select(func.coalesce(func.max(tables.jobs.c.seq), 0)), scalar)
_BUSY_LANES: Query[str] = Query(
    select(tables.jobs.c.lane).where(or_(tables.jobs.c.status == RUNNING, tables.jobs.c.seq > bindparam("after_seq"))).distinct(),
    scalar,
)
_GENERATIONS: Query[GenerationRow] = Query(
    select(
        tables.generations.c.generation_id,
        tables.generations.c.server_id,
        tables.generations.c.project_id,
        tables.generations.c.state,
        tables.generations.c.phone_count,
        func.coalesce(tables.servers.c.generation_id, "") == tables.generations.c.generation_id,
        tables.servers.c.status,
    ).join(tables.servers, tables.servers.c.server_id == tables.generations.c.server_id, isouter=True),
    GenerationRow,
)
_PHONES: Query[_PhoneRow] = Query(
    select(tables.phones.c.phone_id, tables.phones.c.generation_id, tables.phones.c.status).where(
        in_list(tables.phones.c.generation_id, "generation_ids"),
        among(tables.phones.c.status, SHOULD_RUN),
    ),
    _PhoneRow,
)
_STOPPED: Query[_PhoneRow] = Query(
    select(tables.phones.c.phone_id, tables.phones.c.generation_id, tables.phones.c.status).where(
        in_list(tables.phones.c.generation_id, "generation_ids"), tables.phones.c.status == PhoneStatus.STOPPED
    ),
    _PhoneRow,
)
_STOPPED_GENERATIONS: Query[str] = Query(
    select(tables.phones.c.generation_id).where(tables.phones.c.status == PhoneStatus.STOPPED).distinct(), scalar
)
_ABNORMAL_GENERATIONS: Query[str] = Query(
    select(tables.phones.c.generation_id).where(tables.phones.c.status == PhoneStatus.ABNORMAL).distinct(), scalar
)
_SET_PHONES = command(
    update(tables.phones)
    .where(in_list(tables.phones.c.phone_id, "phone_ids"), tables.phones.c.status == bindparam("old_status"))
    .values(status=bindparam("new_status"), update_ms=bindparam("now"))
)
_SET_SERVER = command(
    update(tables.servers)
    .where(
        tables.servers.c.generation_id == bindparam("of_generation"),
        tables.servers.c.status == bindparam("old_status"),
    )
    .values(status=bindparam("new_status"), update_ms=bindparam("now"))
)
_STATUS_OF_SERVER: Query[int] = Query(
    select(tables.servers.c.status).where(tables.servers.c.generation_id == bindparam("of_generation")), scalar
)


def kinds(fleet: Fleet, runtime: Runtime) -> dict[str, JobKind]:
    """The kind `recover_server`, driving `runtime`."""

    async def recover(batch: Batch) -> None:
        await _recover(fleet, runtime, msgspec.json.decode(batch.job.payload, type=RecoverServerJob).generation_id)

    return {RECOVER_SERVER: JobKind(name=RECOVER_SERVER, steps=(Step("recover", effect=recover),))}


async def _recover(fleet: Fleet, runtime: Runtime, generation_id: str) -> None:
    """Make and boot what should run, and say so phone by phone. Raises JobFailedError when some still do not run."""

    def read() -> tuple[GenerationSpec, list[str]] | None:
        with fleet.database.read() as tx:
            if tx.row(_STATUS_OF_SERVER, of_generation=generation_id) not in SETTLED:
                return None  # changed or deleted since: not ours to bring back
            rows = tx.rows(_PHONES, generation_ids=json_list([generation_id]))
            return generations.spec(tx, fleet, generation_id), [row.phone_id for row in rows]

    try:
        found = await asyncio.to_thread(read)
        if found is None:
            return
        spec, phone_ids = found
        await runtime.create(spec)
        causes = dict(await runtime.start(generation_id, phone_ids))
    except RuntimeFaultError as fault:
        raise job_failed(RUNTIME_FAILED, f"the server's phones do not come back: {fault}") from fault
    wanted = set(phone_ids) - causes.keys()
    causes |= await silent_phones({phone.phone_id: phone.ip for phone in spec.phones if phone.phone_id in wanted})
    back = [phone_id for phone_id in phone_ids if phone_id not in causes]
    await command_runs.forget_in({phone.phone_id: phone.ip for phone in spec.phones if phone.phone_id in back})

    def write() -> None:
        with fleet.database.write() as tx:
            _mark_back(tx, generation_id, back)

    if back or not causes:
        await asyncio.to_thread(write)
    if causes:
        phone_id, cause = next(iter(causes.items()))
        raise job_failed(RUNTIME_FAILED, f"{len(causes)} of {len(phone_ids)} phones do not come back; phone {phone_id}: {cause}")


def _mark_back(tx: Transaction, generation_id: str, phone_ids: list[str]) -> None:
    now = now_ms()
    tx.run(
        _SET_PHONES,
        phone_ids=json_list(phone_ids),
        old_status=PhoneStatus.ABNORMAL,
        new_status=PhoneStatus.RUNNING,
        now=now,
    )
    tx.run(
        _SET_SERVER,
        of_generation=generation_id,
        old_status=ServerStatus.ABNORMAL,
        new_status=ServerStatus.NORMAL,
        now=now,
    )


class Reconciler:
    """Compares and acts, at start and every RECONCILE_SECONDS. Several workers may each run one: the lanes keep them apart."""

    def __init__(self, fleet: Fleet, runtime: Runtime) -> None:
        self.fleet = fleet
        self.runtime = runtime
        #: (generation_id, what is tried): (not before, pause), in loop seconds
        self._retries: dict[tuple[str, str], tuple[float, float]] = {}
        self._checked = float("-inf")  # when the rows and the strays were looked at last, in loop seconds
        self._not_whole: set[str] = set()  # servers that lack rows

    async def run(self, stop: asyncio.Event) -> None:
        """Reconcile until `stop`. A database or a runtime that fails is logged and asked again."""
        while not stop.is_set():
            try:
                here = await self._phones_are_here()
                if here:
                    await self.reconcile()
                if self._is_due():
                    await self._check_rows()
                    if here:
                        await strangers.set_strays_aside(self.fleet, self.runtime)
            except (StoreBusyError, StoreUnavailableError, RuntimeFaultError) as error:
                log.warning("reconcile", error=str(error))
            try:
                async with asyncio.timeout(RECONCILE_SECONDS):
                    await stop.wait()
            except TimeoutError:
                continue

    async def _phones_are_here(self) -> bool:
        """Whether the directory of phones is there. Without it, as when its disk is not mounted, every phone would be made anew."""
        if self.runtime.name != "builtin" or await asyncio.to_thread(phone_home.is_here, self.fleet.settings):
            return True
        text = f"{self.fleet.settings.data}/builtin is not the directory of this database's phones any more: mount or restore it"
        await asyncio.to_thread(strangers.report, self.fleet, "away", text)
        return False

    def _is_due(self) -> bool:
        """Whether it is time for what is looked at less often."""
        now = asyncio.get_running_loop().time()
        if now - self._checked < CONSISTENCY_SECONDS:
            return False
        self._checked = now
        return True

    async def _check_rows(self) -> None:
        self._not_whole = await asyncio.to_thread(consistency.check, self.fleet)

    async def reconcile(self) -> None:
        """One comparison. The order of reading keeps it from fighting with jobs.

        First the number of the newest job and who is busy, then the inventory, then the rows: a server that has a running job, or
        had one at the first reading, or got one since, is left alone, so what the inventory says of the others is no older than
        their rows.
        """
        before, busy_before = await asyncio.to_thread(self._first_look)
        inventory = {one.generation_id: one for one in await self.runtime.inventory()}
        rows, busy, phones = await asyncio.to_thread(self._read, before, inventory)
        busy |= busy_before
        await strangers.take_away(self.fleet, self.runtime, inventory, rows, busy, before)
        by_generation: dict[str, list[_PhoneRow]] = {}
        for phone in phones:
            by_generation.setdefault(phone.generation_id, []).append(phone)
        for row in rows.values():
            if _settled(row) and row.server_id not in busy:
                await self._compare(row, before, inventory.get(row.generation_id), by_generation.get(row.generation_id, []))

    def _first_look(self) -> tuple[int, set[str]]:
        """The number of the newest job, and the lanes in which one runs: it may end before the rows are read."""
        with self.fleet.database.read() as tx:
            newest = tx.row(_NEWEST_JOB) or 0
            return newest, set(tx.rows(_BUSY_LANES, after_seq=newest))

    def _read(
        self, newest_job: int, inventory: Mapping[str, GenerationInventory]
    ) -> tuple[dict[str, GenerationRow], set[str], list[_PhoneRow]]:
        """Generations by id, the lanes to leave alone, and phones: those that should run in generations that look wrong, and those
        that are stopped (8) and run."""
        with self.fleet.database.read() as tx:
            rows = {row.generation_id: row for row in tx.rows(_GENERATIONS)}
            busy = set(tx.rows(_BUSY_LANES, after_seq=newest_job))
            wrong = set(tx.rows(_ABNORMAL_GENERATIONS))
            for row in rows.values():
                found = inventory.get(row.generation_id)
                if _settled(row) and (
                    found is None
                    or not found.alive
                    or len(found.phones) < row.phone_count
                    or any(state in ("absent", "stopped") for state in found.phones.values())
                ):
                    wrong.add(row.generation_id)
            phones = tx.rows(_PHONES, generation_ids=json_list(sorted(wrong))) if wrong else []
            running = {
                generation_id: {phone_id for phone_id, state in found.phones.items() if state == "running"}
                for generation_id in tx.rows(_STOPPED_GENERATIONS)
                if (found := inventory.get(generation_id)) is not None and found.alive
            }
            mixed = json_list(sorted(generation_id for generation_id, phone_ids in running.items() if phone_ids))
            phones += [phone for phone in tx.rows(_STOPPED, generation_ids=mixed) if phone.phone_id in running[phone.generation_id]]
            return rows, busy, phones

    async def _compare(
        self, row: GenerationRow, newest_job: int, found: GenerationInventory | None, phones: list[_PhoneRow]
    ) -> None:
        alive = found is not None and found.alive
        states = found.phones if found is not None and found.alive else {}
        ran = [phone.phone_id for phone in phones if phone.status == PhoneStatus.STOPPED]
        phones = [phone for phone in phones if phone.status != PhoneStatus.STOPPED]
        if not ran:
            self._retries.pop((row.generation_id, STOP_PHONE), None)
        elif self._may_try(row.generation_id, STOP_PHONE):
            await asyncio.to_thread(self._accept_stop, row, newest_job, ran)
        down, lost = down_and_lost(found, phones)
        back = [phone for phone in phones if phone.status == PhoneStatus.ABNORMAL and states.get(phone.phone_id) == "running"]
        if not down:
            self._retries.pop((row.generation_id, RECOVER_SERVER), None)
            if back or (row.server_status == ServerStatus.ABNORMAL and alive and row.server_id not in self._not_whole):
                await asyncio.to_thread(self._accept_back, row, newest_job, back)
            return
        if not self._may_try(row.generation_id, RECOVER_SERVER):
            return
        if await asyncio.to_thread(self._accept_recovery, row, newest_job, down, alive, lost):
            RECOVERIES.add("server")
            log.warning("phones are down; bringing them back", server_id=row.server_id, phones=len(down), host_alive=alive)

    def _may_try(self, generation_id: str, kind: str) -> bool:
        """Whether a job of this kind may be made again: not too soon after the last one, which has not helped."""
        now, key = asyncio.get_running_loop().time(), (generation_id, kind)
        not_before, pause = self._retries.get(key, (0.0, RETRY_FIRST_SECONDS))
        if now < not_before:
            return False
        self._retries[key] = (now + pause, min(pause * 2, RETRY_MAX_SECONDS))
        return True

    @staticmethod
    def _still_idle(tx: Transaction, row: GenerationRow, newest_job: int) -> bool:
        """Whether the server is still as we saw it: no job since, and not just changed or deleted. Call it under the lock."""
        return not strangers.has_job(tx, row.server_id, newest_job) and (
            tx.row(_STATUS_OF_SERVER, of_generation=row.generation_id) in SETTLED
        )

    def _accept_back(self, row: GenerationRow, newest_job: int, back: list[_PhoneRow]) -> None:
        with self.fleet.database.write() as tx:
            tx.lock("placement")
            if self._still_idle(tx, row, newest_job):
                _mark_back(tx, row.generation_id, [phone.phone_id for phone in back])

    def _accept_stop(self, row: GenerationRow, newest_job: int, phone_ids: Sequence[str]) -> None:
        """Phones that are stopped and run are stopped once more: only the API switches them on."""
        with self.fleet.database.write() as tx:
            tx.lock("placement")
            if not self._still_idle(tx, row, newest_job):
                return
            findings.report_running(tx, row.server_id, phone_ids)
            tx.run(
                _SET_PHONES,
                phone_ids=json_list(phone_ids),
                old_status=PhoneStatus.STOPPED,
                new_status=PhoneStatus.STOPPING,
                now=now_ms(),
            )
            request_id, payload = new_id(), StopPhoneJob(generation_id=row.generation_id)
            jobs = [_job(row, STOP_PHONE, request_id, payload, phone_id=phone_id) for phone_id in phone_ids]
            queue.accept(tx, jobs)

    def _accept_recovery(
        self, row: GenerationRow, newest_job: int, down: Sequence[_PhoneRow], alive: bool, lost: Sequence[_PhoneRow]
    ) -> bool:
        """Phones that are down become abnormal (-7), a server without its host abnormal (2), and the job is recorded with them."""
        now = now_ms()
        with self.fleet.database.write() as tx:
            tx.lock("placement")
            if not self._still_idle(tx, row, newest_job):
                return False
            findings.report_down(tx, row.server_id, _if_new(down), _if_new(lost), alive=alive)
            tx.run(
                _SET_PHONES,
                phone_ids=json_list(phone.phone_id for phone in down),
                old_status=PhoneStatus.RUNNING,
                new_status=PhoneStatus.ABNORMAL,
                now=now,
            )
            if not alive:
                tx.run(
                    _SET_SERVER,
                    of_generation=row.generation_id,
                    old_status=ServerStatus.NORMAL,
                    new_status=ServerStatus.ABNORMAL,
                    now=now,
                )
            queue.accept(tx, [_job(row, RECOVER_SERVER, new_id(), RecoverServerJob(generation_id=row.generation_id))])
        return True


def _job(row: GenerationRow, kind: str, request_id: str, payload: msgspec.Struct, *, phone_id: str | None = None) -> NewJob:
    return NewJob(
        project_id=row.project_id,
        request_id=request_id,
        kind=kind,
        lane=row.server_id,
        server_id=row.server_id,
        phone_id=phone_id,
        payload=payload,
    )


def _if_new(phones: Sequence[_PhoneRow]) -> list[str]:
    """The ids of phones, unless it is known already of all of them that they are down."""
    return [phone.phone_id for phone in phones] if any(phone.status == PhoneStatus.RUNNING for phone in phones) else []


def _settled(row: GenerationRow) -> bool:
    """Whether the generation serves a server that is not being created, changed or deleted."""
    return row.serves and row.server_status in SETTLED
