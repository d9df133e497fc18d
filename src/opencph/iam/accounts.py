"""Who owns what belongs to an account and not to a project: the caller of object storage, known by an access key alone."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, select

from opencph.iam import READER
from opencph.iam.users import ACCESS_KEY
from opencph.store.database import Database, Query, scalar
from opencph.store.tables import domains, grants

_ROLES: Query[str] = Query(select(grants.c.role).where(grants.c.user_id == bindparam("user_id")), scalar)
_DOMAINS: Query[str] = Query(select(domains.c.domain_id).order_by(domains.c.name), scalar)


class Account(NamedTuple):
    """The caller, its account, and whether it may change anything: whoever may in one of its projects."""

    user_id: str
    domain_id: str
    domain_name: str
    may_write: bool
    secret_key: str


def account_of(database: Database, access_key: str) -> Account | None:
    """The account of an access key that may be used; None when there is none."""
    key = database.row(ACCESS_KEY, access_key=access_key)
    if key is None:
        return None
    roles = database.rows(_ROLES, user_id=key.user_id)
    return Account(key.user_id, key.domain_id, key.domain_name, any(role != READER for role in roles), key.secret_key)


def all_accounts(database: Database) -> list[str]:
    """The ids of all accounts."""
    return database.rows(_DOMAINS)
