"""Restoring a backup: read whole and checked in a directory that nobody sees yet, which then becomes the data directory at once.

The rows go into a SQLite of the backup's own revision, are brought to the newest one, and either stay there or are copied into an
empty PostgreSQL in one transaction. What was alive then (processes, leases of jobs) is forgotten: jobs that were under way are
resumed by the next worker, as after a crash.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec
from sqlalchemy import bindparam, delete, select, update

from opencph.backup import (
    FILES,
    FORMAT,
    HEADER_NAME,
    MANIFEST_NAME,
    ROWS,
    BackupError,
    Header,
    Manifest,
    cause_of,
    rows,
)
from opencph.backup.archive import Contents, Tally, read
from opencph.backup.members import Member
from opencph.backup.places import MEMBER_BYTES_MAX, Places, is_host_file
from opencph.backup.planting import TreeWriter
from opencph.backup.trees import Left
from opencph.handset.control import HostFile
from opencph.settings import Settings
from opencph.store import tables
from opencph.store.database import Query, StoreError, command, in_list, json_list, open_database, scalar
from opencph.store.migrate import HEAD, migrate, upgrade
from opencph.wire.custom_images import CREATE_FAILED, PRODUCTION

_FORGET_PROCESSES = command(delete(tables.processes))
_FORGET_LEASES = command(
    update(tables.jobs).values(lease_owner=None, lease_until_ms=0).where(tables.jobs.c.lease_owner.is_not(None))
)
_IMAGES: Query[str] = Query(select(tables.images.c.image_id).where(tables.images.c.status == PRODUCTION), scalar)
_FAIL_IMAGES = command(
    update(tables.images).values(status=bindparam("failed")).where(in_list(tables.images.c.image_id, "image_ids"))
)


class Restored(NamedTuple):
    """What was restored. `lost_images` are custom images whose data was not in the backup, `left` what this disk cannot hold."""

    header: Header
    manifest: Manifest
    lost_images: list[str]
    left: list[Left]


def check(source: Path) -> tuple[Header, Manifest]:
    """Restore a backup without its files, and its rows into a database that nobody sees. Raises BackupError."""
    with _told(), tempfile.TemporaryDirectory(prefix="opencph-check-") as place:
        return _Building(Path(place) / "opencph.db").build(source)


def restore(settings: Settings, source: Path) -> Restored:
    """Restore a backup into `settings.data` and `settings.database_url`, both empty. Raises BackupError, having changed nothing."""
    data, url = settings.data, settings.database_url
    _check_empty(data)
    own = url == f"sqlite:///{data / 'opencph.db'}"
    other = None if own else settings.database_file
    if other is not None and other.exists():
        raise BackupError(f"the database {other} is there already: a backup is restored into an empty one")
    if settings.database_file is None:
        rows.check_empty(url)
    with _told():
        data.parent.mkdir(parents=True, exist_ok=True)
        with _beside(data) as new:
            path = new / "opencph.db"
            files = TreeWriter(str(new))
            try:
                header, manifest = _Building(path, files, data).build(source)
            finally:
                files.close()
            lost = _settle(path, new)
            if other is not None:
                _move(path, other)
            elif not own:
                _copy(path, url)
            os.sync()
            _appear(new, data)
        return Restored(header, manifest, lost, files.left)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupError(f"the backup cannot be restored: {cause_of(error)}") from error
    except StoreError as error:
        raise BackupError(f"the backup cannot be restored: {error}") from error


def _check_empty(data: Path) -> None:
    try:
        if data.exists() and (not data.is_dir() or any(data.iterdir())):
            raise BackupError(
                f"{data} is not empty: a backup is restored into an empty or a new directory; name another with --data DIR"
            )
        if data.is_mount():
            raise BackupError(
                f"{data} is a mount point, which cannot become whole at once: name a new directory in it with --data DIR"
            )
    except OSError as error:
        raise BackupError(f"cannot look into {data}: {error.strerror}") from error


@contextlib.contextmanager
def _beside(data: Path) -> Iterator[Path]:
    """A directory on the same disk that is gone at the end, unless it has become the data directory."""
    new = Path(tempfile.mkdtemp(prefix=f".{data.name}.restore-", dir=data.parent))
    try:
        yield new
    finally:
        if new.exists():
            shutil.rmtree(new, onerror=_insist)


def _insist(function: Any, name: str, _info: object) -> None:
    for each in (Path(name).parent, Path(name)):
        if not each.is_symlink() and each.is_dir():
            each.chmod(0o700)
    if function in (os.unlink, os.rmdir):
        function(name)
    else:
        shutil.rmtree(name)


def _appear(new: Path, data: Path) -> None:
    try:
        new.rename(data)  # over an empty directory, or none
    except OSError as error:
        raise BackupError(f"{data} is not empty any more, or cannot be replaced: {error.strerror}") from error


def _opened(source: Path) -> IO[bytes]:
    try:
        return source.open("rb")
    except OSError as error:
        raise BackupError(f"cannot read {source}: {error.strerror}") from error


def _whole(member: Member, contents: Contents) -> bytes:
    if member.data_bytes > MEMBER_BYTES_MAX or member.segments is not None:
        raise BackupError(f"the backup is damaged: {member.name!r} has {member.size} bytes, at most {MEMBER_BYTES_MAX}")
    return b"".join(contents())


def _decode(member: Member, contents: Contents, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(_whole(member, contents), type=kind)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BackupError(f"the backup is damaged: {member.name}: {error}") from error


def _header(member: Member, contents: Contents) -> Header:
    if member.name != HEADER_NAME or member.kind != "file":
        raise BackupError(f"the file is no backup of OpenCPH: it does not begin with {HEADER_NAME}")
    whole = _whole(member, contents)
    known: dict[str, Any] = {}
    with contextlib.suppress(msgspec.MsgspecError, ValueError):
        known = msgspec.json.decode(whole, type=dict)
    if known.get("format", 0) != FORMAT or not re.fullmatch(r"[0-9]{4}", str(known.get("revision"))) or known["revision"] > HEAD:
        raise BackupError(
            f"the backup was made by OpenCPH {known.get('version', 'of an unknown version')} "
            f"(format {known.get('format')}, schema {known.get('revision')}); this version knows format {FORMAT} and schemas up to "
            f"{HEAD}: restore it with that version or a newer one"
        )
    try:
        found: Header = msgspec.json.decode(whole, type=Header)
    except msgspec.MsgspecError as error:
        raise BackupError(f"the backup is damaged: {HEADER_NAME}: {error}") from error
    return found


def _compare(manifest: Manifest, found: dict[str, Any], counts: dict[str, int]) -> None:
    for name in sorted({*manifest.parts, *found}):
        if manifest.parts.get(name) != found.get(name):
            raise BackupError(f"the backup is damaged: {name} is not what its manifest says; take another one")
    if manifest.rows != counts:
        raise BackupError("the backup is damaged: its rows are not as many as its manifest says; take another one")


class _Building:
    """What a backup becomes, as long as nobody sees it: a database and, unless it is only checked, files."""

    def __init__(self, database: Path, files: TreeWriter | None = None, data: Path = Path()) -> None:
        self._database, self._files, self._data = database, files, data
        self._old = ""
        self._rows: rows.SqliteLoader | None = None

    def build(self, source: Path) -> tuple[Header, Manifest]:
        """Read all of it. Raises BackupError, OSError, StoreError."""
        try:
            with _opened(source) as file:
                header, manifest = self._read(file)
            self._finish(header)
        finally:
            if self._rows is not None:
                self._rows.close()
        return header, manifest

    def _read(self, file: IO[bytes]) -> tuple[Header, Manifest]:
        tally, order = Tally(), Places()
        header: Header | None = None
        manifest: Manifest | None = None
        counts: dict[str, int] = {}
        for member, contents in read(file, tally):
            if manifest is not None:
                raise BackupError("the backup is damaged: it goes on after its end")
            if header is None:
                header = _header(member, contents)
                self._begin(header)
                continue
            top, *places = member.name.split("/")
            if member.name == MANIFEST_NAME:
                order.finish()
                found = {name: part for name, part in tally.parts().items() if name != MANIFEST_NAME}
                manifest = _decode(member, contents, Manifest)
                _compare(manifest, found, counts)
            elif top == ROWS and len(places) == 2 and member.kind == "file":
                page = rows.decode(places[0], _whole(member, contents))
                counts[page.table] = counts.get(page.table, 0) + len(page.rows)
                self._page(page)
            elif top == FILES:
                order.check(member, places)
                self._file(member, places, contents)
            else:
                raise BackupError(f"the backup has a member {member.name!r}: no backup is made so")
        if header is None or manifest is None:
            raise BackupError("the backup is not whole: it has no manifest at its end; take another one")
        return header, manifest

    def _begin(self, header: Header) -> None:
        self._old = header.data
        url = f"sqlite:///{self._database}"
        open_database(url).close()
        if header.revision == HEAD:
            migrate(url)
        else:
            upgrade(url, header.revision)
        self._rows = rows.SqliteLoader(self._database)

    def _page(self, page: rows.Page) -> None:
        assert self._rows is not None
        self._rows.load(page)

    def _file(self, member: Member, places: list[str], contents: Contents) -> None:
        if self._files is None:
            return
        if len(places) == 1 and member.kind == "file":
            member = msgspec.structs.replace(member, mode=member.mode & 0o600)
        if is_host_file(places):
            text = self._moved(_whole(member, contents))
            member = msgspec.structs.replace(member, size=len(text))
            contents = lambda: iter((text,))  # noqa: E731
        self._files.make(member, places, member.link.split("/")[1:], contents)

    def _moved(self, text: bytes) -> bytes:
        """`host.json` with the shared directories where they are from now on."""
        with contextlib.suppress(msgspec.MsgspecError):
            file = msgspec.json.decode(text, type=HostFile)
            new = str(self._data.resolve())
            phones = tuple(
                msgspec.structs.replace(
                    phone,
                    shares={
                        name: new + path.removeprefix(self._old) if path.startswith(f"{self._old}/") else path
                        for name, path in phone.shares.items()
                    },
                )
                for phone in file.phones
            )
            return msgspec.json.encode(msgspec.structs.replace(file, phones=phones))
        return text

    def _finish(self, header: Header) -> None:
        """The rows are complete: commit them and bring them to the newest revision."""
        assert self._rows is not None
        self._rows.finish(header.sequences)
        if header.revision != HEAD:
            upgrade(f"sqlite:///{self._database}")


def _settle(path: Path, new: Path) -> list[str]:
    """Forget what was alive; an image whose data was deleted while the backup was made has failed. Returns those."""
    database = open_database(f"sqlite:///{path}")
    try:
        with database.write() as tx:
            tx.run(_FORGET_PROCESSES)
            tx.run(_FORGET_LEASES)
            lost = [one for one in tx.rows(_IMAGES) if not (new / "images" / f"{one}.tar").is_file()]
            tx.run(_FAIL_IMAGES, failed=CREATE_FAILED, image_ids=json_list(lost))
    finally:
        database.close()
    return lost


def _move(path: Path, other: Path) -> None:
    part = other.with_name(other.name + ".part")
    part.touch(mode=0o600)
    shutil.copyfile(path, part)
    part.rename(other)
    _forget(path)


def _copy(path: Path, url: str) -> None:
    source = open_database(f"sqlite:///{path}")
    try:
        rows.copy(source, url)
    finally:
        source.close()
    _forget(path)


def _forget(path: Path) -> None:
    for left in path.parent.glob(f"{path.name}*"):
        left.unlink()
