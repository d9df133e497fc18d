"""What the worker does for exports, restores and larger disks: three kinds of job, batched per server. Files travel through ADB."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import msgspec
from sqlalchemy import bindparam, update

from opencph.fleet import Fleet, archives, generations, phone_files
from opencph.fleet.command_jobs import (
    PUSH_SECONDS,
    TAR_BYTES_MAX,
    TRANSFERS_AT_ONCE,
    check_room,
    checked,
    shown_output,
)
from opencph.fleet.command_payloads import (
    EXPAND_PHONE,
    EXPORT_PHONE,
    IMPORT_PHONE,
    ExpandPhoneJob,
    ExportPhoneJob,
    ImportPhoneJob,
)
from opencph.fleet.images import version_of
from opencph.fleet.job_errors import PHONE_GONE, RUNTIME_FAILED, job_failed
from opencph.fleet.phone_files import Exporter
from opencph.fleet.phone_reach import NO_OBJECT, NOT_UPLOADED, Reach, Target
from opencph.fleet.times import now_ms
from opencph.jobs import Batch, Job, JobFailedError, JobKind, Step
from opencph.objects import ObjectError, spooled
from opencph.runtimes import GenerationSpec, Runtime, RuntimeFaultError
from opencph.store import tables
from opencph.store.database import Transaction, command
from opencph.wire.object_names import ObjectName

EXPORT_FAULT, RESTORE_FAULT = "CPS.0167", "CPS.0171"
DATA_ROOTS = ("data", "cache")

_GROW = command(
    update(tables.phones)
    .where(tables.phones.c.phone_id == bindparam("of_phone"), tables.phones.c.data_volume_gib <= bindparam("size"))
    .values(data_volume_gib=bindparam("size"), update_ms=bindparam("now"))
)


def kinds(fleet: Fleet, runtime: Runtime) -> dict[str, JobKind]:
    """The kinds `export_phone`, `import_phone` and `expand_phone`."""
    work = _Data(fleet, runtime)
    found = (
        JobKind(name=EXPORT_PHONE, steps=(Step("export", effect=work.export),), batched=True),
        JobKind(name=IMPORT_PHONE, steps=(Step("import", effect=work.restore),), batched=True),
        JobKind(
            name=EXPAND_PHONE,
            steps=(Step("grow", commit=_grow), Step("resize", effect=work.resize)),
            batched=True,
            point_of_no_return="grow",
        ),
    )
    return {kind.name: kind for kind in found}


def _grow(tx: Transaction, batch: Batch) -> None:
    """The row first: whoever makes the phone anew from now on gives it the new size."""
    for job in batch.alive:
        payload = msgspec.json.decode(job.payload, type=ExpandPhoneJob)
        tx.run(_GROW, of_phone=job.phone_id, size=payload.new_size, now=now_ms())


def android(image_version: str) -> tuple[int, ...]:
    """`AOSP 11.0` as numbers that can be compared; () for none."""
    return tuple(int(part) for part in image_version.rpartition(" ")[2].split(".") if part.isascii() and part.isdigit())


def left_out(causes: Sequence[str]) -> str:
    """execute_msg of an export: what of the phone is not in the archive, as much of it as there is room for."""
    if not causes:
        return ""
    text = f"{len(causes)} left out: {'; '.join(causes[:20])}"
    return shown_output(text.encode("utf-8", "replace"))


class _Data:
    def __init__(self, fleet: Fleet, runtime: Runtime) -> None:
        self.fleet = fleet
        self.runtime = runtime
        self.reach = Reach(fleet, runtime)

    async def export(self, batch: Batch) -> None:
        async def work(job: Job, target: Target) -> None:
            if text := await self._export_one(job, target):
                batch.execute_msgs[job.job_id] = text

        await self.reach.each(batch, batch.alive, work, at_once=TRANSFERS_AT_ONCE, seconds=PUSH_SECONDS)

    async def _export_one(self, job: Job, target: Target) -> str:
        """Export; what was left out."""
        payload = msgspec.json.decode(job.payload, type=ExportPhoneJob)
        name = ObjectName(payload.bucket, payload.key)
        try:
            await asyncio.to_thread(self.reach.check_bucket, job.project_id, name.bucket)
        except ObjectError as error:
            raise job_failed(NO_OBJECT, f"{name}: {error.message}") from error
        file = await asyncio.to_thread(spooled, self.reach.store)
        try:
            async with self.reach.reached(target, EXPORT_FAULT) as phone:
                exporter = Exporter(phone, file, payload.exclude_files, await self._version(target))
                await exporter.pack(payload.include_files)
            await checked(file, EXPORT_FAULT, DATA_ROOTS)  # a backup that could not be restored is none
            await asyncio.to_thread(self.reach.store.put, name.bucket, name.key, file)
        except ObjectError as error:
            raise job_failed(NOT_UPLOADED, f"{name}: {error.message}") from error
        except OSError as error:
            raise job_failed(NOT_UPLOADED, f"{name}: {error.strerror}") from error
        finally:
            with suppress(FileNotFoundError):
                file.close()
        return left_out(exporter.left_out)

    async def _version(self, target: Target) -> str:
        return await asyncio.to_thread(version_of, self.fleet.database, self.fleet, target.image_id)

    async def restore(self, batch: Batch) -> None:
        await self.reach.each(batch, batch.alive, self._restore_one, at_once=TRANSFERS_AT_ONCE, seconds=PUSH_SECONDS)

    async def _restore_one(self, job: Job, target: Target) -> None:
        payload = msgspec.json.decode(job.payload, type=ImportPhoneJob)
        name = ObjectName(payload.bucket, payload.key)
        _, file = await self.reach.fetch(job.project_id, name, TAR_BYTES_MAX, RESTORE_FAULT)
        with file:
            size = await checked(file, RESTORE_FAULT, DATA_ROOTS)
            exported, here = await asyncio.to_thread(archives.image_version, file), await self._version(target)
            if android(exported) > android(here):
                cause = f"{name} was exported from {exported}, and the phone has {here}: a newer system's data cannot be restored"
                raise job_failed(RESTORE_FAULT, cause)
            async with self.reach.reached(target, RESTORE_FAULT) as phone:
                await check_room(phone, target, size)
                await phone_files.check_places(phone, file)
                await phone_files.unpack(phone, file)

    async def resize(self, batch: Batch) -> None:
        """Tell the runtime what the rows say. Of a generation that went away there is nothing to resize."""
        wanted: dict[str, list[Job]] = {}
        for job in batch.alive:
            wanted.setdefault(msgspec.json.decode(job.payload, type=ExpandPhoneJob).generation_id, []).append(job)
        for generation_id, jobs in wanted.items():
            ids = {job.phone_id for job in jobs}
            try:
                spec = await asyncio.to_thread(self._spec, generation_id)
                await self.runtime.update(generation_id, [phone for phone in spec.phones if phone.phone_id in ids])
            except LookupError:
                for job in jobs:
                    gone = job_failed(PHONE_GONE, f"phone {job.phone_id} went away before its job ran")
                    batch.fail(job.job_id, gone.code, gone.message)
            except RuntimeFaultError as fault:
                raise JobFailedError(RUNTIME_FAILED, f"the disk cannot be resized: {fault}") from fault

    def _spec(self, generation_id: str) -> GenerationSpec:
        with self.fleet.database.read() as tx:
            return generations.spec(tx, self.fleet, generation_id)
