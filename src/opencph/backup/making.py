"""Making a backup, whether OpenCPH runs or not: the rows of one moment, and the files that they name. Nothing of tar.

Who deletes a generation moves it into the trash first and leaves it there while a backup holds the trash (`Homes.hold`): what the
rows name is therefore there until it is copied, whatever is changed or deleted meanwhile. Images and shared archives are opened
before and after the moment of the rows, and read from what was opened. What came after that moment is not in the backup.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
from sqlalchemy import select

import opencph
from opencph import objects
from opencph.backup import (
    FILES,
    FORMAT,
    HEADER_NAME,
    MANIFEST_NAME,
    ROWS,
    SECRETS,
    SUFFIX,
    BackupError,
    Header,
    Manifest,
    cause_of,
    rows,
)
from opencph.backup.archive import Writer
from opencph.backup.trees import Left, TreeReader, open_at
from opencph.handset.control import HOST_LOCK
from opencph.runtimes.builtin.homes import HeldError, Homes
from opencph.settings import Settings
from opencph.store import tables
from opencph.store.database import Query, Transaction, open_database, scalar

_GENERATIONS: Query[str] = Query(select(tables.generations.c.generation_id).order_by(tables.generations.c.generation_id), scalar)
#: what is kept in one file that is never changed, only made and deleted; it is opened at the moment of the rows
_STANDING = ("images", "shared")


class Made(NamedTuple):
    """A backup that is whole. Sizes in bytes."""

    file: Path
    size: int
    contents: int
    rows: dict[str, int]
    absent: list[str]
    left: list[Left]


def back_up(settings: Settings, target: Path) -> Made:
    """Write a backup to a new file, or into a directory. Raises BackupError, StoreError; then nothing is left."""
    if not settings.data.is_dir():
        raise BackupError(f"there is no data directory {settings.data}; name it with --data DIR")
    if target.is_dir():
        target = target / f"opencph-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}{SUFFIX}"
    if target.exists():
        raise BackupError(f"{target} is there already; give another name")
    part = target.with_name(target.name + ".part")
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BackupError(f"the backup cannot be written: {cause_of(error)}") from error
    with os.fdopen(descriptor, "wb", buffering=0) as file:  # nothing is left to be written when it is closed on a full disk
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(f"another backup is writing {part}; wait for it, or give another name") from None
        try:
            os.fchmod(descriptor, 0o600)
            file.truncate(0)  # of one that was killed
            made = _write(settings, file, target)
            file.flush()
            os.fsync(descriptor)
            _appear(part, target)
            _sync(target.parent)
            return made._replace(size=os.fstat(descriptor).st_size)
        except FileExistsError as error:
            raise BackupError(f"{target} is there already; give another name") from error
        except HeldError as error:
            raise BackupError("another backup of this data directory is being made; wait for it") from error
        except OSError as error:
            raise BackupError(f"the backup cannot be made: {cause_of(error)}") from error
        finally:
            part.unlink(missing_ok=True)


def _appear(part: Path, target: Path) -> None:
    """Give the whole file its name; what came there meanwhile stays."""
    try:
        os.link(part, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        part.rename(target)  # a file system without hard links


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(settings: Settings, file: object, target: Path) -> Made:
    writer = Writer(file)  # type: ignore[arg-type]
    homes = Homes(settings.data / "builtin")
    counts: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(homes.hold())
        standing = stack.enter_context(_Standing(settings.data))
        standing.look()
        database = open_database(settings.database_url)
        stack.callback(database.close)
        with database.read() as tx:
            rows.waits_for_files(tx)
            header = _header(settings, tx)
            generations = tx.rows(_GENERATIONS)
            standing.look()
            writer.add_bytes(HEADER_NAME, msgspec.json.encode(header))
            for number, page in enumerate(rows.pages(tx)):
                counts[page.table] = counts.get(page.table, 0) + len(page.rows)
                writer.add_bytes(f"{ROWS}/{page.table}/{number:08d}.jsonl", rows.encode(page))
        reader = TreeReader(writer)
        standing.write(reader)
        _write_secrets(settings.data, reader)
        _write_directory(settings.data / "share-filesystems", f"{FILES}/share-filesystems", reader)
        if (directory := objects.directory_of(settings)) is not None:
            _write_directory(directory, f"{FILES}/objects", reader)
        absent = [one for one in generations if not _write_home(homes, one, reader)]
    parts = writer.tally.parts()
    manifest = Manifest(version=opencph.__version__, revision=header.revision, parts=parts, rows=counts, absent=absent)
    writer.add_bytes(MANIFEST_NAME, msgspec.json.encode(manifest))
    writer.close()
    return Made(target, 0, sum(part.bytes for part in parts.values()), counts, absent, reader.left)


def _header(settings: Settings, tx: Transaction) -> Header:
    return Header(
        format=FORMAT,
        version=opencph.__version__,
        revision=rows.revision(tx),
        create_ms=int(time.time() * 1000),
        data=str(settings.data.resolve()),
        network=settings.network,
        dialect=tx.dialect,
        objects=settings.objects if objects.directory_of(settings) is None else "",
        sequences=rows.sequences(tx),
    )


class _Standing:
    """Files that are made whole and deleted, never changed: open from the moment they were seen."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._open: dict[str, int] = {}

    def __enter__(self) -> _Standing:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def look(self) -> None:
        """Open what there is and was not seen yet."""
        for top in _STANDING:
            for path in sorted((self._data / top).rglob("*.tar")):
                name = str(path.relative_to(self._data))
                if name not in self._open:
                    with contextlib.suppress(FileNotFoundError):
                        self._open[name] = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def write(self, reader: TreeReader) -> None:
        for name, descriptor in self._open.items():
            reader.add_file(descriptor, f"{FILES}/{name}")


def _write_secrets(data: Path, reader: TreeReader) -> None:
    for path in sorted(path for pattern in SECRETS for path in data.glob(pattern)):
        with _opened(path, os.O_RDONLY) as descriptor:
            if descriptor is not None:
                reader.add_file(descriptor, f"{FILES}/{path.name}")


def _write_directory(path: Path, name: str, reader: TreeReader) -> None:
    with _opened(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        if descriptor is not None:
            reader.add_tree(descriptor, name, skip=lambda below: below == ".spool")


def _write_home(homes: Homes, generation_id: str, reader: TreeReader) -> bool:
    """Add the home of a generation, from the trash if it was deleted meanwhile. False when it is not on this machine."""
    for _ in range(2):  # it may go to the trash between the two looks
        for path in homes.places(generation_id):
            with _opened(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
                if descriptor is not None:
                    reader.add_tree(descriptor, f"{FILES}/builtin/{generation_id}", skip=lambda below: below == HOST_LOCK)
                    return True
    return False


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int | None]:
    try:
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            descriptor = open_at(path.name, parent, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
        finally:
            os.close(parent)
    except FileNotFoundError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)
