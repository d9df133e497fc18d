"""Buckets: who owns which. A bucket belongs to an account (a domain), and every project of it may use it, as in OBS."""

from __future__ import annotations

import time
from typing import NamedTuple

from sqlalchemy import bindparam, delete, insert, select

from opencph.objects import ObjectError, ObjectStore
from opencph.store.database import Database, Query, StoreConflictError, command, scalar
from opencph.store.tables import buckets
from opencph.wire.object_names import bucket_problem

NO_BUCKET, BUCKETS_MAX = "NoSuchBucket", 1000


class Bucket(NamedTuple):
    """A bucket of an account. Time in milliseconds since the epoch."""

    name: str
    create_ms: int


_OWNER: Query[str] = Query(select(buckets.c.domain_id).where(buckets.c.name == bindparam("name")), scalar)
_OF_DOMAIN = Query(
    select(buckets.c.name, buckets.c.create_ms).where(buckets.c.domain_id == bindparam("domain_id")).order_by(buckets.c.name),
    Bucket,
)
_INSERT = command(insert(buckets).values(name=bindparam("name"), domain_id=bindparam("domain_id"), create_ms=bindparam("now")))
_DELETE = command(delete(buckets).where(buckets.c.name == bindparam("of_name"), buckets.c.domain_id == bindparam("of_domain")))


def of_account(database: Database, domain_id: str) -> list[Bucket]:
    """The account's buckets, by name."""
    return database.rows(_OF_DOMAIN, domain_id=domain_id)


def owns(database: Database, domain_id: str, name: str) -> bool:
    """Whether the account has a bucket of this name."""
    return database.row(_OWNER, name=name) == domain_id


def check(database: Database, domain_id: str, name: str) -> None:
    """Raises ObjectError: NoSuchBucket, or AccessDenied for another account's, whose name anybody may see to be taken."""
    owner = database.row(_OWNER, name=name)
    if owner is None:
        raise ObjectError(NO_BUCKET, f"there is no bucket {name!r}", 404)
    if owner != domain_id:
        raise ObjectError("AccessDenied", f"the bucket {name!r} is another account's", 403)


def make(database: Database, store: ObjectStore, domain_id: str, name: str) -> bool:
    """Make a bucket; False when the account has it already. Raises ObjectError for a name that cannot be had."""
    problem = bucket_problem(name)
    if problem:
        raise ObjectError("InvalidBucketName", problem, 400)
    try:
        with database.write() as tx:
            owner = tx.row(_OWNER, name=name)
            if owner is None and len(tx.rows(_OF_DOMAIN, domain_id=domain_id)) >= BUCKETS_MAX:
                raise ObjectError("TooManyBuckets", f"an account has at most {BUCKETS_MAX} buckets", 400)
            if owner is None:
                tx.run(_INSERT, name=name, domain_id=domain_id, now=time.time_ns() // 1_000_000)
    except StoreConflictError:  # somebody made it this very moment
        owner = database.row(_OWNER, name=name)
    if owner not in (None, domain_id):
        raise ObjectError("BucketAlreadyExists", f"another account has a bucket {name!r}", 409)
    store.make_bucket(name)
    return owner is None


def remove(database: Database, store: ObjectStore, domain_id: str, name: str) -> None:
    """Remove an empty bucket. Raises ObjectError: BucketNotEmpty, NoSuchBucket, AccessDenied."""
    check(database, domain_id, name)
    if next(iter(store.list(name)), None) is not None:
        raise ObjectError("BucketNotEmpty", f"the bucket {name!r} is not empty; delete its objects first", 409)
    store.remove_bucket(name)
    with database.write() as tx:
        tx.run(_DELETE, of_name=name, of_domain=domain_id)
