"""Cloud phone servers over HTTP: decode, call the rule, answer."""

from __future__ import annotations

from opencph.api.call import Call, Result
from opencph.fleet import (
    bare_servers,
    server_change,
    server_create,
    server_delete,
    server_keypair,
    server_model_change,
    server_restart,
)
from opencph.fleet import servers as rules
from opencph.wire import bare_servers as wire_bare_servers
from opencph.wire import query_checks, server_action_checks, server_checks
from opencph.wire.checks import check_id


def create_net2_cloud_phone_server(call: Call) -> Result:
    """POST /v2/{project_id}/cloud-phone/servers."""
    body = server_checks.create_net2_cloud_phone_server(call.body)
    return server_create.create_net2_cloud_phone_server(call.fleet, call.caller, call.request_id, body)


def create_cloud_phone_single_server(call: Call) -> Result:
    """POST /v2.1/{project_id}/cloud-phone/servers."""
    body = wire_bare_servers.create_cloud_phone_single_server(call.body)
    return bare_servers.create_cloud_phone_single_server(call.fleet, call.caller, call.request_id, body)


def list_cloud_phone_servers(call: Call) -> Result:
    """GET /v1/{project_id}/cloud-phone/servers."""
    query = query_checks.list_cloud_phone_servers(call.query)
    return rules.list_cloud_phone_servers(call.fleet, call.caller, call.request_id, query)


def show_cloud_phone_server_detail(call: Call) -> Result:
    """GET /v1/{project_id}/cloud-phone/servers/{server_id}."""
    server_id = check_id(call.params[0], "CPS.0016", "server_id")
    return rules.show_cloud_phone_server_detail(call.fleet, call.caller, call.request_id, server_id)


def change_cloud_phone_server(call: Call) -> Result:
    """POST /v2/{project_id}/cloud-phone/servers/{server_id}/change."""
    server_id = check_id(call.params[0], "CPS.0016", "server_id")
    body = server_checks.change_cloud_phone_server(call.body)
    return server_change.change_cloud_phone_server(call.fleet, call.caller, call.request_id, server_id, body)


def delete_cloud_phone_server(call: Call) -> Result:
    """DELETE /v2/{project_id}/cloud-phone/servers."""
    body = server_checks.delete_cloud_phone_server(call.body)
    return server_delete.delete_cloud_phone_server(call.fleet, call.caller, call.request_id, body)


def update_server_name(call: Call) -> Result:
    """PUT /v1/{project_id}/cloud-phone/servers/{server_id}."""
    server_id = check_id(call.params[0], "CPS.0016", "server_id")
    body = server_action_checks.update_server_name(call.body)
    return rules.update_server_name(call.fleet, call.caller, call.request_id, server_id, body)


def change_cloud_phone_server_model(call: Call) -> Result:
    """POST /v1/{project_id}/cloud-phone/servers/change-server-model."""
    body = server_action_checks.change_cloud_phone_server_model(call.body)
    return server_model_change.change_cloud_phone_server_model(call.fleet, call.caller, call.request_id, body)


def restart_cloud_phone_server(call: Call) -> Result:
    """POST /v1/{project_id}/cloud-phone/servers/batch-restart."""
    body = server_action_checks.restart_cloud_phone_server(call.body)
    return server_restart.restart_cloud_phone_server(call.fleet, call.caller, call.request_id, body)


def update_keypair(call: Call) -> Result:
    """PUT /v1/{project_id}/cloud-phone/servers/open-access."""
    body = server_action_checks.update_keypair(call.body)
    return server_keypair.update_keypair(call.fleet, call.caller, call.request_id, body)
