"""Key pairs: the rules of the key pair service, for its own shape and Nova's, on the rows that servers use.

A key pair may be deleted while servers use it, as in the real service; those servers keep the public key they have
(`kept_public_keys`), whatever is made under the same name later.
"""

from __future__ import annotations

import time
from hashlib import blake2b
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from sqlalchemy import bindparam, delete, exists, insert, literal_column, select, update
from sqlalchemy.sql.elements import BindParameter

from opencph.fleet import Fleet
from opencph.fleet.times import now_ms
from opencph.iam import Caller
from opencph.iam.keypairs import fingerprint, make_keypair
from opencph.neighbours.paging import Page
from opencph.store import tables
from opencph.store.database import Query, Transaction, command, scalar
from opencph.wire.errors import shown
from opencph.wire.keypair_checks import BAD_KEYPAIR
from opencph.wire.keypairs import (
    CreatedKeypair,
    CreateKeypairRequest,
    CreateKeypairResponse,
    Keypair,
    KeypairDetail,
    KeypairItem,
    ListKeypairsResponse,
    NovaKeypair,
    NovaKeypairDetail,
    NovaKeypairItem,
    NovaListKeypairsResponse,
    NovaShowKeypairResponse,
    PageInfo,
    ShowKeypairResponse,
)
from opencph.wire.service_errors import Refuse, plain_error

NOT_FOUND, NAME_TAKEN = "KPS.0404", "KPS.0409"
SSH, USER_SCOPE = "ssh", "user"
NOT_FROZEN = 0
RSA_BITS_MIN = 1024

_k, _g, _kept = tables.keypairs.c, tables.generations.c, tables.kept_public_keys
_PROJECT: BindParameter[str] = bindparam("of_project")
_NAME: BindParameter[str] = bindparam("of_name")


class _Row(NamedTuple):
    name: str
    public_key: str
    fingerprint: str
    create_ms: int
    user_id: str | None
    description: str | None
    update_ms: int | None


_keypairs = select(*(_k[field] for field in _Row._fields)).where(_k.project_id == _PROJECT)
_KEYPAIR = Query(_keypairs.where(_k.name == _NAME), _Row)
_PAGE = Query(_keypairs.where(_k.name > bindparam("marker")).order_by(_k.name).limit(bindparam("limit")), _Row)
_BEFORE: Query[str] = Query(
    select(_k.name).where(_k.project_id == _PROJECT, _k.name < bindparam("first")).order_by(_k.name.desc()).limit(1), scalar
)
_INSERT = command(insert(tables.keypairs).values({column.name: bindparam(column.name) for column in tables.keypairs.columns}))
_DESCRIBE = command(
    update(tables.keypairs)
    .where(_k.project_id == _PROJECT, _k.name == _NAME)
    .values(description=bindparam("text"), update_ms=bindparam("now"))
)
_KEEP = command(
    insert(_kept).from_select(
        ["generation_id", "keypair_name", "public_key"],
        select(_g.generation_id, _g.keypair_name, _k.public_key)
        .select_from(tables.generations.join(tables.keypairs, (_k.project_id == _g.project_id) & (_k.name == _g.keypair_name)))
        .where(
            _g.project_id == _PROJECT,
            _g.keypair_name == _NAME,
            ~exists(literal_column("1"))
            .select_from(_kept)
            .where(_kept.c.generation_id == _g.generation_id, _kept.c.keypair_name == _g.keypair_name),
        ),
    )
)
_DELETE = command(delete(tables.keypairs).where(_k.project_id == _PROJECT, _k.name == _NAME))


def create_keypair(fleet: Fleet, caller: Caller, body: CreateKeypairRequest, refuse: Refuse = plain_error) -> CreateKeypairResponse:
    """CreateKeypair: RSA 2048, whose private key is in the answer only, or the public key that is given.

    Raises 400 for a public key that is none, 409 for a name that is taken.
    """
    private_key = None
    if body.public_key is None:
        made = make_keypair(body.name)
        private_key, public_key = made.private_key, made.public_key
    else:
        public_key = body.public_key
        _check_public_key(public_key, refuse)
    now = now_ms()
    row = _Row(body.name, public_key, fingerprint(public_key), now, caller.user_id, "", now)
    with fleet.database.write() as tx:
        tx.lock("keypairs")
        if tx.row(_KEYPAIR, of_project=caller.project_id, of_name=body.name) is not None:
            raise refuse(409, NAME_TAKEN, f"keypair.name: Key pair {body.name!r} already exists; choose another name")
        tx.run(_INSERT, project_id=caller.project_id, **row._asdict())
    return CreateKeypairResponse(
        CreatedKeypair(
            name=row.name,
            type=SSH,
            public_key=public_key,
            fingerprint=row.fingerprint,
            user_id=caller.user_id,
            private_key=private_key,
        )
    )


def list_keypairs(fleet: Fleet, caller: Caller, page: Page) -> ListKeypairsResponse:
    """ListKeypairs, in the order of their names."""
    with fleet.database.read() as tx:
        rows = tx.rows(_PAGE, of_project=caller.project_id, marker=page.marker, limit=page.limit + 1)
        before = tx.row(_BEFORE, of_project=caller.project_id, first=rows[0].name) if rows else None
    shown_rows = rows[: page.limit]
    more = len(rows) > page.limit and bool(shown_rows)
    return ListKeypairsResponse(
        [
            KeypairItem(
                Keypair(
                    name=row.name,
                    type=SSH,
                    scope=USER_SCOPE,
                    public_key=row.public_key,
                    fingerprint=row.fingerprint,
                    is_key_protection=False,
                    frozen_state=str(NOT_FROZEN),
                )
            )
            for row in shown_rows
        ],
        PageInfo(shown_rows[-1].name if more else "", before or "", len(shown_rows)),
    )


def show_keypair(fleet: Fleet, caller: Caller, name: str) -> ShowKeypairResponse:
    """ListKeypairDetail. Raises 404."""
    with fleet.database.read() as tx:
        row = _find(tx, caller, name, plain_error)
    return ShowKeypairResponse(
        KeypairDetail(
            id=_number(caller, row),
            name=row.name,
            type=SSH,
            scope=USER_SCOPE,
            public_key=row.public_key,
            fingerprint=row.fingerprint,
            is_key_protection=False,
            deleted=False,
            description=row.description or "",
            user_id=row.user_id or "",
            create_time=row.create_ms,
            update_time=row.update_ms or row.create_ms,
            frozen_state=NOT_FROZEN,
        )
    )


def update_keypair_description(fleet: Fleet, caller: Caller, name: str, description: str) -> None:
    """UpdateKeypairDescription. Raises 404."""
    with fleet.database.write() as tx:
        row = _find(tx, caller, name, plain_error)
        tx.run(_DESCRIBE, of_project=caller.project_id, of_name=row.name, text=description, now=now_ms())


def delete_keypair(fleet: Fleet, caller: Caller, name: str, refuse: Refuse = plain_error) -> None:
    """DeleteKeypair. Servers that use it keep its public key. Raises 404."""
    with fleet.database.write() as tx:
        tx.lock("placement")  # no server that is being bought may come to use it now
        row = _find(tx, caller, name, refuse)
        tx.run(_KEEP, of_project=caller.project_id, of_name=row.name)
        tx.run(_DELETE, of_project=caller.project_id, of_name=row.name)


def nova_list_keypairs(fleet: Fleet, caller: Caller, page: Page) -> NovaListKeypairsResponse:
    """NovaListKeypairs."""
    with fleet.database.read() as tx:
        rows = tx.rows(_PAGE, of_project=caller.project_id, marker=page.marker, limit=page.limit)
    return NovaListKeypairsResponse(
        [
            NovaKeypairItem(NovaKeypair(name=row.name, type=SSH, public_key=row.public_key, fingerprint=row.fingerprint))
            for row in rows
        ]
    )


def nova_show_keypair(fleet: Fleet, caller: Caller, name: str, refuse: Refuse) -> NovaShowKeypairResponse:
    """NovaShowKeypair. Raises 404."""
    with fleet.database.read() as tx:
        row = _find(tx, caller, name, refuse)
    return NovaShowKeypairResponse(
        NovaKeypairDetail(
            id=_number(caller, row),
            name=row.name,
            type=SSH,
            public_key=row.public_key,
            fingerprint=row.fingerprint,
            user_id=row.user_id or "",
            created_at=time.strftime("%Y-%m-%dT%H:%M:%S.000000", time.gmtime(row.create_ms // 1000)),
        )
    )


def _find(tx: Transaction, caller: Caller, name: str, refuse: Refuse) -> _Row:
    row = tx.row(_KEYPAIR, of_project=caller.project_id, of_name=name)
    if row is None:
        raise refuse(404, NOT_FOUND, f"Key pair {shown(name)} does not exist in this project")
    return row


def _number(caller: Caller, row: _Row) -> int:
    """A number for those who expect one as the id; always the same for the same key pair."""
    digest = blake2b(f"{caller.project_id}/{row.name}/{row.create_ms}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1


def _check_public_key(text: str, refuse: Refuse) -> None:
    """An OpenSSH public key of a kind that SSH clients still use. It is kept as it is given: Terraform compares the text."""
    rule = "must be one line in OpenSSH's form, such as 'ssh-rsa AAAA... name'"
    if len(text.strip().splitlines()) != 1:
        raise refuse(400, BAD_KEYPAIR, f"keypair.public_key {rule}")
    try:
        key = load_ssh_public_key(text.strip().encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise refuse(400, BAD_KEYPAIR, f"keypair.public_key {rule}: {error}") from error
    if isinstance(key, RSAPublicKey) and key.key_size < RSA_BITS_MIN:
        raise refuse(400, BAD_KEYPAIR, f"keypair.public_key: an RSA key of {key.key_size} bits; at least {RSA_BITS_MIN}")
    if not isinstance(key, RSAPublicKey | Ed25519PublicKey | EllipticCurvePublicKey):
        raise refuse(400, BAD_KEYPAIR, "keypair.public_key: only RSA, Ed25519 and ECDSA keys are supported")
