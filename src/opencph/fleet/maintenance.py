"""Maintenance of hosts: an operator drains one, each of its servers gets a scheduled event, and the worker carries those out.

Authorized for `redeploy` a server moves to another host at once, as a change to what it is; else it is restarted where it is when
`not_before` has come. What owners see and say is `scheduled_events`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, insert, or_, select, update

from opencph.fleet import quotas, server_restart
from opencph.fleet.addresses import Subnet
from opencph.fleet.generation_specs import stored_ports
from opencph.fleet.generations import DedicatedBandwidth, GenerationPlan, Volume, reserve
from opencph.fleet.ids import new_id, new_uuid
from opencph.fleet.payloads import CHANGE_SERVER, ChangeServerJob
from opencph.fleet.placement import Placement
from opencph.fleet.statuses import ServerStatus
from opencph.fleet.times import now_ms
from opencph.jobs import FAILED, RUNNING, NewJob, queue
from opencph.store import tables
from opencph.store.database import Query, Transaction, command, scalar, tuple_row
from opencph.wire.errors import CphError
from opencph.wire.scheduled_events import MAINTENANCE, REDEPLOY

if TYPE_CHECKING:
    from opencph.fleet import Fleet

SYSTEM_MAINTENANCE, LOCALDISK_RECOVERY = "system-maintenance", "localdisk-recovery"
WINDOW_MS = 3_600_000
#: How far owners may put an event off.
PUT_OFF_MS = 7 * 86_400_000
ROUNDS_SECONDS = 3.0

_e, _s, _g, _h = tables.scheduled_events.c, tables.servers.c, tables.generations.c, tables.hosts.c
_a, _b = tables.server_addresses.c, tables.bandwidths.c


class UnknownHostError(Exception):
    """There is no host of that name."""


class _Due(NamedTuple):
    event_id: str
    project_id: str
    server_id: str
    authorization_type: str | None
    server_status: int | None
    generation_id: str | None


class _Ended(NamedTuple):
    event_id: str
    job_status: int | None
    end_ms: int | None
    error_msg: str | None


class _Here(NamedTuple):
    project_id: str
    server_id: str
    name: str
    server_model_name: str


_HOSTS = Query(select(_h.host_id, _h.availability_zone, _h.state, _h.drained).order_by(_h.host_id), tuple_row)
_SET_DRAINED = command(
    update(tables.hosts).where(_h.host_id == bindparam("of_host")).values(drained=bindparam("flag"), state=bindparam("new_state"))
)
_open = or_(_e.state == "inquiring", _e.state == "scheduled")
_active = or_(_open, _e.state == "executing")
_HERE = Query(
    select(_s.project_id, _s.server_id, _s.name, _g.server_model_name)
    .join(tables.generations, _g.generation_id == _s.generation_id)
    .where(
        _g.host_id == bindparam("of_host"),
        _s.status != ServerStatus.DELETED,
        _s.server_id.not_in(select(_e.server_id).where(_active)),
    )
    .order_by(_s.seq),
    _Here,
)
_PUBLISH = command(
    insert(tables.scheduled_events).values(
        {
            **{
                column.name: bindparam(column.name)
                for column in _e
                if column.name not in ("seq", "job_id", "start_ms", "finish_ms")
            },
            "job_id": None,
            "start_ms": None,
            "finish_ms": None,
        }
    )
)
_CANCEL_OF_HOST = command(
    update(tables.scheduled_events)
    .where(_e.host_id == bindparam("of_host"), _open)
    .values(state="canceled", finish_ms=bindparam("now"))
)
_DUE = Query(
    select(_e.event_id, _e.project_id, _e.server_id, _e.authorization_type, _s.status, _s.generation_id)
    .outerjoin(tables.servers, _s.server_id == _e.server_id)
    .where(_open, or_(_e.not_before_ms <= bindparam("now"), _s.server_id.is_(None)))
    .order_by(_e.seq)
    .limit(100),
    _Due,
)
_ENDED = Query(
    select(_e.event_id, tables.jobs.c.status, tables.jobs.c.end_ms, tables.jobs.c.error_msg)
    .outerjoin(tables.jobs, tables.jobs.c.job_id == _e.job_id)
    .where(_e.state == "executing", or_(tables.jobs.c.status.is_(None), tables.jobs.c.status != RUNNING)),
    _Ended,
)
_BEGIN = command(
    update(tables.scheduled_events)
    .where(_e.event_id == bindparam("of_event"))
    .values(
        state="executing", authorization_type=bindparam("new_authorization"), job_id=bindparam("new_job"), start_ms=bindparam("now")
    )
)
_END = command(
    update(tables.scheduled_events)
    .where(_e.event_id == bindparam("of_event"))
    .values(state=bindparam("new_state"), finish_ms=bindparam("now"))
)
_EXPLAIN = command(
    update(tables.scheduled_events)
    .where(_e.event_id == bindparam("of_event"))
    .values(description=_e.description + bindparam("cause"))
)
_LAST_NUMBER: Query[int] = Query(
    select(_g.number).where(_g.server_id == bindparam("of_server")).order_by(_g.number.desc()).limit(1), scalar
)
_CHANGING = command(
    update(tables.servers)
    .where(_s.server_id == bindparam("of_server"), _s.status == ServerStatus.NORMAL)
    .values(status=ServerStatus.CHANGING, update_ms=bindparam("now"))
)


class _Current(NamedTuple):
    name: str
    host_id: str
    availability_zone: str
    server_model_name: str
    phone_model_name: str
    image_id: str
    phone_count: int
    phone_count_per_ip: int
    vpc_id: str
    subnet_id: str
    cidr: str
    gateway_ip: str
    ipv6_cidr: str | None
    ipv6_enable: int
    ipv6_bandwidth_id: str | None
    bandwidth_id: str | None
    own_size_mbit: int | None  # of a dedicated bandwidth
    own_charge_mode: int | None
    keypair_name: str | None
    ports: str
    property: str
    data_volume_type: str | None
    data_volume_gib: int | None
    share_volume_type: str | None
    share_volume_gib: int | None


_sub = tables.subnets.c
_CURRENT = Query(
    select(
        _s.name,
        _g.host_id,
        _g.availability_zone,
        _g.server_model_name,
        _g.phone_model_name,
        _g.image_id,
        _g.phone_count,
        _g.phone_count_per_ip,
        _g.vpc_id,
        _g.subnet_id,
        _sub.cidr,
        _sub.gateway_ip,
        _sub.ipv6_cidr,
        _g.ipv6_enable,
        _g.ipv6_bandwidth_id,
        _g.bandwidth_id,
        _b.size_mbit,
        _b.charge_mode,
        _g.keypair_name,
        _g.ports,
        _g.property,
        _g.data_volume_type,
        _g.data_volume_gib,
        _g.share_volume_type,
        _g.share_volume_gib,
    )
    .select_from(
        tables.servers.join(tables.generations, _g.generation_id == _s.generation_id)
        .join(tables.subnets, _sub.subnet_id == _g.subnet_id)
        .outerjoin(tables.bandwidths, _b.generation_id == _g.generation_id)
    )
    .where(_s.server_id == bindparam("of_server")),
    _Current,
)
_EIPS: Query[str] = Query(
    select(_a.eip_id).where(_a.generation_id == bindparam("of_generation"), _a.eip_id.is_not(None)).order_by(_a.number), scalar
)


def drain(fleet: Fleet, host_id: str, *, in_seconds: int, description: str, event_type: str = SYSTEM_MAINTENANCE) -> list[str]:
    """Nothing new comes to a host, and each server on it gets an event that begins `in_seconds` from now at the earliest.

    `event_type` is what owners read: LOCALDISK_RECOVERY when a disk of the host is to be replaced. Servers that have an open event
    already keep it. Returns the ids of the new events. Raises UnknownHostError. Blocks.
    """
    with fleet.database.write() as tx:
        tx.lock("placement")
        if not tx.run(_SET_DRAINED, of_host=host_id, flag=1, new_state="draining"):
            raise _unknown(tx, host_id)
        now = now_ms()
        start = now + in_seconds * 1000
        events = [
            {
                "event_id": new_uuid(),
                "project_id": server.project_id,
                "server_id": server.server_id,
                "server_name": server.name,
                "server_model_name": server.server_model_name,
                "host_id": host_id,
                "type": event_type,
                "authorization_type": None,
                "state": "inquiring",
                "description": description,
                "publish_ms": now,
                "not_before_ms": start,
                "not_after_ms": start + WINDOW_MS,
                "deadline_ms": start + PUT_OFF_MS,
            }
            for server in tx.rows(_HERE, of_host=host_id)
        ]
        tx.run_many(_PUBLISH, events)
    return [str(event["event_id"]) for event in events]


def hosts(fleet: Fleet) -> list[dict[str, str]]:
    """Every host: id, zone, state."""
    with fleet.database.read() as tx:
        return [
            {"host_id": str(row[0]), "availability_zone": str(row[1]), "state": "drained" if row[3] else str(row[2])}
            for row in tx.rows(_HOSTS)
        ]


def activate(fleet: Fleet, host_id: str) -> int:
    """End the draining of a host: servers may come again, and events that have not begun are canceled; returns how many.

    A host that the catalogue declares as draining stays so. Raises UnknownHostError. Blocks.
    """
    declared = fleet.catalogue.hosts.get(host_id)
    with fleet.database.write() as tx:
        tx.lock("placement")
        if not tx.run(_SET_DRAINED, of_host=host_id, flag=0, new_state=declared.state if declared else "active"):
            raise _unknown(tx, host_id)
        return tx.run(_CANCEL_OF_HOST, of_host=host_id, now=now_ms())


def _unknown(tx: Transaction, host_id: str) -> UnknownHostError:
    known = ", ".join(str(row[0]) for row in tx.rows(_HOSTS))
    return UnknownHostError(f"there is no host {host_id!r}; there are {known}")


def carry_out(fleet: Fleet) -> None:
    """One round: begin what is due, end what is done. Called again and again by every worker. Blocks."""
    with fleet.database.read() as tx:
        if not tx.rows(_DUE, now=now_ms()) and not tx.rows(_ENDED):
            return
    with fleet.database.write() as tx:
        tx.lock("placement")
        for event_id, status, end_ms, error_msg in tx.rows(_ENDED):
            failed = status == FAILED
            tx.run(_END, of_event=event_id, new_state="failed" if failed else "completed", now=end_ms or now_ms())
            if failed:
                tx.run(_EXPLAIN, of_event=event_id, cause=f" - failed: {error_msg or ''}")
        for event in tx.rows(_DUE, now=now_ms()):
            _begin(tx, fleet, event)


def _begin(tx: Transaction, fleet: Fleet, event: _Due) -> None:
    if event.server_status is None or event.server_status == ServerStatus.DELETED or event.generation_id is None:
        tx.run(_END, of_event=event.event_id, new_state="canceled", now=now_ms())
        return
    redeploy = event.authorization_type == REDEPLOY
    ready = (ServerStatus.NORMAL,) if redeploy else (ServerStatus.NORMAL, ServerStatus.ABNORMAL)
    if event.server_status not in ready:
        return  # it is being worked on; the next round looks again
    if redeploy:
        try:
            job = _move(tx, fleet, event, event.generation_id)
        except CphError as error:
            tx.run(_END, of_event=event.event_id, new_state="failed", now=now_ms())
            tx.run(_EXPLAIN, of_event=event.event_id, cause=f" - failed: {error.message}")
            return
    else:
        job = server_restart.new_job(event.project_id, new_id(), event.server_id, event.generation_id)
        server_restart.mark(tx, [event.server_id], [event.generation_id])
    (job_id,) = queue.accept(tx, [job])
    authorization = event.authorization_type or MAINTENANCE
    tx.run(_BEGIN, of_event=event.event_id, new_authorization=authorization, new_job=job_id, now=now_ms())


def _move(tx: Transaction, fleet: Fleet, event: _Due, generation_id: str) -> NewJob:
    """The job that makes the server anew on another host, as it is: flavors, image, addresses of its own, EIPs, ports, key pair."""
    current = tx.row(_CURRENT, of_server=event.server_id)
    assert current is not None  # _DUE has just seen it
    quotas.check(tx, fleet, event.project_id, quotas.Usage(1, current.phone_count, 0))
    zone = current.availability_zone
    host = Placement(tx).take(current.phone_count, zone, [zone], avoid_host=current.host_id)
    model = fleet.catalogue.phone_models.get(current.phone_model_name)
    bandwidth: str | DedicatedBandwidth | None = current.bandwidth_id
    if current.own_size_mbit is not None:
        bandwidth = DedicatedBandwidth(size_mbit=current.own_size_mbit, charge_mode=current.own_charge_mode or 0)
    plan = GenerationPlan(
        server_id=event.server_id,
        project_id=event.project_id,
        server_name=current.name,
        number=(tx.row(_LAST_NUMBER, of_server=event.server_id) or 0) + 1,
        host_id=host.host_id,
        availability_zone=zone,
        server_model_name=current.server_model_name,
        phone_model_name=current.phone_model_name,
        image_id=current.image_id,
        phone_count=current.phone_count,
        phone_count_per_ip=current.phone_count_per_ip,
        vpc_id=current.vpc_id,
        subnet=Subnet(current.subnet_id, current.cidr, current.gateway_ip, current.ipv6_cidr),
        ipv6_enable=bool(current.ipv6_enable),
        ipv6_bandwidth_id=current.ipv6_bandwidth_id,
        bandwidth=bandwidth,
        eip_ids=tuple(tx.rows(_EIPS, of_generation=generation_id)),
        keypair_name=current.keypair_name,
        ports=stored_ports(current.ports),
        property=current.property,
        phone_data_gib=current.data_volume_gib or (model.disk if model else 1),
        data_volume=_volume(current.data_volume_type, current.data_volume_gib),
        share_volume=_volume(current.share_volume_type, current.share_volume_gib),
    )
    tx.run(_CHANGING, of_server=event.server_id, now=now_ms())
    return NewJob(
        project_id=event.project_id,
        request_id=new_id(),
        kind=CHANGE_SERVER,
        lane=event.server_id,
        server_id=event.server_id,
        payload=ChangeServerJob(new_generation_id=reserve(tx, fleet, plan), old_generation_id=generation_id),
    )


def _volume(volume_type: str | None, size_gib: int | None) -> Volume | None:
    return None if volume_type is None or size_gib is None else Volume(volume_type=volume_type, size_gib=size_gib)
