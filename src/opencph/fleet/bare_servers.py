"""Bare servers: a host process of one's own without phones (cph-api.md section 4, number 2). They are then servers like others:
listed, restarted, re-keyed, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select

from opencph.fleet import quotas, requirements
from opencph.fleet.generations import GenerationPlan, Volume
from opencph.fleet.ids import product_id
from opencph.fleet.placement import HostRoom, Placement
from opencph.fleet.retry import once_more_on_conflict
from opencph.fleet.server_create import check_names, enter
from opencph.store import tables
from opencph.store.database import Query, Transaction, scalar
from opencph.wire.bare_servers import CreateCloudPhoneSingleServerRequest, CreateCloudPhoneSingleServerResponse
from opencph.wire.errors import CphError

if TYPE_CHECKING:
    from opencph.fleet import Fleet
    from opencph.iam import Caller

#: The one image of bare servers, and what `phone_model_name` of a bare server is.
BARE_IMAGE_ID, NO_PHONES = "00000000-0000-4000-8000-00000000ba5e", ""

_sub = tables.subnets.c
_VPC_OF_SUBNET: Query[str] = Query(
    select(_sub.vpc_id).where(_sub.subnet_id == bindparam("subnet_id"), _sub.project_id == bindparam("project_id")), scalar
)


def create_cloud_phone_single_server(
    fleet: Fleet, caller: Caller, request_id: str, body: CreateCloudPhoneSingleServerRequest
) -> CreateCloudPhoneSingleServerResponse:
    """Buy `count` bare servers at once: all of them, or none. They read 1 until their jobs `create_server` have ended.

    Raises CphError: each fault has its own code and names its field, as for servers with phones.
    """

    def buy() -> CreateCloudPhoneSingleServerResponse:
        with fleet.database.write() as tx:
            tx.lock("placement")
            names, hosts, plan = _check(tx, fleet, caller.project_id, body)
            return enter(
                tx,
                fleet,
                caller,
                request_id,
                names=names,
                hosts=hosts,
                plan=plan,
                product_id=product_id(body.server_model_name, NO_PHONES),
                billing=body.order_param,
            )

    return once_more_on_conflict(buy)


def _check(
    tx: Transaction, fleet: Fleet, project_id: str, body: CreateCloudPhoneSingleServerRequest
) -> tuple[list[str], list[HostRoom], GenerationPlan]:
    """Names, hosts, and a plan in which server and host are still to be filled in."""
    names = check_names(tx, project_id, body.server_name, body.count)
    fleet.catalogue.server_model(body.server_model_name)
    if body.image_id not in (None, BARE_IMAGE_ID):
        raise CphError("CPS.0166", f"image_id {body.image_id!r} is no image of bare servers; leave it out for the default one")
    vpc_id = tx.row(_VPC_OF_SUBNET, subnet_id=body.nic.subnet_id, project_id=project_id)
    if vpc_id is None:
        raise CphError("CPS.0229", f"nics[0].subnet_id {body.nic.subnet_id} does not exist in this project")
    subnet = requirements.subnet(tx, project_id, vpc_id, body.nic)
    requirements.check_keypair(tx, project_id, body.keypair_name)
    requirements.check_public_ip(tx, project_id, body.public_ip, 1, None)
    if body.public_ip.ids and body.count > 1:
        raise CphError("CPS.0239", f"public_ip.ids: one existing EIP cannot be bound to {body.count} servers")
    bandwidth = requirements.bandwidth(tx, project_id, body.band_width, None) if body.band_width else None
    eip_count = 0 if body.public_ip.ids else body.public_ip.wanted
    placement = Placement(tx)
    if body.availability_zone is not None:
        placement.check_zone(body.availability_zone)
    quotas.check(tx, fleet, project_id, quotas.Usage(body.count, 0, body.count * eip_count))
    hosts = [placement.take(0, body.availability_zone, requirements.zone_order(fleet)) for _ in names]
    volume = body.data_volume
    plan = GenerationPlan(
        server_id="",
        project_id=project_id,
        server_name="",
        number=1,
        host_id="",
        availability_zone="",
        server_model_name=body.server_model_name,
        phone_model_name=NO_PHONES,
        image_id=body.image_id or BARE_IMAGE_ID,
        phone_count=0,
        phone_count_per_ip=1,
        vpc_id=vpc_id,
        subnet=subnet,
        ipv6_enable=body.nic.ipv6_enable,
        ipv6_bandwidth_id=body.nic.ipv6_bandwidth.band_width_id if body.nic.ipv6_bandwidth else None,
        bandwidth=bandwidth if body.public_ip.ids or eip_count else None,
        eip_ids=body.public_ip.ids,
        eip_type=body.public_ip.eip.type if body.public_ip.eip else "5_bgp",
        eip_count=eip_count,
        keypair_name=body.keypair_name,
        phone_data_gib=0,
        data_volume=None if volume is None else Volume(volume_type=volume.volume_type, size_gib=volume.size),
    )
    return names, hosts, plan
