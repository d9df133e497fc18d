"""What the worker does to restart, reset and stop phones: three kinds of job, batched per server. What a user may ask is in
`phone_power`. The order of a restart is: off, new image and properties, on, and only then is ADB believed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence

import msgspec
from sqlalchemy import bindparam, update

from opencph.fleet import Fleet, generations, shared_storage
from opencph.fleet.boots import bring_up
from opencph.fleet.image_data import lay_down
from opencph.fleet.job_errors import PHONE_GONE, RUNTIME_FAILED, TIMED_OUT, job_failed
from opencph.fleet.payloads import RESET_PHONE, RESTART_PHONE, STOP_PHONE, RestartPhoneJob
from opencph.fleet.statuses import PhoneStatus
from opencph.fleet.times import now_ms
from opencph.jobs import Batch, Job, JobFailedError, JobKind, Step
from opencph.runtimes import GenerationSpec, PhoneSpec, Runtime, RuntimeFaultError
from opencph.store import tables
from opencph.store.database import Transaction, command, in_list, json_list

_PHONES_DONE = command(
    update(tables.phones)
    .where(in_list(tables.phones.c.phone_id, "phone_ids"), tables.phones.c.status == bindparam("working_status"))
    .values(status=bindparam("new_status"), update_ms=bindparam("now"))
)
_PHONE_FAILED = command(
    update(tables.phones)
    .where(tables.phones.c.phone_id == bindparam("of_phone"), tables.phones.c.status == bindparam("working_status"))
    .values(status=bindparam("new_status"), update_ms=bindparam("now"))
)


def kinds(fleet: Fleet, runtime: Runtime) -> dict[str, JobKind]:
    """The kinds `restart_phone`, `reset_phone` and `stop_phone`, driving `runtime`."""
    work = _PhoneWork(fleet, runtime)
    off, wipe, on, on_anew = (
        Step("off", effect=work.off),
        Step("wipe", effect=work.wipe),
        Step("power", effect=work.on),
        Step("power", effect=work.on_anew),
    )
    all_kinds = (
        _kind(RESTART_PHONE, (off, on), PhoneStatus.RESTARTING, PhoneStatus.RUNNING, PhoneStatus.RESTART_FAILED),
        _kind(RESET_PHONE, (off, wipe, on_anew), PhoneStatus.RESETTING, PhoneStatus.RUNNING, PhoneStatus.RESET_FAILED),
        _kind(STOP_PHONE, (Step("power", effect=work.off),), PhoneStatus.STOPPING, PhoneStatus.STOPPED, PhoneStatus.STOP_FAILED),
    )
    return {kind.name: kind for kind in all_kinds}


def _kind(name: str, effects: tuple[Step, ...], working: int, done: int, failed: int) -> JobKind:
    """Effects that change nothing when they are taken again, so that no phone goes off or boots twice, and one transaction that
    says so for the whole batch."""

    def finish(tx: Transaction, batch: Batch) -> None:
        phone_ids = json_list(job.phone_id or "" for job in batch.alive)
        tx.run(_PHONES_DONE, phone_ids=phone_ids, working_status=working, new_status=done, now=now_ms())

    def end(tx: Transaction, job: Job, error: JobFailedError) -> None:
        tx.run(_PHONE_FAILED, of_phone=job.phone_id, working_status=working, new_status=failed, now=now_ms())

    return JobKind(name=name, steps=(*effects, Step("finish", commit=finish)), batched=True, on_failure=end)


class _PhoneWork:
    """The effects. A phone that fails leaves the batch with its cause; the others go on."""

    def __init__(self, fleet: Fleet, runtime: Runtime) -> None:
        self.fleet = fleet
        self.runtime = runtime

    async def off(self, batch: Batch) -> None:
        for generation_id, phones in (await self._phones(batch)).items():
            await self._call(batch, "did not stop", self.runtime.stop(generation_id, _ids(_alive(batch, phones))))

    async def wipe(self, batch: Batch) -> None:
        for generation_id, phones in (await self._phones(batch)).items():
            await self._call(batch, "was not wiped", self.runtime.reset(generation_id, _ids(_alive(batch, phones))))

    async def on(self, batch: Batch) -> None:
        for generation_id, phones in (await self._phones(batch)).items():
            await self._boot(batch, generation_id, phones)

    async def on_anew(self, batch: Batch) -> None:
        """The first boot after a reset: the data of its image comes back, too."""
        for generation_id, phones in (await self._phones(batch)).items():
            await self._boot(batch, generation_id, phones)
            causes = await lay_down(self.fleet, _alive(batch, phones))
            _fail(batch, RUNTIME_FAILED, "does not have its image", causes)

    async def _boot(self, batch: Batch, generation_id: str, phones: Sequence[PhoneSpec]) -> None:
        await self._call(batch, "cannot be updated", self._update(generation_id, _alive(batch, phones)))
        try:
            boot = await bring_up(self.runtime, generation_id, _alive(batch, phones))
        except RuntimeFaultError as fault:
            raise job_failed(RUNTIME_FAILED, f"the phone did not boot: {fault}") from fault
        _fail(batch, RUNTIME_FAILED, "did not boot", boot.failed)
        _fail(batch, TIMED_OUT, "does not answer ADB", boot.silent)
        causes = await shared_storage.lay_down(self.fleet, _alive(batch, phones))
        _fail(batch, RUNTIME_FAILED, "does not have all", causes)

    async def _update(self, generation_id: str, phones: Sequence[PhoneSpec]) -> Mapping[str, str]:
        await self.runtime.update(generation_id, phones)
        return {}

    async def _call(self, batch: Batch, what: str, call: Awaitable[Mapping[str, str]]) -> None:
        """A call of the runtime: the phones it names as failed leave the batch; when nothing could be done, all jobs fail."""
        try:
            causes = await call
        except RuntimeFaultError as fault:
            raise job_failed(RUNTIME_FAILED, f"the phone {what}: {fault}") from fault
        _fail(batch, RUNTIME_FAILED, what, causes)

    async def _phones(self, batch: Batch) -> dict[str, list[PhoneSpec]]:
        """The phones of the batch as the database has them now, by generation: one, unless the server was changed in between.

        Jobs whose phone is gone fail.
        """
        wanted: dict[str, dict[str, Job]] = {}
        for job in batch.alive:
            payload = msgspec.json.decode(job.payload, type=RestartPhoneJob)  # the three kinds have the same payload
            wanted.setdefault(payload.generation_id, {})[job.phone_id or ""] = job

        def read() -> dict[str, GenerationSpec | None]:
            with self.fleet.database.read() as tx:
                return {generation_id: _spec_or_none(tx, self.fleet, generation_id) for generation_id in wanted}

        found: dict[str, list[PhoneSpec]] = {}
        for generation_id, spec in (await asyncio.to_thread(read)).items():
            jobs = wanted[generation_id]
            phones = [phone for phone in spec.phones if phone.phone_id in jobs] if spec is not None else []
            for phone_id in jobs.keys() - {phone.phone_id for phone in phones}:
                gone = job_failed(PHONE_GONE, f"phone {phone_id} went away before its job ran")
                batch.fail(jobs[phone_id].job_id, gone.code, gone.message)
            if phones:
                found[generation_id] = phones
        return found


def _spec_or_none(tx: Transaction, fleet: Fleet, generation_id: str) -> GenerationSpec | None:
    try:
        return generations.spec(tx, fleet, generation_id)
    except LookupError:
        return None
    except RuntimeFaultError as fault:
        raise job_failed(RUNTIME_FAILED, str(fault)) from fault


def _alive(batch: Batch, phones: Sequence[PhoneSpec]) -> list[PhoneSpec]:
    """The phones among `phones` whose jobs have not failed."""
    alive = {job.phone_id for job in batch.alive}
    return [phone for phone in phones if phone.phone_id in alive]


def _ids(phones: Sequence[PhoneSpec]) -> list[str]:
    return [phone.phone_id for phone in phones]


def _fail(batch: Batch, code: str, what: str, causes: Mapping[str, str]) -> None:
    for job in batch.alive:
        cause = causes.get(job.phone_id or "")
        if cause is not None:
            failure = job_failed(code, f"the phone {what}: {cause}")
            batch.fail(job.job_id, failure.code, failure.message)
