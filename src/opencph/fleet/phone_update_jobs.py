"""What the worker does when name, properties or traffic route of phones were changed: one kind of job, batched per server. What a
user may ask is in `phone_updates`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from opencph.fleet import Fleet, generations
from opencph.fleet.job_errors import PHONE_GONE, RUNTIME_FAILED, job_failed
from opencph.fleet.payloads import UPDATE_PHONE, UpdatePhoneJob
from opencph.jobs import Batch, Job, JobKind, Step
from opencph.runtimes import GenerationSpec, Runtime, RuntimeFaultError


def kinds(fleet: Fleet, runtime: Runtime) -> dict[str, JobKind]:
    """The kind `update_phone`, driving `runtime`."""

    def read(generation_ids: list[str]) -> dict[str, GenerationSpec]:
        found = {}
        with fleet.database.read() as tx:
            for generation_id in generation_ids:
                try:
                    found[generation_id] = generations.spec(tx, fleet, generation_id)
                except LookupError:
                    continue  # the server was changed or deleted: its phones are gone
        return found

    async def tell(batch: Batch) -> None:
        """Rows are read when the work is done, so of several changes the last one stands, whoever runs first."""
        wanted: dict[str, dict[str, Job]] = {}
        for job in batch.alive:
            payload = msgspec.json.decode(job.payload, type=UpdatePhoneJob)
            wanted.setdefault(payload.generation_id, {})[job.phone_id or ""] = job
        try:
            specs: Mapping[str, GenerationSpec] = await asyncio.to_thread(read, list(wanted))
            for generation_id, jobs in wanted.items():
                spec = specs.get(generation_id)
                phones = [phone for phone in spec.phones if phone.phone_id in jobs] if spec is not None else []
                for phone_id in jobs.keys() - {phone.phone_id for phone in phones}:
                    gone = job_failed(PHONE_GONE, f"phone {phone_id} went away before its job ran")
                    batch.fail(jobs[phone_id].job_id, gone.code, gone.message)
                if phones:
                    await runtime.update(generation_id, phones)
        except RuntimeFaultError as fault:
            raise job_failed(RUNTIME_FAILED, f"the phone cannot be told; it will know at its next restart: {fault}") from fault

    return {UPDATE_PHONE: JobKind(name=UPDATE_PHONE, steps=(Step("tell", effect=tell),), batched=True)}
