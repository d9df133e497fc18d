"""The first start: domain, admin user, project, keys, default network; and `credentials.json`, by which scripts find all that.

Everything is made once per database, in one transaction, whoever comes first; later starts change nothing. Secrets that only the
files hold (password, private key) cannot be written again when the files are deleted.
"""

from __future__ import annotations

import base64
import os
import secrets
import string
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog
from sqlalchemy import BindParameter, bindparam, insert, select

from opencph.iam import ADMIN
from opencph.iam.auth import TOKEN_KEY_NAME
from opencph.iam.keypairs import make_keypair
from opencph.iam.users import hash_password
from opencph.settings import Settings
from opencph.store import tables
from opencph.store.database import Database, Query, Transaction, command, scalar
from opencph.store.networks import SUBNET_IPV6_CIDR, carve

DOMAIN_NAME = "opencph"
USER_NAME = "admin"
KEYPAIR_NAME = "opencph"
VPC_NAME = "vpc-default"
SUBNET_NAME = "subnet-default"
CREDENTIALS_FILE = "credentials.json"

_UPPER_AND_DIGITS = string.ascii_uppercase + string.digits
_LETTERS_AND_DIGITS = string.ascii_letters + string.digits
_logger = structlog.get_logger("opencph.iam")


class Credentials(msgspec.Struct, kw_only=True):
    """`DATA/credentials.json` (design: "Command line and files")."""

    endpoint: str = ""
    region: str = ""
    project_id: str = ""
    domain_id: str = ""
    domain_name: str = ""
    user_name: str = ""
    password: str = ""
    access_key: str = ""
    secret_key: str = ""
    vpc_id: str = ""
    subnet_id: str = ""
    keypair_name: str = ""
    private_key_file: str = ""
    ssh_port: int = 0


class _First(NamedTuple):
    project_id: str
    project_name: str
    domain_id: str
    domain_name: str
    user_id: str
    user_name: str


_ANY_DOMAIN: Query[int] = Query(select(1).select_from(tables.domains).limit(1), scalar)
#: the admin's project: that of the region's name when there is one, else the first
_FIRST = Query(
    select(
        tables.projects.c.project_id,
        tables.projects.c.name,
        tables.domains.c.domain_id,
        tables.domains.c.name,
        tables.users.c.user_id,
        tables.users.c.name,
    )
    .select_from(
        tables.grants.join(tables.projects, tables.grants.c.project_id == tables.projects.c.project_id)
        .join(tables.users, tables.grants.c.user_id == tables.users.c.user_id)
        .join(tables.domains, tables.projects.c.domain_id == tables.domains.c.domain_id)
    )
    .where(tables.grants.c.role == ADMIN, tables.users.c.name == USER_NAME)
    .order_by((tables.projects.c.name == bindparam("region")).desc(), tables.projects.c.name)
    .limit(1),
    _First,
)


class _AccessKey(NamedTuple):
    access_key: str
    secret_key: str


_ACCESS_KEY = Query(
    select(tables.access_keys.c.access_key, tables.access_keys.c.secret_key)
    .where(tables.access_keys.c.user_id == bindparam("user_id"), tables.access_keys.c.enabled == 1)
    .order_by(tables.access_keys.c.create_ms, tables.access_keys.c.access_key)
    .limit(1),
    _AccessKey,
)
_VPC: Query[str] = Query(
    select(tables.vpcs.c.vpc_id)
    .where(tables.vpcs.c.project_id == bindparam("project_id"), tables.vpcs.c.name == VPC_NAME)
    .order_by(tables.vpcs.c.create_ms)
    .limit(1),
    scalar,
)
_SUBNET: Query[str] = Query(
    select(tables.subnets.c.subnet_id)
    .where(tables.subnets.c.vpc_id == bindparam("vpc_id"))
    .order_by(tables.subnets.c.create_ms)
    .limit(1),
    scalar,
)


def bootstrap(database: Database, settings: Settings) -> None:
    """Make the first rows and files if the database has none. Idempotent; several processes may call it at once.

    Raises StoreError when the database cannot be written, OSError when the files cannot, ValueError for a bad network.
    """
    if database.row(_ANY_DOMAIN) is not None:
        return
    networks = carve(settings.network)
    password = secrets.token_urlsafe(18)
    password_hash = hash_password(password)
    keypair = make_keypair(KEYPAIR_NAME)
    now_ms = time.time_ns() // 1_000_000
    domain_id, project_id, user_id = (uuid.uuid4().hex for _ in range(3))
    access_key = "".join(secrets.choice(_UPPER_AND_DIGITS) for _ in range(20))
    secret_key = "".join(secrets.choice(_LETTERS_AND_DIGITS) for _ in range(40))
    vpc_id, subnet_id = str(uuid.uuid4()), str(uuid.uuid4())
    with database.write() as tx:
        tx.lock("bootstrap")
        if tx.row(_ANY_DOMAIN) is not None:
            return  # another process was faster
        project = {"project_id": project_id}
        made = {"create_ms": now_ms}
        _insert(tx, "domains", domain_id=domain_id, name=DOMAIN_NAME)
        _insert(tx, "projects", **project, domain_id=domain_id, name=settings.region, enabled=1)
        _insert(tx, "users", user_id=user_id, domain_id=domain_id, name=USER_NAME, password_hash=password_hash, enabled=1)
        _insert(tx, "grants", **project, user_id=user_id, role=ADMIN)
        _insert(tx, "access_keys", access_key=access_key, secret_key=secret_key, user_id=user_id, enabled=1, **made)
        token_key = base64.b64encode(secrets.token_bytes(32)).decode()
        _insert(tx, "signing_keys", name=TOKEN_KEY_NAME, secret=token_key, **made)
        cidr = str(networks.servers)
        _insert(tx, "vpcs", **project, vpc_id=vpc_id, name=VPC_NAME, cidr=cidr, **made)
        _insert(
            tx,
            "subnets",
            **project,
            subnet_id=subnet_id,
            vpc_id=vpc_id,
            name=SUBNET_NAME,
            cidr=cidr,
            gateway_ip=str(networks.servers[1]),
            ipv6_cidr=SUBNET_IPV6_CIDR,
            **made,
        )
        _insert(
            tx,
            "keypairs",
            **project,
            name=KEYPAIR_NAME,
            public_key=keypair.public_key,
            fingerprint=keypair.fingerprint,
            **made,
        )
        # The files first: were the commit to fail, the next start makes both anew; the other way round the password would be lost.
        private_key_file = settings.data / f"{KEYPAIR_NAME}.pem"
        _write(private_key_file, keypair.private_key.encode())
        _write_credentials(
            settings,
            Credentials(
                endpoint=_configured_endpoint(settings),
                region=settings.region,
                project_id=project_id,
                domain_id=domain_id,
                domain_name=DOMAIN_NAME,
                user_name=USER_NAME,
                password=password,
                access_key=access_key,
                secret_key=secret_key,
                vpc_id=vpc_id,
                subnet_id=subnet_id,
                keypair_name=KEYPAIR_NAME,
                private_key_file=str(private_key_file.resolve()),
                ssh_port=settings.ssh_port,
            ),
        )


def write_credentials(database: Database, settings: Settings, endpoint: str) -> None:
    """Write `DATA/credentials.json` with the endpoint that really listens (`http://HOST:PORT`).

    What the file alone knows is kept from the one that is there. Raises OSError when it cannot be written.
    """
    old = _read_credentials(settings)
    with database.read() as tx:
        first = tx.row(_FIRST, region=settings.region)
        if first is None:
            raise RuntimeError("write_credentials needs a database that bootstrap has filled")
        key = tx.row(_ACCESS_KEY, user_id=first.user_id)
        vpc_id = tx.row(_VPC, project_id=first.project_id)
        subnet_id = tx.row(_SUBNET, vpc_id=vpc_id) if vpc_id is not None else None
    known = old if old.domain_id == first.domain_id else Credentials()  # a file of another database is worth nothing
    private_key_file = settings.data / f"{KEYPAIR_NAME}.pem"
    fresh = Credentials(
        endpoint=endpoint,
        region=first.project_name,
        project_id=first.project_id,
        domain_id=first.domain_id,
        domain_name=first.domain_name,
        user_name=first.user_name,
        password=known.password,
        access_key=key.access_key if key else "",
        secret_key=key.secret_key if key else "",
        vpc_id=vpc_id or "",
        subnet_id=subnet_id or "",
        keypair_name=KEYPAIR_NAME,
        private_key_file=str(private_key_file.resolve()) if private_key_file.exists() else "",
        ssh_port=settings.ssh_port,
    )
    if not fresh.password:
        _logger.warning("credentials.json has no password: only its first copy had it; the access key works all the same")
    if not fresh.private_key_file:
        _logger.warning(
            "the private key of the default key pair is gone, which nobody can make again; use a key pair of your own",
            keypair_name=KEYPAIR_NAME,
        )
    if first.project_name != settings.region:
        _logger.warning(
            "the setting `region` names no project; credentials.json keeps the first one",
            setting=settings.region,
            project=first.project_name,
        )
    if fresh != old:
        _write_credentials(settings, fresh)


def _insert(tx: Transaction, table: str, **values: str | int) -> None:
    columns: dict[str, BindParameter[Any]] = {name: bindparam(name) for name in values}
    tx.run(command(insert(tables.metadata.tables[table]).values(columns)), **values)


def _configured_endpoint(settings: Settings) -> str:
    return f"{'https' if settings.tls_cert else 'http'}://{settings.listen}"


def _read_credentials(settings: Settings) -> Credentials:
    try:
        return msgspec.json.decode((settings.data / CREDENTIALS_FILE).read_bytes(), type=Credentials)
    except (OSError, msgspec.MsgspecError):
        return Credentials()


def _write_credentials(settings: Settings, credentials: Credentials) -> None:
    _write(settings.data / CREDENTIALS_FILE, msgspec.json.format(msgspec.json.encode(credentials)) + b"\n")


def _write(path: Path, content: bytes) -> None:
    """Write a file that is either the old or the new one at any moment, mode 0600."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
