"""`opencph objects put|get|ls|rm`: the object store from the command line. Needs the data directory, and no running process."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import IO

from opencph.iam.accounts import all_accounts
from opencph.objects import PIECE_BYTES, ObjectError, ObjectStore, buckets, open_store, spooled
from opencph.settings import Settings, SettingsError
from opencph.store.database import Database, StoreError, open_database
from opencph.wire.object_names import ObjectName, bucket_problem, parse
from opencph.wire.object_xml import iso_time


class CommandError(Exception):
    """What the user reads."""


def run(settings: Settings, action: str, words: list[str], *, recursive: bool = False, as_json: bool = False) -> int:
    """Do `put FILE obs://B/K`, `get obs://B/K FILE`, `ls [obs://B/PREFIX]` or `rm obs://B/K`; returns the exit code."""
    try:
        settings.check_started()
        database = open_database(settings.database_url)
        try:
            work = _Work(database, open_store(settings), as_json)
            getattr(work, action)(words, recursive)
        finally:
            database.close()
    except (CommandError, SettingsError, StoreError, ObjectError) as error:
        print(f"opencph: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"opencph: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


class _Work:
    """The commands. The operator sees the buckets of every account; a new bucket is the first account's."""

    def __init__(self, database: Database, store: ObjectStore, as_json: bool) -> None:
        self.database, self.store, self.as_json = database, store, as_json
        self.accounts = all_accounts(database)
        if not self.accounts:
            raise CommandError("the database has no account yet; start it once with `opencph up`")

    def put(self, words: list[str], recursive: bool) -> None:
        """Upload a file, or stdin for `-`; a bucket that is missing is made."""
        source, name = Path(words[0]), _name(words[1] + source_name(words[0]) if words[1].endswith("/") else words[1])
        if not self._exists(name.bucket):
            buckets.make(self.database, self.store, self.accounts[0], name.bucket)
        file = spooled(self.store)
        try:
            if words[0] == "-":
                shutil.copyfileobj(sys.stdin.buffer, file, PIECE_BYTES)
            else:
                with source.open("rb") as contents:
                    shutil.copyfileobj(contents, file, PIECE_BYTES)
        except BaseException:
            file.close()
            raise
        info = self.store.put(name.bucket, name.key, file)
        self._say({"object": str(name), "size": info.size}, f"{name}  {info.size} bytes")

    def get(self, words: list[str], recursive: bool) -> None:
        """Download to a file, into a directory, or to stdout for `-`."""
        name = _name(words[0])
        self.store.head(name.bucket, name.key)
        if words[1] == "-":
            self._copy(name, sys.stdout.buffer)
            return
        target = Path(words[1])
        target = target / name.key.rpartition("/")[2] if target.is_dir() else target
        part = target.with_name(target.name + ".part")
        try:
            with part.open("wb") as file:
                self._copy(name, file)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        self._say({"file": str(target), "size": target.stat().st_size}, f"{target}  {target.stat().st_size} bytes")

    def ls(self, words: list[str], recursive: bool) -> None:
        """Buckets, or the objects below a prefix."""
        if not words:
            for account in self.accounts:
                for found in buckets.of_account(self.database, account):
                    made = iso_time(found.create_ms)
                    self._say({"bucket": found.name, "create_time": made}, f"{made}  obs://{found.name}/")
            return
        bucket, _, prefix = words[0].removeprefix("obs://").partition("/")
        if not words[0].startswith("obs://") or bucket_problem(bucket):
            raise CommandError(f"{words[0]}: give obs://BUCKET or obs://BUCKET/PREFIX")
        self._check(bucket)
        for info in self.store.list(bucket, prefix):
            name, changed = ObjectName(bucket, info.key), iso_time(info.modified_ms)
            self._say({"object": str(name), "size": info.size, "modified": changed}, f"{changed}  {info.size:>12}  {name}")

    def rm(self, words: list[str], recursive: bool) -> None:
        """Remove an object; with `recursive` all below a prefix, and the bucket itself when the prefix is empty."""
        bucket, _, key = words[0].removeprefix("obs://").partition("/")
        if not words[0].startswith("obs://") or bucket_problem(bucket) or not (key or recursive):
            raise CommandError(f"{words[0]}: give obs://BUCKET/KEY, or --recursive with obs://BUCKET or obs://BUCKET/PREFIX")
        self._check(bucket)
        if not recursive:
            self.store.head(bucket, key)
            self.store.delete(bucket, key)
            self._say({"removed": words[0]}, f"removed {words[0]}")
            return
        for info in list(self.store.list(bucket, key)):
            self.store.delete(bucket, info.key)
            self._say({"removed": f"obs://{bucket}/{info.key}"}, f"removed obs://{bucket}/{info.key}")
        if not key:
            owner = next(account for account in self.accounts if buckets.owns(self.database, account, bucket))
            buckets.remove(self.database, self.store, owner, bucket)
            self._say({"removed": f"obs://{bucket}"}, f"removed obs://{bucket}")

    def _copy(self, name: ObjectName, file: IO[bytes]) -> None:
        for piece in self.store.read(name.bucket, name.key):
            file.write(piece)

    def _exists(self, bucket: str) -> bool:
        return any(buckets.owns(self.database, account, bucket) for account in self.accounts)

    def _check(self, bucket: str) -> None:
        if not self._exists(bucket):
            raise CommandError(f"there is no bucket {bucket}; `opencph objects ls` shows them all")

    def _say(self, record: dict[str, object], text: str) -> None:
        print(json.dumps(record) if self.as_json else text)


def source_name(source: str) -> str:
    """The last part of a key that ends with a slash."""
    return "stdin" if source == "-" else Path(source).name


def _name(text: str) -> ObjectName:
    name = parse(text)
    if name is None:
        raise CommandError(f"{text}: give obs://BUCKET/KEY; a bucket has 3 to 63 lower-case letters, digits, '-' and '.'")
    return name
