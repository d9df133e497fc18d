"""Who owns what belongs to an account and not to a project: the caller of object storage, known by an access key alone."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select

from opencph.iam.policies import Union, policy_of
from opencph.iam.users import ACCESS_KEY, ROLES_OF_USER
from opencph.store.database import Database, Query, scalar
from opencph.store.tables import domains

_DOMAINS: Query[str] = Query(select(domains.c.domain_id).order_by(domains.c.name), scalar)


class Account(NamedTuple):
    """The caller, its account, and what it may do: whatever it may in one of its projects."""

    user_id: str
    user_name: str
    domain_id: str
    domain_name: str
    policy: Union
    secret_key: str


def account_of(database: Database, access_key: str) -> Account | None:
    """The account of an access key that may be used; None when there is none."""
    key = database.row(ACCESS_KEY, access_key=access_key)
    if key is None:
        return None
    policy = Union([policy_of(*role) for role in database.rows(ROLES_OF_USER, user_id=key.user_id)])
    return Account(key.user_id, key.user_name, key.domain_id, key.domain_name, policy, key.secret_key)


def all_accounts(database: Database) -> list[str]:
    """The ids of all accounts."""
    return database.rows(_DOMAINS)
