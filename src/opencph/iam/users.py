"""Users, projects, domains and grants: the queries on them, and passwords. What a caller may do with them is `auth`'s."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import bindparam, select

from opencph.store.database import Query, Transaction
from opencph.store.tables import access_keys, domains, grants, policies, projects, users

# Argon2id at the smallest cost OWASP recommends: 19 MiB and about 20 ms, so that a burst of logins does not eat the machine.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_hashing = threading.BoundedSemaphore(2)


class LoginName(NamedTuple):
    """Who says that it is."""

    user_id: str | None = None
    user_name: str | None = None
    domain_id: str | None = None
    domain_name: str | None = None


class UserRow(NamedTuple):
    """A user with its domain."""

    user_id: str
    user_name: str
    domain_id: str
    domain_name: str
    password_hash: str
    enabled: int


class ProjectRow(NamedTuple):
    """A project with its domain."""

    project_id: str
    name: str
    domain_id: str
    domain_name: str
    enabled: int


class DomainRow(NamedTuple):
    """A domain."""

    domain_id: str
    name: str


class GrantRow(NamedTuple):
    """A user's role in one project, with all names that a caller carries."""

    user_id: str
    user_name: str
    domain_id: str
    domain_name: str
    project_id: str
    role: str
    document: str | None  # of the policy that the role names; None for a ready-made role


class RoleRow(NamedTuple):
    """A role that a user has in some project."""

    role: str
    document: str | None


class AccessKeyRow(NamedTuple):
    """An access key that may be used, with its user."""

    secret_key: str
    user_id: str
    user_name: str
    domain_id: str
    domain_name: str


_USER = select(
    users.c.user_id, users.c.name, users.c.domain_id, domains.c.name, users.c.password_hash, users.c.enabled
).select_from(users.join(domains, users.c.domain_id == domains.c.domain_id))
_PROJECT = select(projects.c.project_id, projects.c.name, projects.c.domain_id, domains.c.name, projects.c.enabled).select_from(
    projects.join(domains, projects.c.domain_id == domains.c.domain_id)
)

USER_BY_ID = Query(_USER.where(users.c.user_id == bindparam("user_id")), UserRow)
USER_BY_NAME = Query(
    _USER.where(users.c.name == bindparam("name"), domains.c.name == bindparam("domain_name")),
    UserRow,
)
USER_BY_NAME_AND_DOMAIN_ID = Query(
    _USER.where(users.c.name == bindparam("name"), users.c.domain_id == bindparam("domain_id")),
    UserRow,
)
USERS_BY_NAME = Query(_USER.where(users.c.name == bindparam("name")).limit(2), UserRow)
ACCESS_KEY = Query(
    select(access_keys.c.secret_key, users.c.user_id, users.c.name, users.c.domain_id, domains.c.name)
    .select_from(
        access_keys.join(users, access_keys.c.user_id == users.c.user_id).join(domains, users.c.domain_id == domains.c.domain_id)
    )
    .where(access_keys.c.access_key == bindparam("access_key"), access_keys.c.enabled == 1, users.c.enabled == 1),
    AccessKeyRow,
)
GRANT = Query(
    select(
        users.c.user_id, users.c.name, users.c.domain_id, domains.c.name, grants.c.project_id, grants.c.role, policies.c.document
    )
    .select_from(
        grants.join(users, grants.c.user_id == users.c.user_id)
        .join(projects, grants.c.project_id == projects.c.project_id)
        .join(domains, users.c.domain_id == domains.c.domain_id)
        .outerjoin(policies, grants.c.role == policies.c.name)
    )
    .where(
        grants.c.user_id == bindparam("user_id"),
        grants.c.project_id == bindparam("project_id"),
        users.c.enabled == 1,
        projects.c.enabled == 1,
    ),
    GrantRow,
)
#: the roles of a user in all enabled projects
ROLES_OF_USER = Query(
    select(grants.c.role, policies.c.document)
    .distinct()
    .select_from(
        grants.join(projects, grants.c.project_id == projects.c.project_id).outerjoin(policies, grants.c.role == policies.c.name)
    )
    .where(grants.c.user_id == bindparam("user_id"), projects.c.enabled == 1)
    .order_by(grants.c.role),
    RoleRow,
)
USERS_OF_DOMAIN = Query(_USER.where(users.c.domain_id == bindparam("domain_id")).order_by(users.c.name), UserRow)
_granted = (
    _PROJECT.join(grants, grants.c.project_id == projects.c.project_id)
    .where(grants.c.user_id == bindparam("user_id"))
    .order_by(projects.c.name)
)
PROJECTS_OF_USER = Query(_granted.where(projects.c.enabled == 1), ProjectRow)
#: disabled ones too, in which nobody may do anything
ALL_PROJECTS_OF_USER = Query(_granted, ProjectRow)
PROJECTS = Query(_PROJECT.where(projects.c.enabled == 1).order_by(projects.c.name), ProjectRow)
DOMAIN_BY_ID = Query(select(domains.c.domain_id, domains.c.name).where(domains.c.domain_id == bindparam("domain_id")), DomainRow)


def hash_password(password: str) -> str:
    """The argon2id hash to store."""
    with _hashing:
        return _HASHER.hash(password)


@lru_cache(maxsize=1)
def _hash_of_nothing() -> str:
    return hash_password("no user has this password")


def check_password(password_hash: str | None, password: str) -> bool:
    """Whether it is the password. With None (no such user) it takes as long, so that time does not tell who exists."""
    compared = password_hash or _hash_of_nothing()
    with _hashing:
        try:
            return _HASHER.verify(compared, password) and password_hash is not None
        except (VerificationError, InvalidHashError):
            return False


def find_user(tx: Transaction, request: LoginName) -> UserRow | None:
    """The user that a login names, by id, or by name within a domain. Without a domain the name must be unique. Whatever else is
    said of the user must be true."""
    user = _named(tx, request)
    known = None if user is None else LoginName(user.user_id, user.user_name, user.domain_id, user.domain_name)
    return user if known is not None and all(said in (None, true) for said, true in zip(request, known, strict=True)) else None


def _named(tx: Transaction, request: LoginName) -> UserRow | None:
    if request.user_id is not None:
        return tx.row(USER_BY_ID, user_id=request.user_id)
    if request.user_name is None:
        return None
    if request.domain_id is not None:
        return tx.row(USER_BY_NAME_AND_DOMAIN_ID, name=request.user_name, domain_id=request.domain_id)
    if request.domain_name is not None:
        return tx.row(USER_BY_NAME, name=request.user_name, domain_name=request.domain_name)
    found = tx.rows(USERS_BY_NAME, name=request.user_name)
    return found[0] if len(found) == 1 else None
