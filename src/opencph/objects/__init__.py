"""Object storage: what `obs://bucket/key` stands for. A port with two stores behind it: a directory of this machine (`local`) and
S3 or what speaks like it (`s3`). Who owns a bucket is in `buckets`; HTTP is `api.objects`.

Contents go through files and pieces, never through memory as a whole: an upload is spooled on disk and appears at once when it is
committed, or never.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple, Protocol

import msgspec

from opencph.settings import Settings, SettingsError

PIECE_BYTES = 1 << 20
NO_KEY, NO_SPACE, REFUSED, AWAY = "NoSuchKey", "InsufficientStorage", "InvalidArgument", "ServiceUnavailable"
NOT_MET = "PreconditionFailed"
_STATUS = {NO_KEY: 404, NO_SPACE: 507, REFUSED: 400, AWAY: 503, NOT_MET: 412}


class ObjectError(Exception):
    """The store cannot do it. `code` and `status` are those of the S3 and OBS protocols; the message says what to do."""

    def __init__(self, code: str, message: str, status: int = 0) -> None:
        self.code = code
        self.message = message
        self.status = status or _STATUS.get(code, 400)
        super().__init__(message)


class ObjectInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an object. `size` in bytes; `etag` without quotes, another one after every change."""

    key: str
    size: int
    modified_ms: int
    etag: str
    content_type: str = ""
    metadata: Mapping[str, str] = {}


class Condition(NamedTuple):
    """What must be so at the moment an object is written or deleted. ETags are without quotes; `*` is any object."""

    if_match: frozenset[str] = frozenset()  # there is an object, with one of these
    absent: bool = False  # there is none

    def check(self, key: str, etag: str | None) -> None:
        """Raises ObjectError PreconditionFailed, or NoSuchKey. `etag` is that of the object that is there, None when none is."""
        if self.absent and etag is not None:
            raise ObjectError(NOT_MET, f"there is an object {key!r} already")
        if self.if_match and etag is None:
            raise ObjectError(NO_KEY, f"there is no object {key!r}")
        if self.if_match and not self.if_match & {"*", etag}:
            raise ObjectError(NOT_MET, f"the object {key!r} has another ETag")


ALWAYS = Condition()


class ObjectStore(Protocol):
    """Objects by bucket and key. Every call may block and belongs into a thread; all raise ObjectError."""

    spool: Path

    def head(self, bucket: str, key: str) -> ObjectInfo:
        """What is there. NoSuchKey when nothing is."""
        ...

    def read(self, bucket: str, key: str, first: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes from `first`, `length` of them or all, in pieces of at most PIECE_BYTES."""
        ...

    def open(self, bucket: str, key: str) -> IO[bytes]:
        """The contents as a file that can be sought; it stays what it is when the object is replaced."""
        ...

    def put(
        self,
        bucket: str,
        key: str,
        contents: IO[bytes],
        content_type: str = "",
        metadata: Mapping[str, str] = {},
        condition: Condition = ALWAYS,
    ) -> ObjectInfo:
        """Make `contents`, a file that `spooled` made, the object. It is closed then, and whole or not there after a crash."""
        ...

    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        """Objects whose keys begin with `prefix` and come after `after`, in the order of the keys."""
        ...

    def delete(self, bucket: str, key: str, condition: Condition = ALWAYS) -> None:
        """Remove an object; one that is not there is removed already."""
        ...

    def make_bucket(self, bucket: str) -> None:
        """Make room for a bucket's objects."""
        ...

    def remove_bucket(self, bucket: str) -> None:
        """Take it away again; it is empty."""
        ...


def directory_of(settings: Settings) -> Path | None:
    """The directory that objects are kept in; None when they are in an S3."""
    if settings.objects.startswith("s3://"):
        return None
    return Path(settings.objects).expanduser() if settings.objects else settings.data / "objects"


def spool_of(settings: Settings) -> Path:
    """Where contents wait on their way into the store, or out of it."""
    directory = directory_of(settings)
    return settings.data / "spool" if directory is None else directory / ".spool"


def open_store(settings: Settings) -> ObjectStore:
    """The store of the setting `objects`. Raises SettingsError when it cannot be used."""
    directory, spool = directory_of(settings), spool_of(settings)
    if directory is not None:
        from opencph.objects.local import LocalStore

        return LocalStore(directory, spool)
    try:
        from opencph.objects.s3 import S3Store
    except ModuleNotFoundError as error:
        raise SettingsError(f"objects = {settings.objects!r} needs the package {error.name}: pip install 'opencph[s3]'") from error
    return S3Store(settings.objects, settings.objects_endpoint, spool)


def spooled(store: ObjectStore) -> IO[bytes]:
    """A new file for contents on their way into the store (or out of it); gone when it is closed without having been put."""
    try:
        store.spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        with turn(store.spool, fcntl.LOCK_SH):  # between making a file and locking it nobody may sweep
            file = tempfile.NamedTemporaryFile(dir=store.spool, prefix=f"{os.getpid()}-")  # noqa: SIM115 (the caller closes it)
            fcntl.flock(file, fcntl.LOCK_SH)  # for as long as it is open: whose process died is nobody's, see `sweep`
        return file
    except OSError as error:
        raise disk_error(error) from error


def sweep(spool: Path) -> None:
    """Delete what processes that died have left half-way. What is open anywhere on this machine stays. Blocks."""
    with suppress(OSError), turn(spool, fcntl.LOCK_EX):
        for path in spool.iterdir():
            if path.is_file():
                with suppress(OSError), path.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()


@contextmanager
def turn(directory: Path, kind: int) -> Iterator[None]:
    """Hold the lock of a directory itself (fcntl.LOCK_SH or LOCK_EX), against other threads and processes."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


def disk_error(error: OSError) -> ObjectError:
    """What a client is told of a disk that refuses."""
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ObjectError(NO_SPACE, "the disk of the object store is full")
    if error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ):
        return ObjectError("KeyTooLongError", "the key has a part that the directory of the object store cannot keep")
    return ObjectError("InternalError", f"the object store's disk: {error.strerror}", 500)
