"""Key pairs on the wire: as the key pair service (KPS v3) spells them, and as Nova does. Checks: `keypair_checks`."""

from __future__ import annotations

import msgspec


class CreateKeypairRequest(msgspec.Struct, frozen=True):
    """POST of a key pair, both shapes. `public_key` None: make one."""

    name: str
    public_key: str | None


class CreatedKeypair(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key pair that was made or imported. The private key is in this answer or nowhere."""

    name: str
    type: str
    public_key: str
    fingerprint: str
    user_id: str
    private_key: str | None = None


class CreateKeypairResponse(msgspec.Struct, frozen=True):
    """The answer to POST of a key pair, both shapes."""

    keypair: CreatedKeypair


class Keypair(msgspec.Struct, frozen=True, kw_only=True):
    """An element of the list of KPS."""

    name: str
    type: str
    scope: str
    public_key: str
    fingerprint: str
    is_key_protection: bool
    frozen_state: str


class KeypairItem(msgspec.Struct, frozen=True):
    """KPS wraps every element."""

    keypair: Keypair


class PageInfo(msgspec.Struct, frozen=True):
    """Where the list goes on: a name, "" on the last page."""

    next_marker: str
    previous_marker: str
    current_count: int


class ListKeypairsResponse(msgspec.Struct, frozen=True):
    """GET /v3/{project_id}/keypairs."""

    keypairs: list[KeypairItem]
    page_info: PageInfo


class KeypairDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A key pair in full. Times in milliseconds since the epoch."""

    id: int
    name: str
    type: str
    scope: str
    public_key: str
    fingerprint: str
    is_key_protection: bool
    deleted: bool
    description: str
    user_id: str
    create_time: int
    update_time: int
    frozen_state: int
    delete_time: int | None = None


class ShowKeypairResponse(msgspec.Struct, frozen=True):
    """GET /v3/{project_id}/keypairs/{keypair_name}."""

    keypair: KeypairDetail


class NoBody(msgspec.Struct, frozen=True):
    """`{}`."""


class NovaKeypair(msgspec.Struct, frozen=True, kw_only=True):
    """An element of Nova's list."""

    name: str
    type: str
    public_key: str
    fingerprint: str


class NovaKeypairItem(msgspec.Struct, frozen=True):
    """Nova wraps every element too."""

    keypair: NovaKeypair


class NovaListKeypairsResponse(msgspec.Struct, frozen=True):
    """GET /v2.1/{project_id}/os-keypairs."""

    keypairs: list[NovaKeypairItem]


class NovaKeypairDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A key pair in full, as Nova spells it. Times as 2019-05-07T12:06:13.681238."""

    id: int
    name: str
    type: str
    public_key: str
    fingerprint: str
    user_id: str
    created_at: str
    deleted: bool = False
    deleted_at: str | None = None
    updated_at: str | None = None


class NovaShowKeypairResponse(msgspec.Struct, frozen=True):
    """GET /v2.1/{project_id}/os-keypairs/{keypair_name}."""

    keypair: NovaKeypairDetail
