"""Objects in S3, or in anything that speaks like it (MinIO, Ceph, OBS itself), through obstore. Nothing of owners.

`s3://NAME/PREFIX`: all buckets of this installation lie in one of S3's, each under PREFIX/<bucket>/. `s3://{bucket}`: each is a
bucket of the same name over there, which must exist. Credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import S3Store as Bucket

from opencph.objects import ALWAYS, AWAY, NO_KEY, NOT_MET, PIECE_BYTES, Condition, ObjectError, ObjectInfo, spooled, sweep

LIST_PIECE = 1000
CLIENT_TIMEOUT = "300s"
#: A conditional put goes in one piece, which obstore holds in memory; larger ones are looked at first and put then.
ONE_PIECE_BYTES_MAX = 16 << 20

#: A header that obstore does not set is kept as metadata of ours.
_OWN_NAMES = {"Expires": "opencph-expires"}
_THEIR_NAMES = {own: name for name, own in _OWN_NAMES.items()}


class S3Store:
    """The port `ObjectStore` on S3."""

    def __init__(self, url: str, endpoint: str, spool: Path) -> None:
        self._place = url.removeprefix("s3://").strip("/")
        self._endpoint = endpoint
        self.spool = spool
        sweep(spool)
        self._buckets: dict[str, Bucket] = {}

    def head(self, bucket: str, key: str) -> ObjectInfo:
        try:
            return _info(key, obstore.get(self._bucket(bucket), key, options={"head": True}))
        except (BaseError, FileNotFoundError) as error:
            raise _refusal(error, key) from error

    def read(self, bucket: str, key: str, first: int = 0, length: int | None = None) -> Iterator[bytes]:
        if length == 0:
            return
        options: Any = {"range": {"offset": first}} if length is None else {"range": (first, first + length)}
        try:
            for piece in obstore.get(self._bucket(bucket), key, options=options).stream(min_chunk_size=PIECE_BYTES):
                yield bytes(piece)
        except (BaseError, FileNotFoundError) as error:
            raise _refusal(error, key) from error

    def open(self, bucket: str, key: str) -> IO[bytes]:
        file = spooled(self)
        try:
            for piece in self.read(bucket, key):
                file.write(piece)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file

    def put(
        self,
        bucket: str,
        key: str,
        contents: IO[bytes],
        content_type: str = "",
        metadata: Mapping[str, str] = {},
        condition: Condition = ALWAYS,
    ) -> ObjectInfo:
        attributes: Any = {_OWN_NAMES.get(name, name): value for name, value in metadata.items()}
        if content_type:
            attributes["Content-Type"] = content_type
        try:
            contents.flush()
            mode: Any = self._look(bucket, key, condition)
            if Path(contents.name).stat().st_size > ONE_PIECE_BYTES_MAX:
                mode = None
            obstore.put(self._bucket(bucket), key, Path(contents.name), attributes=attributes or None, mode=mode)
        except (BaseError, FileNotFoundError) as error:
            raise _refusal(error, key) from error
        finally:
            with suppress(FileNotFoundError):
                contents.close()
        return self.head(bucket, key)

    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        # obstore compares whole parts of a path: ask for the directory, and compare the rest here.
        directory = prefix.rpartition("/")[0]
        try:
            for piece in obstore.list(self._bucket(bucket), directory or None, offset=after or None, chunk_size=LIST_PIECE):
                for meta in piece:
                    if meta["path"].startswith(prefix):
                        yield _described(meta["path"], meta)
        except (BaseError, FileNotFoundError) as error:
            raise _refusal(error, prefix) from error

    def _look(self, bucket: str, key: str, condition: Condition) -> Any:
        """How to put so that the condition holds over there too. Raises ObjectError when it does not hold now."""
        if condition is ALWAYS:
            return None
        try:
            found: str | None = obstore.head(self._bucket(bucket), key)["e_tag"] or ""
        except FileNotFoundError:
            found = None
        condition.check(key, None if found is None else found.strip('"'))
        return "create" if found is None else {"e_tag": found}

    def delete(self, bucket: str, key: str, condition: Condition = ALWAYS) -> None:
        try:
            self._look(bucket, key, condition)
            obstore.delete(self._bucket(bucket), key)
        except FileNotFoundError:
            return
        except BaseError as error:
            raise _refusal(error, key) from error

    def make_bucket(self, bucket: str) -> None:
        """Nothing: a prefix needs no room, and a bucket over there is made over there."""

    def remove_bucket(self, bucket: str) -> None:
        """Nothing, as in `make_bucket`."""

    def _bucket(self, bucket: str) -> Bucket:
        found = self._buckets.get(bucket)
        if found is None:
            name, _, prefix = self._place.partition("/")
            if "{bucket}" in self._place:
                name, prefix = name.replace("{bucket}", bucket), prefix.replace("{bucket}", bucket)
            else:
                prefix = f"{prefix}/{bucket}".strip("/")
            options: Any = {"endpoint": self._endpoint, "virtual_hosted_style_request": False} if self._endpoint else {}
            client: Any = {"allow_http": self._endpoint.startswith("http://"), "timeout": CLIENT_TIMEOUT}
            found = self._buckets[bucket] = Bucket(name, prefix=prefix or None, client_options=client, **options)
        return found


def _info(key: str, result: Any) -> ObjectInfo:
    attributes = {str(name): str(value) for name, value in result.attributes.items()}
    content_type = attributes.pop("Content-Type", "")
    return _described(key, result.meta, content_type, {_THEIR_NAMES.get(name, name): value for name, value in attributes.items()})


def _described(key: str, meta: Any, content_type: str = "", metadata: Mapping[str, str] = {}) -> ObjectInfo:
    return ObjectInfo(
        key=key,
        size=cast(int, meta["size"]),
        modified_ms=int(meta["last_modified"].timestamp() * 1000),
        etag=str(meta["e_tag"] or "").strip('"'),
        content_type=content_type,
        metadata=metadata,
    )


def _refusal(error: BaseException, key: str) -> ObjectError:
    if isinstance(error, FileNotFoundError):
        return ObjectError(NO_KEY, f"there is no object {key!r}")
    if isinstance(error, (AlreadyExistsError, PreconditionError)):
        return ObjectError(NOT_MET, f"the object {key!r} was written by another at this moment")
    return ObjectError(AWAY, f"the object store behind this one refuses: {str(error).splitlines()[0][:300]}")
