"""Reaching phones for jobs: which are there, a connection to one, objects for a project. No kind of job is here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from typing import IO, NamedTuple

from sqlalchemy import bindparam, select

from opencph.adb.client import AdbError, Connection
from opencph.fleet import Fleet
from opencph.fleet.archives import ArchiveError
from opencph.fleet.boots import Comebacks
from opencph.fleet.job_errors import PHONE_GONE, TIMED_OUT, job_failed
from opencph.fleet.pools import for_each
from opencph.jobs import Batch, Job, JobFailedError
from opencph.objects import ObjectError, ObjectInfo, ObjectStore, buckets, open_store
from opencph.runtimes import Runtime
from opencph.store import tables
from opencph.store.database import Query, in_list, json_list, scalar
from opencph.wire.object_names import ObjectName

#: for what is still asked of a phone whose time is up
LATE_SECONDS = 5.0
NOT_RUNNING, NO_OBJECT, NOT_UPLOADED = "CPS.0141", "CPS.0104", "CPS.0103"


class Target(NamedTuple):
    """A phone that a job is for. Disk in GiB."""

    phone_id: str
    ip: str
    data_volume_gib: int
    image_id: str


_TARGETS = Query(
    select(*(tables.phones.c[name] for name in ("phone_id", "phone_ip", "data_volume_gib", "image_id"))).where(
        in_list(tables.phones.c.phone_id, "phone_ids")
    ),
    Target,
)
_DOMAIN: Query[str] = Query(
    select(tables.projects.c.domain_id).where(tables.projects.c.project_id == bindparam("project_id")), scalar
)

Work = Callable[[Job, Target], Awaitable[None]]


class Reach:
    """What the jobs share."""

    def __init__(self, fleet: Fleet, runtime: Runtime) -> None:
        self.fleet = fleet
        self.comebacks = Comebacks(fleet, runtime)

    @cached_property
    def store(self) -> ObjectStore:
        """The object store. Raises SettingsError."""
        return open_store(self.fleet.settings)

    async def each(
        self, batch: Batch, jobs: Sequence[Job], work: Work, *, at_once: int, seconds: float, late: Work | None = None
    ) -> None:
        """Do one thing in the phone of each job, `at_once` at a time, each within `seconds`. Jobs that fail leave the batch.

        `late` is tried within LATE_SECONDS where time was up; whether it can be done changes nothing in how the job ends.
        """
        targets = {target.phone_id: target for target in await asyncio.to_thread(self._targets, jobs)}

        async def one(job: Job) -> None:
            target = targets.get(job.phone_id or "")
            try:
                if target is None:
                    raise job_failed(PHONE_GONE, f"phone {job.phone_id} went away before its job ran")
                async with asyncio.timeout(seconds):
                    await work(job, target)
            except TimeoutError:
                failure = job_failed(TIMED_OUT, f"it took longer than {seconds:.0f} s")
                batch.fail(job.job_id, failure.code, failure.message)
                if late is not None and target is not None:
                    with suppress(TimeoutError, AdbError):
                        async with asyncio.timeout(LATE_SECONDS):
                            await late(job, target)
            except JobFailedError as failed:
                batch.fail(job.job_id, failed.code, failed.message)

        await for_each(jobs, one, at_once=at_once)

    async def addresses(self, jobs: Sequence[Job]) -> dict[str, str]:
        """Where the phones of jobs are, as far as there are any: {phone_id: ip}."""
        return {target.phone_id: target.ip for target in await asyncio.to_thread(self._targets, jobs)} if jobs else {}

    def _targets(self, jobs: Sequence[Job]) -> list[Target]:
        return self.fleet.database.rows(_TARGETS, phone_ids=json_list(job.phone_id or "" for job in jobs))

    # --- connections ----------------------------------------

    @asynccontextmanager
    async def reached(self, target: Target, fault: str) -> AsyncIterator[Connection]:
        """A connection to a phone; what goes wrong in it fails the job: CPS.0141 when there is none, else `fault`.

        A phone that should run and is not there is brought up first (`boots.Comebacks`): nothing was sent to it yet.
        """
        try:
            phone = await self.comebacks.connect(target.phone_id, target.ip)
        except AdbError as error:
            raise job_failed(NOT_RUNNING, f"phone {target.phone_id} does not answer: {error}") from error
        try:
            async with phone:
                yield phone
        except (AdbError, ArchiveError) as error:
            raise job_failed(fault, str(error)) from error

    # --- objects ----------------------------------------

    async def fetch(self, project_id: str, name: ObjectName, bytes_max: int, fault: str) -> tuple[ObjectInfo, IO[bytes]]:
        """An object that the project may read, as a file. Raises JobFailedError: CPS.0104, or `fault` when it is too large."""

        def get() -> tuple[ObjectInfo, IO[bytes]]:
            self.check_bucket(project_id, name.bucket)
            info = self.store.head(name.bucket, name.key)
            if info.size > bytes_max:
                raise job_failed(fault, f"{name} has {info.size} bytes: at most {bytes_max}")
            return info, self.store.open(name.bucket, name.key)

        try:
            return await asyncio.to_thread(get)
        except ObjectError as error:
            raise job_failed(NO_OBJECT, f"{name}: {error.message}") from error

    def check_bucket(self, project_id: str, bucket: str) -> None:
        """Raises ObjectError when the bucket is not the project's account's. Blocks."""
        domain_id = self.fleet.database.row(_DOMAIN, project_id=project_id) or ""
        buckets.check(self.fleet.database, domain_id, bucket)
