"""Public addresses and bandwidths over HTTP: decode, call the rule, answer."""

from __future__ import annotations

from opencph.api.call import NO_CONTENT, Call, Result
from opencph.neighbours import bandwidths, eip
from opencph.neighbours.paging import page
from opencph.wire import eip_checks
from opencph.wire.eip_checks import BAD_BANDWIDTH, BAD_EIP
from opencph.wire.service_errors import network_error

#: what EIPs can be filtered by; all but the last two may come several times
FILTERS = ("id", "port_id", "public_ip_address", "private_ip_address", "ip_version", "enterprise_project_id")
SHARE_TYPES, SHARE_TYPES_ASKED = "allow_share_bandwidth_types", "allow_share_bandwidth_type_any"


def create_publicip(call: Call) -> Result:
    """POST /v1/{project_id}/publicips."""
    return eip.create_publicip(call.fleet, call.caller, eip_checks.create_publicip(call.body))


def list_publicips(call: Call) -> Result:
    """GET /v1/{project_id}/publicips."""
    filters = call.filters(*FILTERS)
    if share_types := call.values(SHARE_TYPES_ASKED):
        filters[SHARE_TYPES] = share_types
    return eip.list_publicips(call.fleet, call.caller, page(call.query, network_error, BAD_EIP, filters))


def show_publicip(call: Call) -> Result:
    """GET /v1/{project_id}/publicips/{publicip_id}."""
    return eip.show_publicip(call.fleet, call.caller, call.params[0])


def update_publicip(call: Call) -> Result:
    """PUT /v1/{project_id}/publicips/{publicip_id}."""
    return eip.update_publicip(call.fleet, call.caller, call.params[0], eip_checks.update_publicip(call.body))


def delete_publicip(call: Call) -> Result:
    """DELETE /v1/{project_id}/publicips/{publicip_id}."""
    eip.delete_publicip(call.fleet, call.caller, call.params[0])
    return NO_CONTENT


def create_shared_bandwidth(call: Call) -> Result:
    """POST /v2.0/{project_id}/bandwidths."""
    return bandwidths.create_shared_bandwidth(call.fleet, call.caller, eip_checks.create_shared_bandwidth(call.body))


def list_bandwidths(call: Call) -> Result:
    """GET /v1/{project_id}/bandwidths."""
    asked = page(call.query, network_error, BAD_BANDWIDTH, call.filters("share_type", "enterprise_project_id"))
    return bandwidths.list_bandwidths(call.fleet, call.caller, asked)


def show_bandwidth(call: Call) -> Result:
    """GET /v1/{project_id}/bandwidths/{bandwidth_id}."""
    return bandwidths.show_bandwidth(call.fleet, call.caller, call.params[0])


def update_publicip_bandwidth(call: Call) -> Result:
    """PUT /v1/{project_id}/bandwidths/{bandwidth_id}."""
    return bandwidths.update_bandwidth(call.fleet, call.caller, call.params[0], eip_checks.update_bandwidth(call.body))


def delete_shared_bandwidth(call: Call) -> Result:
    """DELETE /v2.0/{project_id}/bandwidths/{bandwidth_id}."""
    bandwidths.delete_shared_bandwidth(call.fleet, call.caller, call.params[0])
    return NO_CONTENT
