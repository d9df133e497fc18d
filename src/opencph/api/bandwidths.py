"""Bandwidths over HTTP: decode, call the rule, answer."""

from __future__ import annotations

from opencph.api.call import Call, Result
from opencph.fleet import bandwidths as rules
from opencph.wire import bandwidths as checks


def show_bandwidth_detail(call: Call) -> Result:
    """GET /v1/{project_id}/cloud-phone/bandwidths."""
    return rules.show_bandwidth_detail(call.fleet, call.caller, call.request_id, checks.show_bandwidth_detail(call.query))


def update_bandwidth(call: Call) -> Result:
    """PUT /v1/{project_id}/cloud-phone/bandwidths/{band_width_id}."""
    bandwidth_id = checks.band_width_id(call.params[0])
    return rules.update_bandwidth(call.fleet, call.caller, call.request_id, bandwidth_id, checks.update_bandwidth(call.body))
