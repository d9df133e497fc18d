"""Objects in a directory of this machine: DIRECTORY/<bucket>/<key>, to be looked at with any tool. Nothing of owners.

A key's parts are file names, percent-encoded only where they could not be (`.`, `..`, nothing, `%`). A key that is also the
beginning of others up to a slash cannot be kept: that is a file and a directory of one name, and is refused.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import IO

from opencph.objects import ALWAYS, NO_KEY, PIECE_BYTES, REFUSED, Condition, ObjectError, ObjectInfo, disk_error, sweep, turn

KEY_BYTES_MAX = 1024
_ATTRIBUTE = "user.opencph"
_ODD = {"": "%", ".": "%2E", "..": "%2E%2E"}
_EVEN = {value: key for key, value in _ODD.items()}


class LocalStore:
    """The port `ObjectStore` on a directory. Several processes may use one at the same time."""

    def __init__(self, directory: Path, spool: Path) -> None:
        self.directory = directory
        self.spool = spool
        sweep(spool)

    def head(self, bucket: str, key: str) -> ObjectInfo:
        try:
            return _info(key, self._path(bucket, key), self._stat(bucket, key))
        except OSError as error:
            raise disk_error(error) from error

    def read(self, bucket: str, key: str, first: int = 0, length: int | None = None) -> Iterator[bytes]:
        with self.open(bucket, key) as file:
            file.seek(first)
            left = length
            while left is None or left > 0:
                piece = file.read(PIECE_BYTES if left is None else min(PIECE_BYTES, left))
                if not piece:
                    return
                left = None if left is None else left - len(piece)
                yield piece

    def open(self, bucket: str, key: str) -> IO[bytes]:
        try:
            self._stat(bucket, key)
            return self._path(bucket, key).open("rb", buffering=0)
        except FileNotFoundError as error:
            raise _missing(key) from error
        except OSError as error:
            raise disk_error(error) from error

    def put(
        self,
        bucket: str,
        key: str,
        contents: IO[bytes],
        content_type: str = "",
        metadata: Mapping[str, str] = {},
        condition: Condition = ALWAYS,
    ) -> ObjectInfo:
        path = self._path(bucket, key)
        try:
            contents.flush()
            if content_type or metadata:
                self._remember(contents.fileno(), content_type, metadata)
            os.fsync(contents.fileno())
            os.utime(contents.fileno())
            with self._alone():
                self._check(condition, bucket, key)
                self._make_room(path)
                Path(contents.name).replace(path)
            _sync(path.parent)
            return _info(key, path, path.stat())
        except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
            raise ObjectError(
                REFUSED,
                f"a part of the key {key!r} is an object, or objects lie below it; a local directory keeps only one of them",
                409,
            ) from error
        except OSError as error:
            raise disk_error(error) from error
        finally:
            with suppress(FileNotFoundError):
                contents.close()

    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        try:
            for key, path, info in self._walk(self.directory / bucket, "", prefix, after):
                yield _info(key, path, info)
        except FileNotFoundError:
            return
        except OSError as error:
            raise disk_error(error) from error

    def delete(self, bucket: str, key: str, condition: Condition = ALWAYS) -> None:
        path = self._path(bucket, key)
        try:
            with self._alone():
                self._check(condition, bucket, key)
                path.unlink()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
            return
        except OSError as error:
            raise disk_error(error) from error
        self._forget_empty(path.parent, self.directory / bucket)

    def make_bucket(self, bucket: str) -> None:
        try:
            (self.directory / bucket).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error) from error

    def remove_bucket(self, bucket: str) -> None:
        try:
            (self.directory / bucket).rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise ObjectError("BucketNotEmpty", "the bucket is not empty; delete its objects first", 409) from error
            raise disk_error(error) from error

    # --- conditions ----------------------------------------

    def _check(self, condition: Condition, bucket: str, key: str) -> None:
        if condition is not ALWAYS:
            try:
                found: str | None = self.head(bucket, key).etag
            except ObjectError as error:
                if error.code != NO_KEY:
                    raise
                found = None
            condition.check(key, found)

    def _alone(self) -> AbstractContextManager[None]:
        """No other process or thread puts or deletes meanwhile: what was just looked at is still so."""
        return turn(self.directory, fcntl.LOCK_EX)

    # --- paths ----------------------------------------

    def _path(self, bucket: str, key: str) -> Path:
        if not key or len(key.encode("utf-8", "surrogatepass")) > KEY_BYTES_MAX or "\0" in key:
            raise ObjectError("KeyTooLongError", f"a key has 1 to {KEY_BYTES_MAX} bytes, none of them 0")
        return self.directory.joinpath(bucket, *(_ODD.get(part, part.replace("%", "%25")) for part in key.split("/")))

    def _stat(self, bucket: str, key: str) -> os.stat_result:
        try:
            info = self._path(bucket, key).lstat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _missing(key) from error
        if not stat.S_ISREG(info.st_mode):
            raise _missing(key)
        return info

    def _make_room(self, path: Path) -> None:
        """The directories above; another process may be taking empty ones away at the same time."""
        bucket = self.directory / path.relative_to(self.directory).parts[0]
        if not bucket.is_dir():
            raise ObjectError("NoSuchBucket", "the bucket is being deleted", 404)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _forget_empty(self, directory: Path, bucket: Path) -> None:
        while directory != bucket:
            try:
                directory.rmdir()
            except OSError:
                return
            directory = directory.parent

    def _remember(self, descriptor: int, content_type: str, metadata: Mapping[str, str]) -> None:
        value = json.dumps({"content_type": content_type, "metadata": dict(metadata)}).encode()
        try:
            os.setxattr(descriptor, _ATTRIBUTE, value)
        except OSError as error:
            if metadata:
                raise ObjectError("NotImplemented", "the object store's file system keeps no metadata (xattr)", 501) from error

    def _walk(self, directory: Path, above: str, prefix: str, after: str) -> Iterator[tuple[str, Path, os.stat_result]]:
        found = []
        with os.scandir(directory) as entries:
            for entry in entries:
                part = _EVEN.get(entry.name, entry.name.replace("%25", "%"))
                below = entry.is_dir(follow_symlinks=False)
                found.append((f"{above}{part}/" if below else f"{above}{part}", entry.name, below))
        for key, name, below in sorted(found, key=lambda one: one[0].encode("utf-8", "surrogateescape")):
            path = directory / name
            if below:
                if (key.startswith(prefix) or prefix.startswith(key)) and not (key <= after and not after.startswith(key)):
                    with suppress(FileNotFoundError):
                        yield from self._walk(path, key, prefix, after)
            elif key.startswith(prefix) and key.encode("utf-8", "surrogateescape") > after.encode("utf-8", "surrogateescape"):
                with suppress(FileNotFoundError):
                    info = path.lstat()
                    if stat.S_ISREG(info.st_mode):
                        yield key, path, info


def _missing(key: str) -> ObjectError:
    return ObjectError(NO_KEY, f"there is no object {key!r}")


def _info(key: str, path: Path, info: os.stat_result) -> ObjectInfo:
    known: dict[str, object] = {}
    with suppress(OSError, ValueError):
        known = json.loads(os.getxattr(path, _ATTRIBUTE))
    metadata = known.get("metadata")
    return ObjectInfo(
        key=key,
        size=info.st_size,
        modified_ms=info.st_mtime_ns // 1_000_000,
        # With a dash, so that no client takes it for an MD5.
        etag=f"{info.st_mtime_ns:016x}{info.st_ino & 0xFFFFFFFF:08x}{info.st_size & 0xFFFFFFFF:08x}-1",
        content_type=str(known.get("content_type") or ""),
        metadata=metadata if isinstance(metadata, dict) else {},
    )


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
