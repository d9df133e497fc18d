"""What a generation is to a runtime, and what its stored texts mean. Reading only; `generations` makes and removes the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from sqlalchemy import bindparam, select
from sqlalchemy.sql.elements import BindParameter

from opencph.fleet.images import version_of
from opencph.fleet.share_paths import share_directory
from opencph.runtimes import GenerationSpec, PhoneSpec, RuntimeFaultError
from opencph.store import tables
from opencph.store.database import Query, Transaction

if TYPE_CHECKING:
    from opencph.fleet import Fleet

MIB, GIB = 1 << 20, 1 << 30


class StoredPort(msgspec.Struct, frozen=True):
    """A declared port as `generations.ports` keeps it."""

    name: str
    listen_port: int
    internet_accessible: bool


_g, _p = tables.generations.c, tables.phones.c
_GENERATION: BindParameter[str] = bindparam("of_generation")


class _GenerationRow(NamedTuple):
    server_id: str
    host_id: str
    phone_model_name: str
    ports: str


class _PhoneRow(NamedTuple):
    phone_id: str
    name: str
    number: int
    ip: str
    ipv6: str | None
    imei: str
    image_id: str
    data_volume_gib: int
    property: str
    custom_property: str
    traffic_type: str


_GENERATION_FOR_RUNTIME = Query(
    select(_g.server_id, _g.host_id, _g.phone_model_name, _g.ports).where(_g.generation_id == _GENERATION), _GenerationRow
)
_PHONES_FOR_RUNTIME = Query(
    select(
        _p.phone_id,
        _p.name,
        _p.number,
        _p.phone_ip,
        _p.phone_ipv6,
        _p.imei,
        _p.image_id,
        _p.data_volume_gib,
        _p.property,
        _p.custom_property,
        _p.traffic_type,
    )
    .where(_p.generation_id == _GENERATION)
    .order_by(_p.number),
    _PhoneRow,
)


class _Share(NamedTuple):
    project_id: str
    share_id: str
    path: str

    def directory(self, fleet: Fleet) -> str:
        return str(share_directory(fleet.settings, self.project_id, self.share_id, self.path))


_f = tables.share_filesystems.c
_SHARES = Query(
    select(tables.servers.c.project_id, _f.share_id, _f.path)
    .join(tables.servers, tables.servers.c.server_id == _f.server_id)
    .where(_f.server_id == bindparam("of_server"))
    .order_by(_f.share_id),
    _Share,
)


def spec(tx: Transaction, fleet: Fleet, generation_id: str) -> GenerationSpec:
    """What the runtime must make of a generation.

    Raises LookupError when there is no such generation and RuntimeFaultError when its flavor is gone from the catalogue.
    """
    generation = tx.row(_GENERATION_FOR_RUNTIME, of_generation=generation_id)
    if generation is None:
        raise LookupError(f"there is no generation {generation_id}")
    if not generation.phone_model_name:  # a bare server
        host_id = generation.host_id
        return GenerationSpec(generation_id=generation_id, server_id=generation.server_id, host_id=host_id, phones=())
    model = fleet.catalogue.phone_models.get(generation.phone_model_name)
    if model is None:
        raise RuntimeFaultError(f"phone flavor {generation.phone_model_name!r} is gone from the catalogue; put it back")
    shares = {row.share_id: row.directory(fleet) for row in tx.rows(_SHARES, of_server=generation.server_id)}
    listen_ports = tuple(port.listen_port for port in stored_ports(generation.ports))
    width, height = model.width, model.height
    return GenerationSpec(
        generation_id=generation_id,
        server_id=generation.server_id,
        host_id=generation.host_id,
        phones=tuple(
            PhoneSpec(
                phone_id=row.phone_id,
                name=row.name,
                number=row.number,
                ip=row.ip,
                ipv6=row.ipv6,
                imei=row.imei,
                image_id=row.image_id,
                image_version=version_of(tx, fleet, row.image_id),
                model_name=generation.phone_model_name,
                cpu=model.cpu,
                memory_bytes=model.memory * MIB,
                data_bytes=row.data_volume_gib * GIB,
                width=width,
                height=height,
                dpi=model.dpi,
                listen_ports=listen_ports,
                properties=_properties(row),
                shares=shares,
            )
            for row in tx.rows(_PHONES_FOR_RUNTIME, of_generation=generation_id)
        ),
    )


def _properties(row: _PhoneRow) -> dict[str, str]:
    """What the phone is to know: the user's properties, and where its traffic goes unless that is straight out."""
    properties = {**property_texts(row.custom_property), **property_texts(row.property)}
    return properties if row.traffic_type == "direct" else {**properties, "sys.cph.traffic_type": row.traffic_type}


_decode_ports = msgspec.json.Decoder(tuple[StoredPort, ...]).decode


def stored_ports(text: str) -> tuple[StoredPort, ...]:
    """The declared ports of a generation, from `generations.ports`."""
    return _decode_ports(text)


def property_texts(text: str) -> dict[str, str]:
    """Property keys and values as a phone sees them, from a stored JSON object ("" is none): every value is text."""
    if not text:
        return {}
    return {key: value if isinstance(value, str) else _plain(value) for key, value in msgspec.json.decode(text).items()}


def _plain(value: object) -> str:
    return msgspec.json.encode(value).decode()
