"""Encode servers over HTTP: decode, call the rule, answer."""

from __future__ import annotations

from opencph.api.call import Call, Result
from opencph.fleet import encode_servers as rules
from opencph.wire import encode_servers as checks


def list_encode_servers(call: Call) -> Result:
    """GET /v1/{project_id}/cloud-phone/encode-servers."""
    return rules.list_encode_servers(call.fleet, call.caller, call.request_id, checks.list_encode_servers(call.query))


def restart_encode_server(call: Call) -> Result:
    """POST /v1/{project_id}/cloud-phone/encode-servers/batch-restart."""
    return rules.restart_encode_server(call.fleet, call.caller, call.request_id, checks.restart_encode_server(call.body))
