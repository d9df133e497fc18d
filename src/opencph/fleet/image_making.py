"""How custom images come to be: an operator imports an archive, or captures what a running phone holds (`opencph images`)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, insert, select, update

from opencph.adb.client import AdbError, connect
from opencph.fleet import archives, images
from opencph.fleet.ids import new_id
from opencph.fleet.phone_files import Exporter
from opencph.fleet.statuses import PhoneStatus
from opencph.fleet.times import now_ms
from opencph.store import tables
from opencph.store.database import Query, command, scalar
from opencph.wire.custom_images import CREATE_FAILED, CREATING, PRODUCTION

if TYPE_CHECKING:
    from opencph.fleet import Fleet

IMAGE_MAX_BYTES = 64 << 30
NAME_MAX_BYTES = 128
#: What a capture takes from a phone.
CAPTURED = ("/data", "/cache")

_p = tables.phones.c


class ImageMakingError(Exception):
    """The image cannot be made; the message says why and what to do."""


class _Phone(NamedTuple):
    project_id: str
    image_id: str
    status: int
    phone_ip: str


_PHONE = Query(
    select(_p.project_id, _p.image_id, _p.status, _p.phone_ip)
    .join(tables.servers, tables.servers.c.generation_id == _p.generation_id)
    .where(_p.phone_id == bindparam("phone_id")),
    _Phone,
)
_BASE: Query[str] = Query(select(tables.images.c.base_image_id).where(tables.images.c.image_id == bindparam("image_id")), scalar)
_PROJECT: Query[str] = Query(
    select(tables.projects.c.project_id).where(
        (tables.projects.c.project_id == bindparam("named")) | (tables.projects.c.name == bindparam("named"))
    ),
    scalar,
)
_INSERT = command(
    insert(tables.images).values(
        image_id=bindparam("image_id"),
        project_id=bindparam("project_id"),
        name=bindparam("name"),
        base_image_id=bindparam("base_image_id"),
        size_bytes=0,
        status=CREATING,
        create_ms=bindparam("now"),
        update_ms=bindparam("now"),
    )
)
_END = command(
    update(tables.images)
    .where(tables.images.c.image_id == bindparam("of_image"))
    .values(status=bindparam("new_status"), size_bytes=bindparam("new_size"), update_ms=bindparam("now"))
)


def import_image(fleet: Fleet, file: Path, *, name: str, base_image_id: str, project: str) -> str:
    """Make an image of a project (id or name) from a tar of files below /data and /cache. Returns its id. Blocks.

    Raises ImageMakingError.
    """
    project_id = fleet.database.row(_PROJECT, named=project)
    if project_id is None:
        raise ImageMakingError(f"there is no project {project!r}")
    if base_image_id not in fleet.catalogue.images:
        raise ImageMakingError(f"--base {base_image_id!r} is no public image; `GET phone-images` lists them")
    try:
        with file.open("rb") as stream:
            archives.check(stream, IMAGE_MAX_BYTES, archives.DATA_ROOTS)
    except (OSError, archives.ArchiveError) as error:
        raise ImageMakingError(f"{file}: {error}") from error

    def copy(path: Path) -> None:
        with file.open("rb") as source, path.open("wb") as target:
            while piece := source.read(1 << 20):
                target.write(piece)

    return _make(fleet, project_id, name, base_image_id, copy)


def capture_image(fleet: Fleet, phone_id: str, *, name: str) -> str:
    """Make an image of what a running phone holds below /data and /cache, for the phone's project. Returns its id. Blocks.

    Raises ImageMakingError.
    """
    phone = fleet.database.row(_PHONE, phone_id=phone_id)
    if phone is None:
        raise ImageMakingError(f"there is no phone {phone_id!r}")
    if phone.status != PhoneStatus.RUNNING:
        raise ImageMakingError(f"phone {phone_id} has status {phone.status}; only a running one can be captured")
    base = phone.image_id
    if base not in fleet.catalogue.images:
        base = fleet.database.row(_BASE, image_id=base) or ""
    if base not in fleet.catalogue.images:
        raise ImageMakingError(f"the image of phone {phone_id} is gone; reset the phone with another one first")
    return _make(fleet, phone.project_id, name, base, lambda path: asyncio.run(_capture(phone.phone_ip, path)))


async def _capture(phone_ip: str, path: Path) -> None:
    with path.open("wb") as file:
        async with await connect(phone_ip) as connection:
            await Exporter(connection, file, ()).pack(CAPTURED)
    with path.open("rb") as file:
        await asyncio.to_thread(archives.check, file, IMAGE_MAX_BYTES, archives.DATA_ROOTS)


def _make(fleet: Fleet, project_id: str, name: str, base_image_id: str, write: Callable[[Path], None]) -> str:
    """The row says 0 while the file is written, then 1, or 2 when it cannot be written."""
    if not name or len(name.encode()) > NAME_MAX_BYTES:
        raise ImageMakingError(f"--name must have 1 to {NAME_MAX_BYTES} bytes")
    image_id = new_id()
    path = images.archive(fleet, image_id)
    new = path.with_suffix(".new")
    with fleet.database.write() as tx:
        tx.run(_INSERT, image_id=image_id, project_id=project_id, name=name, base_image_id=base_image_id, now=now_ms())
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write(new)
        size = new.stat().st_size
        descriptor = os.open(new, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        new.replace(path)
    except (OSError, AdbError, archives.ArchiveError) as error:
        new.unlink(missing_ok=True)
        _end(fleet, image_id, CREATE_FAILED, 0)
        raise ImageMakingError(f"image {name!r} cannot be made: {error}") from error
    _end(fleet, image_id, PRODUCTION, size)
    return image_id


def _end(fleet: Fleet, image_id: str, status: int, size: int) -> None:
    with fleet.database.write() as tx:
        tx.run(_END, of_image=image_id, new_status=status, new_size=size, now=now_ms())
