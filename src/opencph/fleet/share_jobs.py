"""What the worker does for shared apps and files: five kinds of job, one per server. The storage itself is `shared_storage`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import IO

import msgspec
from sqlalchemy import bindparam, select

from opencph.adb.client import AdbError, Connection
from opencph.fleet import Fleet, generations, shared_storage
from opencph.fleet.command_jobs import TAR_BYTES_MAX, checked
from opencph.fleet.command_payloads import (
    DELETE_SHARE_APP,
    DELETE_SHARE_FILES,
    LIST_SHARE_FILES,
    PUSH_SHARE_APP,
    PUSH_SHARE_FILES,
    DeleteShareAppJob,
    DeleteShareFilesJob,
    ListShareFilesJob,
    PushShareAppJob,
    PushShareFilesJob,
)
from opencph.fleet.job_errors import RUNTIME_FAILED, job_failed
from opencph.fleet.phone_reach import Reach
from opencph.fleet.shared_storage import FILES, App, File, Room
from opencph.fleet.statuses import PhoneStatus
from opencph.fleet.times import now_ms
from opencph.jobs import Batch, Job, JobKind, Step
from opencph.objects import ObjectInfo
from opencph.runtimes import PhoneSpec, Runtime
from opencph.store import tables
from opencph.store.database import Query, Value, json_list, scalar
from opencph.wire.object_names import ObjectName

ARCHIVE_FAULT, WRONG_PATH = "CPS.0135", "CPS.0199"
FULL = "CPS.0137"  # the table has no closer code
EXECUTE_MSG_BYTES = 1024
REMOVE_SECONDS = 120.0  # of one phone
APP_ROOTS, FILE_ROOTS = ("data",), ("data", "cache")

_RUNNING: Query[str] = Query(
    select(tables.phones.c.phone_id).where(
        tables.phones.c.generation_id == bindparam("generation_id"), tables.phones.c.status == PhoneStatus.RUNNING
    ),
    scalar,
)


def kinds(fleet: Fleet, runtime: Runtime) -> dict[str, JobKind]:
    """The kinds of shared storage. `runtime` is asked for phones that should run and are not there."""
    work = _Shares(fleet, runtime)
    effects: dict[str, Callable[[Batch], Awaitable[None]]] = {
        PUSH_SHARE_APP: work.push_app,
        DELETE_SHARE_APP: work.delete_app,
        PUSH_SHARE_FILES: work.push_files,
        DELETE_SHARE_FILES: work.delete_files,
        LIST_SHARE_FILES: work.list_files,
    }
    return {name: JobKind(name=name, steps=(Step("share", effect=effect),)) for name, effect in effects.items()}


class _Shares:
    """The effects. Rows first, phones then: a phone that boots meanwhile gets it by itself."""

    def __init__(self, fleet: Fleet, runtime: Runtime) -> None:
        self.fleet = fleet
        self.reach = Reach(fleet, runtime)

    async def push_app(self, batch: Batch) -> None:
        job = batch.job
        payload = msgspec.json.decode(job.payload, type=PushShareAppJob)
        server_id = job.server_id or ""

        def replaced(one: App | File) -> bool:
            return isinstance(one, App) and (one.package_name, one.version) == (payload.package_name, payload.version)

        info, file = await self._fetch(job, ObjectName(payload.bucket, payload.key), APP_ROOTS)
        with file:
            await self._keep(server_id, payload.archive, file, info.size, replaced)

        def write() -> None:
            with self.fleet.database.write() as tx:
                names = {"of_server": server_id, "of_package": payload.package_name}
                tx.run(shared_storage.DELETE_VERSION, **names, of_version=payload.version)
                tx.run(
                    shared_storage.INSERT_APP,
                    server_id=server_id,
                    package_name=payload.package_name,
                    version=payload.version,
                    archive=payload.archive,
                    pre_install=payload.pre_install,
                    create_ms=now_ms(),
                )

        await asyncio.to_thread(write)
        await self._lay_down(server_id)

    async def delete_app(self, batch: Batch) -> None:
        payload = msgspec.json.decode(batch.job.payload, type=DeleteShareAppJob)
        server_id = batch.job.server_id or ""

        def write() -> None:
            with self.fleet.database.write() as tx:
                tx.run(shared_storage.DELETE_APP, of_server=server_id, of_package=payload.package_name)

        await asyncio.to_thread(write)
        await self._in_phones(server_id, lambda phone: shared_storage.remove_app(phone, payload.package_name))
        await asyncio.to_thread(shared_storage.sweep, self.fleet, server_id)

    async def push_files(self, batch: Batch) -> None:
        job = batch.job
        payload = msgspec.json.decode(job.payload, type=PushShareFilesJob)
        server_id = job.server_id or ""
        _, file = await self._fetch(job, ObjectName(payload.bucket, payload.key), FILE_ROOTS)
        with file:
            sizes = dict(await asyncio.to_thread(shared_storage.files_of, file))

            def replaced(one: App | File) -> bool:
                return isinstance(one, File) and one.path in sizes

            await self._keep(server_id, payload.archive, file, sum(sizes.values()), replaced)

        def write() -> None:
            with self.fleet.database.write() as tx:
                tx.run(shared_storage.DELETE_FILES, of_server=server_id, paths=json_list(sizes))
                rows: list[dict[str, Value]] = [
                    {"server_id": server_id, "path": path, "archive": payload.archive, "size": size, "create_ms": now_ms()}
                    for path, size in sizes.items()
                ]
                tx.run_many(shared_storage.INSERT_FILE, rows)

        await asyncio.to_thread(write)
        await self._lay_down(server_id)

    async def delete_files(self, batch: Batch) -> None:
        payload = msgspec.json.decode(batch.job.payload, type=DeleteShareFilesJob)
        server_id = batch.job.server_id or ""
        rows = await asyncio.to_thread(self.fleet.database.rows, FILES, of_server=server_id)
        wanted = [path.rstrip("/") for path in payload.file_paths]
        gone = [row.path for row in rows if any(row.path == path or row.path.startswith(f"{path}/") for path in wanted)]
        if gone:
            await self._in_phones(server_id, lambda phone: shared_storage.remove_files(phone, gone))

        def write() -> None:
            with self.fleet.database.write() as tx:
                tx.run(shared_storage.DELETE_FILES, of_server=server_id, paths=json_list(gone))

        await asyncio.to_thread(write)
        await asyncio.to_thread(shared_storage.sweep, self.fleet, server_id)

    async def list_files(self, batch: Batch) -> None:
        payload = msgspec.json.decode(batch.job.payload, type=ListShareFilesJob)
        server_id = batch.job.server_id or ""
        files = await asyncio.to_thread(self.fleet.database.rows, FILES, of_server=server_id)
        if payload.path.strip("/") not in FILE_ROOTS and not any(file.path.startswith(f"{payload.path}/") for file in files):
            raise job_failed(WRONG_PATH, f"{payload.path} is no directory of the shared storage")
        room = await asyncio.to_thread(shared_storage.room, self.fleet, server_id)
        batch.execute_msgs[batch.job.job_id] = listing(files, payload, room)

    # --- parts ----------------------------------------

    async def _fetch(self, job: Job, name: ObjectName, roots: tuple[str, ...]) -> tuple[ObjectInfo, IO[bytes]]:
        """The archive, looked through; what a worker that died had half kept is gone. Raises JobFailedError."""
        await asyncio.to_thread(shared_storage.sweep, self.fleet, job.server_id or "")
        info, file = await self.reach.fetch(job.project_id, name, TAR_BYTES_MAX, ARCHIVE_FAULT)
        try:
            await checked(file, ARCHIVE_FAULT, roots)
        except BaseException:
            file.close()
            raise
        return info, file

    async def _keep(self, server_id: str, archive: str, file: IO[bytes], size: int, replaced: Callable[[App | File], bool]) -> None:
        """Keep the archive, if there is room for it beside what it does not replace. Raises JobFailedError."""
        room = await asyncio.to_thread(shared_storage.room, self.fleet, server_id, without=replaced)
        if room.used + size > room.size:
            left = max(0, room.size - room.used)
            raise job_failed(FULL, f"the shared storage has {left} bytes left of {room.size}, and {size} are needed")
        try:
            await asyncio.to_thread(shared_storage.keep, self.fleet, server_id, archive, file)
        except OSError as error:
            raise job_failed(RUNTIME_FAILED, f"the shared storage: {error.strerror}") from error

    async def _lay_down(self, server_id: str) -> None:
        await asyncio.to_thread(shared_storage.sweep, self.fleet, server_id)
        phones = await asyncio.to_thread(self._phones, server_id)
        causes = await shared_storage.lay_down(self.fleet, phones, self._connect)
        _check(causes, len(phones))

    async def _in_phones(self, server_id: str, work: Callable[[Connection], Awaitable[None]]) -> None:
        phones = await asyncio.to_thread(self._phones, server_id)
        causes: dict[str, str] = {}
        for phone in phones:
            try:
                async with asyncio.timeout(REMOVE_SECONDS), await self._connect(phone) as connection:
                    await work(connection)
            except (AdbError, TimeoutError) as error:
                causes[phone.phone_id] = str(error) or f"it took longer than {REMOVE_SECONDS:.0f} s"
        _check(causes, len(phones))

    async def _connect(self, phone: PhoneSpec) -> Connection:
        return await self.reach.comebacks.connect(phone.phone_id, phone.ip)

    def _phones(self, server_id: str) -> Sequence[PhoneSpec]:
        """The phones of the server that run."""
        with self.fleet.database.read() as tx:
            generation_id = generations.of_server(tx, server_id)
            if generation_id is None:
                return ()
            running = set(tx.rows(_RUNNING, generation_id=generation_id))
            return [phone for phone in generations.spec(tx, self.fleet, generation_id).phones if phone.phone_id in running]


def _check(causes: dict[str, str], phones: int) -> None:
    if causes:
        phone_id, cause = next(iter(causes.items()))
        raise job_failed(RUNTIME_FAILED, f"{len(causes)} of {phones} phones failed, phone {phone_id} with: {cause}")


def listing(files: Sequence[File], wanted: ListShareFilesJob, room: Room) -> str:
    """The JSON text of execute_msg: as many entries of the page as 1024 bytes hold."""
    entries: dict[str, tuple[int, int]] = {}
    for file in files:
        if file.path.startswith(f"{wanted.path}/"):
            name, _, below = file.path[len(wanted.path) + 1 :].partition("/")
            changed = max(entries.get(name, (0, 0))[1], file.create_ms)
            entries[name] = (4096 if below else file.size, changed)
    lines = [
        f"{size} {time.strftime('%b %d %H:%M', time.gmtime(changed // 1000))} {name}" for name, (size, changed) in entries.items()
    ]
    page = lines[wanted.offset : wanted.offset + wanted.limit]
    left = max(0, room.size - room.used)
    capacity = f"{_human(room.size)} {_human(room.used)} {_human(left)} {room.used * 100 // room.size}%"
    while True:
        found = {
            "files_in_path": {"total": len(lines), "count": len(page), "files": page},
            "share_base_max_size": _human(room.size),
            "share_base_capacity": capacity,
        }
        text = msgspec.json.encode(found)
        if len(text) <= EXECUTE_MSG_BYTES or not page:
            return text.decode()
        page = page[:-1]


def _human(size: int) -> str:
    for unit, factor in (("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.1f}".removesuffix(".0") + unit
    return f"{size}"
