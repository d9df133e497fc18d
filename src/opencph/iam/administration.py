"""What an operator does to users, projects, grants, access keys and policies. Each change and its audit entry are one transaction.

Whoever runs the command has the database, and so every right; the record says which user of the machine it was. A change holds in
every api process within `auth.FRESH_SECONDS`.
"""

from __future__ import annotations

import getpass
import re
import secrets
import string
import time
import uuid
from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import bindparam, delete, func, insert, select, update

from opencph.iam import audit
from opencph.iam.policies import ROLES, parse
from opencph.iam.users import hash_password
from opencph.store.database import Database, Query, StoreConflictError, Transaction, Value, command, scalar, tuple_row
from opencph.store.tables import access_keys, domains, grants, policies, projects, quotas, subnets, users, vpcs

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
PASSWORD_MIN_CHARACTERS, PASSWORD_MAX_CHARACTERS = 8, 128
VPC_CIDR, SUBNET_CIDR, GATEWAY_IP = "192.168.0.0/16", "192.168.0.0/20", "192.168.0.1"
_KEY_CHARACTERS = string.ascii_uppercase + string.digits
_SECRET_CHARACTERS = string.ascii_letters + string.digits


class AdministrationError(Exception):
    """It cannot be done. The message says why and what to do."""


class UserLine(NamedTuple):
    """A user in a list. `grants` is "project=role, ..."."""

    name: str
    user_id: str
    enabled: bool
    grants: str


class ProjectLine(NamedTuple):
    """A project in a list."""

    name: str
    project_id: str
    enabled: bool


class KeyLine(NamedTuple):
    """An access key in a list; never its secret."""

    access_key: str
    user: str
    enabled: bool
    create_ms: int


class _GrantLine(NamedTuple):
    user_id: str
    project: str
    role: str


class PolicyLine(NamedTuple):
    """A policy in a list."""

    name: str
    document: str
    update_ms: int


_DOMAIN: Query[str] = Query(select(domains.c.domain_id).order_by(domains.c.name).limit(1), scalar)
_USER: Query[str] = Query(select(users.c.user_id).where(users.c.name == bindparam("name")), scalar)
_PROJECT: Query[str] = Query(
    select(projects.c.project_id).where((projects.c.name == bindparam("name")) | (projects.c.project_id == bindparam("name"))),
    scalar,
)
_USERS = Query(select(users.c.name, users.c.user_id, users.c.enabled).order_by(users.c.name), tuple_row)
_GRANTS = Query(
    select(grants.c.user_id, projects.c.name, grants.c.role)
    .select_from(grants.join(projects, grants.c.project_id == projects.c.project_id))
    .order_by(projects.c.name),
    _GrantLine,
)
_PROJECTS = Query(select(projects.c.name, projects.c.project_id, projects.c.enabled).order_by(projects.c.name), tuple_row)
_KEYS = Query(
    select(access_keys.c.access_key, users.c.name, access_keys.c.enabled, access_keys.c.create_ms)
    .select_from(access_keys.join(users, access_keys.c.user_id == users.c.user_id))
    .order_by(users.c.name, access_keys.c.create_ms),
    tuple_row,
)
_POLICIES = Query(select(policies.c.name, policies.c.document, policies.c.update_ms).order_by(policies.c.name), tuple_row)
_POLICY: Query[str] = Query(select(policies.c.document).where(policies.c.name == bindparam("name")), scalar)
_HOLDERS: Query[int] = Query(select(func.count()).select_from(grants).where(grants.c.role == bindparam("name")), scalar)
_ADD_USER = command(
    insert(users).values({name: bindparam(name) for name in ("user_id", "domain_id", "name", "password_hash")} | {"enabled": 1})
)
_SET_PASSWORD = command(update(users).where(users.c.name == bindparam("of")).values(password_hash=bindparam("password_hash")))
_ENABLE_USER = command(update(users).where(users.c.name == bindparam("of")).values(enabled=bindparam("on")))
_REMOVE_GRANTS = command(delete(grants).where(grants.c.user_id == bindparam("of")))
_REMOVE_KEYS = command(delete(access_keys).where(access_keys.c.user_id == bindparam("of")))
_REMOVE_USER = command(delete(users).where(users.c.user_id == bindparam("of")))
_QUOTAS = Query(
    select(quotas.c.resource, quotas.c.quota_limit).where(quotas.c.project_id == bindparam("of")).order_by(quotas.c.resource),
    tuple_row,
)
_REMOVE_QUOTA = command(delete(quotas).where(quotas.c.project_id == bindparam("of"), quotas.c.resource == bindparam("resource")))
_RESET_QUOTAS = command(delete(quotas).where(quotas.c.project_id == bindparam("of")))
_ADD_QUOTA = command(insert(quotas).values({name: bindparam(name) for name in ("project_id", "resource", "quota_limit")}))
_ADD_PROJECT = command(
    insert(projects).values({name: bindparam(name) for name in ("project_id", "domain_id", "name")} | {"enabled": 1})
)
_ENABLE_PROJECT = command(update(projects).where(projects.c.project_id == bindparam("of")).values(enabled=bindparam("on")))
_GRANT = command(insert(grants).values({name: bindparam(name) for name in ("user_id", "project_id", "role")}))
_ONE_GRANT = (grants.c.user_id == bindparam("of_user"), grants.c.project_id == bindparam("of_project"))
_REVOKE = command(delete(grants).where(*_ONE_GRANT))
_ADD_KEY = command(
    insert(access_keys).values(
        {name: bindparam(name) for name in ("access_key", "secret_key", "user_id", "create_ms")} | {"enabled": 1}
    )
)
_ENABLE_KEY = command(update(access_keys).where(access_keys.c.access_key == bindparam("of")).values(enabled=bindparam("on")))
_REMOVE_KEY = command(delete(access_keys).where(access_keys.c.access_key == bindparam("of")))
_PUT_POLICY = command(
    update(policies)
    .where(policies.c.name == bindparam("of"))
    .values(document=bindparam("document"), update_ms=bindparam("update_ms"))
)
_ADD_POLICY = command(insert(policies).values({name: bindparam(name) for name in ("name", "document", "create_ms", "update_ms")}))
_REMOVE_POLICY = command(delete(policies).where(policies.c.name == bindparam("of")))
_ADD_VPC = command(insert(vpcs).values({name: bindparam(name) for name in ("vpc_id", "project_id", "name", "cidr", "create_ms")}))
_ADD_SUBNET = command(
    insert(subnets).values(
        {name: bindparam(name) for name in ("subnet_id", "vpc_id", "project_id", "name", "cidr", "gateway_ip", "create_ms")}
    )
)


# --- users ----------------------------------------


def list_users(database: Database) -> list[UserLine]:
    """Every user with its grants."""
    with database.read() as tx:
        granted: dict[str, list[str]] = {}
        for user_id, project, role in tx.rows(_GRANTS):
            granted.setdefault(user_id, []).append(f"{project}={role}")
        return [UserLine(str(n), str(u), on == 1, ", ".join(granted.get(str(u), []))) for n, u, on in tx.rows(_USERS)]


def add_user(database: Database, name: str, password: str | None = None) -> tuple[str, str]:
    """A new user without any grant; its id and its password, which is made up when None."""
    _check_name("user", name)
    password = secrets.token_urlsafe(18) if password is None else password
    hashed, user_id = _hashed(password), uuid.uuid4().hex
    try:
        with database.write() as tx:
            tx.run(_ADD_USER, user_id=user_id, domain_id=_domain(tx), name=name, password_hash=hashed)
            _record(tx, "AddUser", name, user_id)
    except StoreConflictError:
        raise AdministrationError(f"there is a user {name} already") from None
    return user_id, password


def set_password(database: Database, name: str, password: str | None = None) -> str:
    """A new password, made up when None. Tokens that were issued stay good until they expire."""
    password = secrets.token_urlsafe(18) if password is None else password
    hashed = _hashed(password)
    with database.write() as tx:
        _touched(tx.run(_SET_PASSWORD, of=name, password_hash=hashed), "user", name)
        _record(tx, "SetPassword", name)
    return password


def enable_user(database: Database, name: str, on: bool) -> None:
    """Let a user in, or keep it out: with its tokens and keys too."""
    with database.write() as tx:
        _touched(tx.run(_ENABLE_USER, of=name, on=int(on)), "user", name)
        _record(tx, "EnableUser" if on else "DisableUser", name)


def remove_user(database: Database, name: str) -> None:
    """Remove a user with its grants and keys. What it bought belongs to the project and stays."""
    with database.write() as tx:
        user_id = _user(tx, name)
        for statement in (_REMOVE_GRANTS, _REMOVE_KEYS, _REMOVE_USER):
            tx.run(statement, of=user_id)
        _record(tx, "RemoveUser", name, user_id)


def grant(database: Database, user: str, project: str, role: str) -> None:
    """Give a user a role in a project, instead of the one it had there."""
    with database.write() as tx:
        if role not in ROLES and tx.row(_POLICY, name=role) is None:
            raise AdministrationError(
                f"there is no role {role}: use {', '.join(ROLES)}, or the name of a policy (`opencph policies put NAME FILE`)"
            )
        user_id, project_id = _user(tx, user), _project(tx, project)
        tx.run(_REVOKE, of_user=user_id, of_project=project_id)
        tx.run(_GRANT, user_id=user_id, project_id=project_id, role=role)
        _record(tx, "Grant", user, role, project_id=project_id)


def revoke(database: Database, user: str, project: str) -> None:
    """Take a user's role in a project away."""
    with database.write() as tx:
        project_id = _project(tx, project)
        if not tx.run(_REVOKE, of_user=_user(tx, user), of_project=project_id):
            raise AdministrationError(f"{user} has no role in project {project}")
        _record(tx, "Revoke", user, project_id=project_id)


# --- projects ----------------------------------------


def list_projects(database: Database) -> list[ProjectLine]:
    """Every project."""
    return [ProjectLine(str(n), str(p), on == 1) for n, p, on in database.rows(_PROJECTS)]


def add_project(database: Database, name: str) -> str:
    """A new project with a VPC and a subnet; its id. Server addresses of its own are reached through SSH tunnels, EIPs as always:
    those that this machine opens belong to the first project's subnet."""
    _check_name("project", name)
    project_id, vpc_id, now_ms = uuid.uuid4().hex, str(uuid.uuid4()), _now_ms()
    try:
        with database.write() as tx:
            tx.run(_ADD_PROJECT, project_id=project_id, domain_id=_domain(tx), name=name)
            network: dict[str, Value] = {"project_id": project_id, "vpc_id": vpc_id, "create_ms": now_ms}
            tx.run(_ADD_VPC, **network, name="vpc-default", cidr=VPC_CIDR)
            subnet_id = str(uuid.uuid4())
            tx.run(_ADD_SUBNET, **network, subnet_id=subnet_id, name="subnet-default", cidr=SUBNET_CIDR, gateway_ip=GATEWAY_IP)
            _record(tx, "AddProject", name, project_id=project_id)
    except StoreConflictError:
        raise AdministrationError(f"there is a project {name} already") from None
    return project_id


def enable_project(database: Database, project: str, on: bool) -> None:
    """Let callers into a project, or keep them all out; its servers run on."""
    with database.write() as tx:
        project_id = _project(tx, project)
        tx.run(_ENABLE_PROJECT, of=project_id, on=int(on))
        _record(tx, "EnableProject" if on else "DisableProject", project, project_id=project_id)


def list_quotas(database: Database, project: str) -> dict[str, int]:
    """The limits that were set for a project, by resource; for what is not here the settings hold."""
    with database.read() as tx:
        return {str(resource): int(str(limit)) for resource, limit in tx.rows(_QUOTAS, of=_project(tx, project))}


def set_quotas(database: Database, project: str, limits: Mapping[str, int]) -> None:
    """Set limits of a project (servers, phones, eips). What it has already stays, also beyond them."""
    with database.write() as tx:
        project_id = _project(tx, project)
        for resource, limit in limits.items():
            tx.run(_REMOVE_QUOTA, of=project_id, resource=resource)
            tx.run(_ADD_QUOTA, project_id=project_id, resource=resource, quota_limit=limit)
        _record(tx, "SetQuota", project, project_id=project_id)


def reset_quotas(database: Database, project: str) -> None:
    """Let the settings hold for a project again."""
    with database.write() as tx:
        project_id = _project(tx, project)
        tx.run(_RESET_QUOTAS, of=project_id)
        _record(tx, "ResetQuota", project, project_id=project_id)


# --- access keys ----------------------------------------


def list_keys(database: Database) -> list[KeyLine]:
    """Every access key, without its secret."""
    return [KeyLine(str(k), str(u), on == 1, int(str(made))) for k, u, on, made in database.rows(_KEYS)]


def add_key(database: Database, user: str) -> tuple[str, str]:
    """A new access key of a user: the key and its secret."""
    access_key = "".join(secrets.choice(_KEY_CHARACTERS) for _ in range(20))
    secret_key = "".join(secrets.choice(_SECRET_CHARACTERS) for _ in range(40))
    with database.write() as tx:
        tx.run(_ADD_KEY, access_key=access_key, secret_key=secret_key, user_id=_user(tx, user), create_ms=_now_ms())
        _record(tx, "AddKey", user, access_key)
    return access_key, secret_key


def enable_key(database: Database, access_key: str, on: bool) -> None:
    """Let an access key sign, or not."""
    with database.write() as tx:
        _touched(tx.run(_ENABLE_KEY, of=access_key, on=int(on)), "access key", access_key)
        _record(tx, "EnableKey" if on else "DisableKey", access_key)


def remove_key(database: Database, access_key: str) -> None:
    """Remove an access key."""
    with database.write() as tx:
        _touched(tx.run(_REMOVE_KEY, of=access_key), "access key", access_key)
        _record(tx, "RemoveKey", access_key)


# --- policies ----------------------------------------


def list_policies(database: Database) -> list[PolicyLine]:
    """Every policy of the operator's own."""
    return [PolicyLine(str(n), str(d), int(str(at))) for n, d, at in database.rows(_POLICIES)]


def put_policy(database: Database, name: str, document: str) -> None:
    """Make a policy, or give it another document. Raises PolicyError."""
    _check_name("policy", name)
    if name in ROLES:
        raise AdministrationError(f"{name} is a ready-made role; give the policy another name")
    parse(document)
    now_ms = _now_ms()
    with database.write() as tx:
        if not tx.run(_PUT_POLICY, of=name, document=document, update_ms=now_ms):
            tx.run(_ADD_POLICY, name=name, document=document, create_ms=now_ms, update_ms=now_ms)
        _record(tx, "PutPolicy", name)


def remove_policy(database: Database, name: str) -> None:
    """Remove a policy that no grant names."""
    with database.write() as tx:
        holders = tx.row(_HOLDERS, name=name)
        if holders:
            raise AdministrationError(f"{holders} grants name the policy {name}; revoke them first (`opencph users list`)")
        _touched(tx.run(_REMOVE_POLICY, of=name), "policy", name)
        _record(tx, "RemovePolicy", name)


# --- shared ----------------------------------------


def _record(tx: Transaction, operation: str, *resources: str, project_id: str = "") -> None:
    try:
        who = getpass.getuser()
    except (KeyError, OSError):
        who = "unknown"
    entry = audit.Entry(
        _now_ms(), uuid.uuid4().hex, audit.CLI, "", who, project_id, operation, "", audit.named(resources), 200, "", ""
    )
    audit.record(tx, entry)


def _domain(tx: Transaction) -> str:
    domain_id = tx.row(_DOMAIN)
    if domain_id is None:
        raise AdministrationError("the database is empty; start it once with `opencph up`")
    return domain_id


def _user(tx: Transaction, name: str) -> str:
    user_id = tx.row(_USER, name=name)
    if user_id is None:
        raise AdministrationError(f"there is no user {name}; `opencph users list` shows all")
    return user_id


def _project(tx: Transaction, name: str) -> str:
    project_id = tx.row(_PROJECT, name=name)
    if project_id is None:
        raise AdministrationError(f"there is no project {name}; `opencph projects list` shows all")
    return project_id


def _touched(count: int, what: str, name: str) -> None:
    if not count:
        raise AdministrationError(f"there is no {what} {name}")


def _check_name(what: str, name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise AdministrationError(f"{what} name {name!r}: letters, digits, . _ @ and -, at most 64, a letter or digit first")


def _hashed(password: str) -> str:
    if not PASSWORD_MIN_CHARACTERS <= len(password) <= PASSWORD_MAX_CHARACTERS:
        raise AdministrationError(f"a password has {PASSWORD_MIN_CHARACTERS} to {PASSWORD_MAX_CHARACTERS} characters")
    return hash_password(password)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
