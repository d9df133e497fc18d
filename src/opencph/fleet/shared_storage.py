"""What the shared storage of servers holds: rows, archives on this machine's disk, and how they are laid down in phones, by ADB.

A phone that has something keeps a mark of it in /data/share_apps/.applied, so that a restart changes nothing, and a reset, which
deletes the mark with everything else, brings it back at the next boot.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import stat
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from sqlalchemy import bindparam, delete, insert, select

from opencph.adb import transfers
from opencph.adb.client import AdbError, Connection, connect
from opencph.fleet import Fleet, archives, phone_files
from opencph.fleet.archives import ArchiveError
from opencph.fleet.boots import CONNECT_SECONDS
from opencph.fleet.pools import for_each
from opencph.runtimes import PhoneSpec
from opencph.store import tables
from opencph.store.database import Query, Transaction, command, in_list, scalar

IN_PHONE = "/data/share_apps"  # what appctrl installs from
LAY_SECONDS = 600.0
PHONES_AT_ONCE = 4
SHARE_BYTES_MAX = 50 << 30  # of a server that was bought without a disk for it

_a, _f = tables.share_apps.c, tables.share_files.c


class App(NamedTuple):
    """A version of a shared app."""

    package_name: str
    version: str
    archive: str
    pre_install: int
    create_ms: int


class File(NamedTuple):
    """A shared file. Size in bytes."""

    path: str
    archive: str
    size: int
    create_ms: int


APPS = Query(
    select(_a.package_name, _a.version, _a.archive, _a.pre_install, _a.create_ms)
    .where(_a.server_id == bindparam("of_server"))
    .order_by(_a.package_name, _a.create_ms),
    App,
)
FILES = Query(
    select(_f.path, _f.archive, _f.size, _f.create_ms).where(_f.server_id == bindparam("of_server")).order_by(_f.path), File
)
INSERT_APP = command(
    insert(tables.share_apps).values({column.name: bindparam(column.name) for column in tables.share_apps.columns})
)
INSERT_FILE = command(
    insert(tables.share_files).values({column.name: bindparam(column.name) for column in tables.share_files.columns})
)
DELETE_APP = command(
    delete(tables.share_apps).where(_a.server_id == bindparam("of_server"), _a.package_name == bindparam("of_package"))
)
DELETE_VERSION = command(
    delete(tables.share_apps).where(
        _a.server_id == bindparam("of_server"), _a.package_name == bindparam("of_package"), _a.version == bindparam("of_version")
    )
)
DELETE_FILES = command(delete(tables.share_files).where(_f.server_id == bindparam("of_server"), in_list(_f.path, "paths")))
_SERVER_OF: Query[str] = Query(select(tables.phones.c.server_id).where(tables.phones.c.phone_id == bindparam("phone_id")), scalar)
_APPS_GONE = command(delete(tables.share_apps).where(in_list(_a.server_id, "server_ids")))
_FILES_GONE = command(delete(tables.share_files).where(in_list(_f.server_id, "server_ids")))
_SHARE_GIB: Query[int | None] = Query(
    select(tables.generations.c.share_volume_gib)
    .join(tables.servers, tables.servers.c.generation_id == tables.generations.c.generation_id)
    .where(tables.servers.c.server_id == bindparam("of_server")),
    scalar,
)
_SERVERS: Query[str] = Query(select(tables.servers.c.server_id), scalar)


def forget(tx: Transaction, server_ids: str) -> None:
    """Servers are being deleted: nothing of theirs is shared any more. `server_ids` is a JSON list."""
    tx.run(_APPS_GONE, server_ids=server_ids)
    tx.run(_FILES_GONE, server_ids=server_ids)


# --- how much there is ----------------------------------------


class Room(NamedTuple):
    """The size of a server's shared storage and how much of it is used, in bytes."""

    size: int
    used: int


def room(fleet: Fleet, server_id: str, *, without: Callable[[App | File], bool] = lambda _: False) -> Room:
    """The room of a server; what `without` says of is counted as if it were gone."""
    gib = fleet.database.row(_SHARE_GIB, of_server=server_id)
    used = sum(file.size for file in fleet.database.rows(FILES, of_server=server_id) if not without(file))
    for app in fleet.database.rows(APPS, of_server=server_id):
        path = archive_path(fleet, server_id, app.archive)
        used += path.stat().st_size if not without(app) and path.exists() else 0
    return Room(gib << 30 if gib else SHARE_BYTES_MAX, used)


# --- archives on disk ----------------------------------------


def archive_path(fleet: Fleet, server_id: str, archive: str) -> Path:
    """Where an archive is kept."""
    return fleet.settings.data / "shared" / server_id / f"{archive}.tar"


def keep(fleet: Fleet, server_id: str, archive: str, file: IO[bytes]) -> None:
    """Keep a copy of an archive. Raises OSError."""
    path = archive_path(fleet, server_id, archive)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    file.seek(0)
    try:
        with part.open("wb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def sweep(fleet: Fleet, server_id: str) -> None:
    """Delete archives that no row names, halves of any, and those of servers that are gone. For jobs in the server's lane."""
    named = {row.archive for row in fleet.database.rows(APPS, of_server=server_id)}
    named |= {row.archive for row in fleet.database.rows(FILES, of_server=server_id)}
    servers = set(fleet.database.rows(_SERVERS))
    home = fleet.settings.data / "shared"
    for directory in home.iterdir() if home.is_dir() else ():
        if directory.name not in servers:
            shutil.rmtree(directory, ignore_errors=True)
        elif directory.name == server_id:
            for path in directory.iterdir():
                if path.name not in {f"{archive}.tar" for archive in named}:
                    path.unlink(missing_ok=True)


# --- in phones ----------------------------------------


async def _connect(phone: PhoneSpec) -> Connection:
    return await connect(phone.ip, timeout=CONNECT_SECONDS)


async def lay_down(
    fleet: Fleet, phones: Sequence[PhoneSpec], reach: Callable[[PhoneSpec], Awaitable[Connection]] = _connect
) -> dict[str, str]:
    """Give phones that run what their server shares, as far as they have it not: {phone_id: cause} of those that failed.

    `reach` connects to one, or raises AdbError.
    """
    if not phones:
        return {}

    def read() -> tuple[str, list[App], list[File]]:
        server_id = fleet.database.row(_SERVER_OF, phone_id=phones[0].phone_id) or ""
        return server_id, fleet.database.rows(APPS, of_server=server_id), fleet.database.rows(FILES, of_server=server_id)

    server_id, apps, files = await asyncio.to_thread(read)
    causes: dict[str, str] = {}

    async def one(phone: PhoneSpec) -> None:
        try:
            async with asyncio.timeout(LAY_SECONDS), await reach(phone) as connection:
                await _lay(fleet, server_id, connection, apps, files)
        except (AdbError, ArchiveError, OSError) as error:
            causes[phone.phone_id] = f"what its server shares: {error or 'it took too long'}"

    await for_each(phones if apps or files else (), one, at_once=PHONES_AT_ONCE)
    return causes


async def _lay(fleet: Fleet, server_id: str, phone: Connection, apps: Sequence[App], files: Sequence[File]) -> None:
    marks = {entry.name for entry in await transfers.list_directory(phone, f"{IN_PHONE}/.applied")}
    newest = {app.package_name: app for app in apps if app.pre_install}
    for app in apps:
        if f"{app.archive}.{app.pre_install}" in marks:
            continue
        path = archive_path(fleet, server_id, app.archive)
        with path.open("rb") as archive:
            if newest.get(app.package_name) is app:
                await phone_files.unpack(phone, archive)
            place = f"{IN_PHONE}/{app.package_name}/{app.version}.tar"
            pieces = iter(lambda archive=archive: archive.read(1 << 20), b"")  # type: ignore[misc]
            archive.seek(0)
            await transfers.send(phone, pieces, place, stat.S_IFREG | 0o444, app.create_ms // 1000)
        if app.pre_install:
            await transfers.send(phone, (), f"{IN_PHONE}/{app.package_name}/.pre_installed", stat.S_IFREG | 0o444, 0)
        await _mark(phone, f"{app.archive}.{app.pre_install}")
    wanted: dict[str, set[str]] = {}
    for file in files:
        wanted.setdefault(file.archive, set()).add(file.path)
    for name, paths in wanted.items():
        if name not in marks:
            with archive_path(fleet, server_id, name).open("rb") as archive:
                await phone_files.unpack(phone, archive, paths)
            await _mark(phone, name)


async def _mark(phone: Connection, name: str) -> None:
    await transfers.send(phone, (), f"{IN_PHONE}/.applied/{name}", stat.S_IFREG | 0o444, 0)


async def remove_app(phone: Connection, package_name: str) -> None:
    """Take a shared app out of a phone. Raises AdbError."""
    await transfers.shell(phone, f"pm uninstall {package_name}", 1024)
    await phone_files.run_all(phone, [f"rm -rf {IN_PHONE}/{package_name}"])


async def remove_files(phone: Connection, paths: Sequence[str]) -> None:
    """Delete shared files in a phone. Raises AdbError."""
    await phone_files.run_all(phone, [f"rm -f {shlex.quote(path)}" for path in paths])


def files_of(archive: IO[bytes]) -> list[tuple[str, int]]:
    """Path and size of every file and link in an archive that was checked."""
    return [(entry.path, entry.size) for entry in archives.entries(archive) if not stat.S_ISDIR(entry.mode)]
