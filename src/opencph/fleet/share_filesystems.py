"""Shared file systems of servers (cph-api.md section 4, numbers 13 and 14): accepting, and the kinds of job that do it.

A file system is a directory of the project's, DATA/share-filesystems/<project>/<id>; phones of an attached server see it, or the
directory in it that was asked for, at /mnt/sfs_turbo/<id>. It is there from the first attachment on and is never deleted here.
"""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import msgspec
from sqlalchemy import bindparam, delete, insert, select

from opencph.fleet import Fleet, generations, server_batches
from opencph.fleet.job_errors import RUNTIME_FAILED, job_failed
from opencph.fleet.payloads import ATTACH_SHARE_FILESYSTEM, DETACH_SHARE_FILESYSTEM, ShareFilesystemJob
from opencph.fleet.server_batches import Server
from opencph.fleet.share_paths import share_directory
from opencph.iam import Caller
from opencph.jobs import Batch, Job, JobKind, Step
from opencph.runtimes import GenerationSpec, Runtime, RuntimeFaultError
from opencph.store import tables
from opencph.store.database import Query, Transaction, command, scalar
from opencph.wire.errors import CphError
from opencph.wire.server_actions import ServerJobsResponse
from opencph.wire.share_filesystems import AttachShareFilesystemRequest, DetachShareFilesystemRequest

_f = tables.share_filesystems.c
_this = (_f.server_id == bindparam("of_server"), _f.share_id == bindparam("of_share"))

_ATTACHED: Query[str] = Query(select(_f.path).where(*_this), scalar)
_DETACH = command(delete(tables.share_filesystems).where(*_this))
_ATTACH = command(
    insert(tables.share_filesystems).values(
        server_id=bindparam("of_server"), share_id=bindparam("of_share"), path=bindparam("path")
    )
)


def attach_share_filesystem(
    fleet: Fleet, caller: Caller, request_id: str, body: AttachShareFilesystemRequest
) -> ServerJobsResponse:
    """Attach a file system to servers; one that has it already sees the directory that is asked for now."""
    payload = ShareFilesystemJob(share_id=body.id, path=body.path)
    return server_batches.accept_sharing(fleet, caller, request_id, body.server_ids, ATTACH_SHARE_FILESYSTEM, payload)


def detach_share_filesystem(
    fleet: Fleet, caller: Caller, request_id: str, body: DetachShareFilesystemRequest
) -> ServerJobsResponse:
    """Detach a file system from servers; its files stay. A server that does not have it: CPS.0086 in its item."""

    def attached(tx: Transaction, server: Server) -> None:
        if tx.row(_ATTACHED, of_server=server.server_id, of_share=body.id) is None:
            raise CphError("CPS.0086", f"id {body.id} is not attached to server {server.server_id}")

    payload = ShareFilesystemJob(share_id=body.id)
    return server_batches.accept_sharing(
        fleet, caller, request_id, body.server_ids, DETACH_SHARE_FILESYSTEM, payload, check=attached
    )


def kinds(fleet: Fleet, runtime: Runtime) -> dict[str, JobKind]:
    """The kinds `attach_share_filesystem` and `detach_share_filesystem`, driving `runtime`."""

    def attach(tx: Transaction, batch: Batch) -> None:
        payload = _payload(batch.job)
        tx.run(_DETACH, of_server=batch.job.lane, of_share=payload.share_id)
        tx.run(_ATTACH, of_server=batch.job.lane, of_share=payload.share_id, path=payload.path)

    def detach(tx: Transaction, batch: Batch) -> None:
        tx.run(_DETACH, of_server=batch.job.lane, of_share=_payload(batch.job).share_id)

    def read(server_id: str) -> GenerationSpec:
        with fleet.database.read() as tx:
            return generations.spec(tx, fleet, generations.of_server(tx, server_id) or "")

    async def make(batch: Batch) -> None:
        payload = _payload(batch.job)
        top = share_directory(fleet.settings, batch.job.project_id, payload.share_id, "/")
        try:
            await asyncio.to_thread(_make_directory, top, payload.path)
        except OSError as error:
            raise job_failed(RUNTIME_FAILED, f"the directory {payload.path} of {top} cannot be made: {error.strerror}") from error

    async def tell(batch: Batch) -> None:
        try:
            spec = await asyncio.to_thread(read, batch.job.lane)
            await runtime.update(spec.generation_id, spec.phones)
        except RuntimeFaultError as fault:
            raise job_failed(RUNTIME_FAILED, f"the phones cannot be told: {fault}") from fault

    steps = (Step("make", effect=make), Step("attach", commit=attach, undo_commit=detach), Step("tell", effect=tell))
    return {
        ATTACH_SHARE_FILESYSTEM: JobKind(name=ATTACH_SHARE_FILESYSTEM, steps=steps),
        DETACH_SHARE_FILESYSTEM: JobKind(
            name=DETACH_SHARE_FILESYSTEM, steps=(Step("detach", commit=detach), Step("tell", effect=tell))
        ),
    }


def _make_directory(top: Path, path: str) -> None:
    """Phones are users of their own on this machine: all of them may write there; nobody else comes near DATA.

    Directories on the way are ours and sticky, so that no phone can put a link in their place and have another phone bound to what
    it leads to. Without root all phones are one user, to whom sticky means nothing: only the whole file system is given then.
    """
    top.mkdir(mode=0o700, parents=True, exist_ok=True)
    top.chmod(0o1777)
    parts = [part for part in path.split("/") if part]
    if parts and os.geteuid() != 0:
        raise PermissionError(errno.EPERM, "a directory in it can be attached only when the worker runs as root")
    here = top
    for part in parts:
        here = here / part
        if here.is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, "a link is in its path")
        here.mkdir(exist_ok=True)
        os.chown(here, os.geteuid(), -1, follow_symlinks=False)
        here.chmod(0o1777)


def _payload(job: Job) -> ShareFilesystemJob:
    return msgspec.json.decode(job.payload, type=ShareFilesystemJob)
