"""Multipart uploads: parts wait on this machine's disk until they are joined into one object, whatever store that goes to."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from opencph.objects import ALWAYS, PIECE_BYTES, Condition, ObjectError, ObjectInfo, ObjectStore, disk_error, spooled

STALE_SECONDS = 7 * 24 * 3600.0
PARTS_MAX = 10_000
_ID = re.compile(r"[0-9a-f]{32}")
_ABOUT = "about.json"


class _About(msgspec.Struct, frozen=True):
    bucket: str
    key: str
    content_type: str
    metadata: dict[str, str]


class Uploads:
    """The uploads that have begun and not ended. Blocking; errors are ObjectError."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._directory = store.spool / "uploads"

    def begin(self, bucket: str, key: str, content_type: str, metadata: Mapping[str, str]) -> str:
        """The id of a new upload."""
        self._sweep()
        upload_id = secrets.token_hex(16)
        home = self._directory / upload_id
        try:
            home.mkdir(mode=0o700, parents=True)
            (home / _ABOUT).write_bytes(msgspec.json.encode(_About(bucket, key, content_type, dict(metadata))))
        except OSError as error:
            raise disk_error(error) from error
        return upload_id

    def put_part(self, bucket: str, key: str, upload_id: str, number: int, contents: IO[bytes], etag: str) -> None:
        """Keep a part (a file that `spooled` made), in place of one of the same number; `etag` is its MD5 in hex."""
        home, _ = self._home(bucket, key, upload_id)
        if not 1 <= number <= PARTS_MAX:
            raise ObjectError("InvalidArgument", f"partNumber {number}: must be 1 to {PARTS_MAX}")
        try:
            contents.flush()
            (home / f"{number}.etag").write_text(etag)
            Path(contents.name).replace(home / f"{number}.part")
        except OSError as error:
            raise disk_error(error) from error
        finally:
            with suppress(FileNotFoundError):
                contents.close()

    def complete(
        self, bucket: str, key: str, upload_id: str, parts: Sequence[tuple[int, str]], condition: Condition = ALWAYS
    ) -> ObjectInfo:
        """Join the parts, in the order of their numbers, into the object."""
        home, about = self._home(bucket, key, upload_id)
        if [number for number, _ in parts] != sorted({number for number, _ in parts}):
            raise ObjectError("InvalidPartOrder", "the parts must be named in the order of their numbers, each once")
        whole = spooled(self._store)
        try:
            for number, etag in parts:
                try:
                    if (home / f"{number}.etag").read_text() != etag:
                        raise ObjectError("InvalidPart", f"part {number} has another ETag")
                    with (home / f"{number}.part").open("rb") as part:
                        shutil.copyfileobj(part, whole, PIECE_BYTES)
                except FileNotFoundError as error:
                    raise ObjectError("InvalidPart", f"there is no part {number}") from error
            info = self._store.put(bucket, key, whole, about.content_type, about.metadata, condition)
        except OSError as error:
            raise disk_error(error) from error
        finally:
            with suppress(FileNotFoundError):
                whole.close()
        shutil.rmtree(home, ignore_errors=True)
        return info

    def abort(self, bucket: str, key: str, upload_id: str) -> None:
        """Forget the upload and its parts."""
        home, _ = self._home(bucket, key, upload_id)
        shutil.rmtree(home, ignore_errors=True)

    def _home(self, bucket: str, key: str, upload_id: str) -> tuple[Path, _About]:
        home = self._directory / upload_id
        try:
            if _ID.fullmatch(upload_id):
                about = msgspec.json.decode((home / _ABOUT).read_bytes(), type=_About)
                if (about.bucket, about.key) == (bucket, key):
                    return home, about
        except (OSError, json.JSONDecodeError, msgspec.DecodeError):
            pass
        raise ObjectError("NoSuchUpload", "there is no such upload of this object; it was completed, aborted or too old", 404)

    def _sweep(self) -> None:
        with suppress(OSError):
            for home in self._directory.iterdir():
                if home.stat().st_mtime < time.time() - STALE_SECONDS:
                    shutil.rmtree(home, ignore_errors=True)
