"""What all phones of a generation share, as readers need it: a card per generation, remembered by the process.

A card is true while the sum of the revisions `network` and `servers` is what it was when the card was asked for: whoever binds an
address, swaps, adds or removes a generation raises one of them. So a reader takes `REVISION` in the statement that reads its phone
and asks for the card with it; a generation that no server points at has no card, and its phones are not to be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from sqlalchemy import ColumnElement, bindparam, func, literal_column, select

from opencph.fleet.generation_specs import stored_ports
from opencph.runtimes import ADB_PORT
from opencph.store import tables
from opencph.store.database import Query, Row, Value, scalar
from opencph.wire.phones import PhoneMetadata

if TYPE_CHECKING:
    from opencph.fleet import Fleet

CARDS_REMEMBERED = 8_192

_s, _g, _a = tables.servers.c, tables.generations.c, tables.server_addresses.c


def _value(name: str) -> ColumnElement[int]:
    value = select(tables.revisions.c.value).where(tables.revisions.c.name == literal_column(f"'{name}'")).scalar_subquery()
    return func.coalesce(value, literal_column("0"))


#: What a card is valid for, to be selected beside a phone.
REVISION = _value("network") + _value("servers")  # two lookups by key cost SQLite less than one sum
READ_REVISION: Query[int] = Query(select(REVISION), scalar)


class CardAddress(NamedTuple):
    """A VIP and the EIP bound to it ("" without)."""

    server_ip: str
    server_ipv6: str | None
    public_ip: str


@dataclass(frozen=True, slots=True)
class Card:
    """What the phones of a visible generation have in common."""

    revision: int
    phone_model_name: str
    availability_zone: str
    metadata: PhoneMetadata
    volume_type: str
    volume_mode: int
    phone_count_per_ip: int
    #: name, listen port, internet-accessible; `adb` first
    ports: tuple[tuple[str, int, bool], ...]
    addresses: tuple[CardAddress, ...]


class _Row(NamedTuple):
    phone_model_name: str
    availability_zone: str
    order_id: str
    product_id: str
    data_volume_type: str | None
    phone_count_per_ip: int
    ports: str
    server_ip: str
    server_ipv6: str | None
    public_ip: str | None


_CARD = Query(
    select(
        _g.phone_model_name,
        _g.availability_zone,
        _s.order_id,
        _s.product_id,
        _g.data_volume_type,
        _g.phone_count_per_ip,
        _g.ports,
        _a.server_ip,
        _a.server_ipv6,
        tables.eips.c.address,
    )
    .select_from(
        tables.servers.join(tables.generations, _g.generation_id == _s.generation_id)
        .join(tables.server_addresses, _a.generation_id == _s.generation_id)
        .outerjoin(tables.eips, tables.eips.c.eip_id == _a.eip_id)
    )
    .where(_s.generation_id == bindparam("generation_id"))
    .order_by(_a.number),
    _Row,
)


class Reader(Protocol):
    """A database or a transaction."""

    def rows(self, query: Query[Row], **params: Value) -> list[Row]:
        """Every row of the answer."""
        ...


def card_of(source: Reader, fleet: Fleet, generation_id: str, revision: int) -> Card | None:
    """The card of a generation, or None when no server points at it."""
    remembered = fleet.hints.cards.get(generation_id)
    if remembered is not None and remembered.revision == revision:
        return remembered
    rows = source.rows(_CARD, generation_id=generation_id)
    if not rows:
        return None
    row = rows[0]
    model = fleet.catalogue.phone_models.get(row.phone_model_name)
    card = Card(
        revision=revision,
        phone_model_name=row.phone_model_name,
        availability_zone=row.availability_zone,
        metadata=PhoneMetadata(order_id=row.order_id, product_id=row.product_id),
        volume_type=row.data_volume_type or (model.disk_type if model else "SSD"),
        volume_mode=model.volume_mode if model else 0,
        phone_count_per_ip=row.phone_count_per_ip,
        ports=(
            ("adb", ADB_PORT, False),
            *((port.name, port.listen_port, port.internet_accessible) for port in stored_ports(row.ports)),
        ),
        addresses=tuple(CardAddress(each.server_ip, each.server_ipv6, each.public_ip or "") for each in rows),
    )
    if len(fleet.hints.cards) >= CARDS_REMEMBERED:
        fleet.hints.cards.clear()
    fleet.hints.cards[generation_id] = card
    return card
