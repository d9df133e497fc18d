"""Which server flavors can be had in which zone: ListCloudPhoneServerModelOfferings (cph-api.md section 4, number 12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opencph.fleet.catalogue import ON_SALE, Catalogue, marker_page
from opencph.fleet.placement import Placement
from opencph.wire.models import (
    ListCloudPhoneServerModelOfferingsQuery,
    ListCloudPhoneServerModelOfferingsResponse,
    ServerModelOffering,
)

if TYPE_CHECKING:
    from opencph.fleet import Fleet
    from opencph.iam import Caller

AVAILABLE, SOLD_OUT = "available", "sellout"


def list_cloud_phone_server_model_offerings(
    fleet: Fleet, caller: Caller, request_id: str, query: ListCloudPhoneServerModelOfferingsQuery
) -> ListCloudPhoneServerModelOfferingsResponse:
    """Every zone with every server flavor; available while some host of the zone has room for the smallest of its phone flavors.

    Zones come in the order of their hosts, flavors in that of the catalogue. Raises CPS.0002 for a marker that no page gave.
    """
    with fleet.database.read() as tx:
        hosts = Placement(tx).hosts
    smallest = _smallest(fleet.catalogue)
    offerings = []
    for zone in dict.fromkeys(host.availability_zone for host in hosts):
        here = [host for host in hosts if host.availability_zone == zone]
        for name in fleet.catalogue.server_models:
            phones = smallest.get(name)
            room = phones is not None and any(host.fits(phones) for host in here)
            offerings.append(ServerModelOffering(available_zone=zone, model_name=name, sell_status=AVAILABLE if room else SOLD_OUT))
    page, page_info = marker_page(offerings, lambda one: f"{one.available_zone}/{one.model_name}", query.marker, query.limit)
    return ListCloudPhoneServerModelOfferingsResponse(request_id=request_id, count=len(offerings), models=page, page_info=page_info)


def _smallest(catalogue: Catalogue) -> dict[str, int]:
    """The fewest phones that a server of a flavor has, by flavor; those without a phone flavor on sale are left out."""
    fewest: dict[str, int] = {}
    for model in catalogue.phone_models.values():
        if model.status == ON_SALE:
            known = fewest.get(model.server_model_name, model.phone_capacity)
            fewest[model.server_model_name] = min(known, model.phone_capacity)
    return fewest
