"""Phones over HTTP: decode, call the rule, answer."""

from __future__ import annotations

from opencph.api.call import Call, Result
from opencph.fleet import connections, phone_power, phone_updates
from opencph.fleet import phones as rules
from opencph.wire import connections as wire_connections
from opencph.wire import phone_checks, query_checks
from opencph.wire.checks import check_id


def list_cloud_phones(call: Call) -> Result:
    """GET /v1/{project_id}/cloud-phone/phones."""
    query = query_checks.list_cloud_phones(call.query)
    return rules.list_cloud_phones(call.fleet, call.caller, call.request_id, query)


def looks_at_every_phone(call: Call) -> bool:
    """Whether the filters of ListCloudPhones are such that the database goes through all phones of the project."""
    return b"status=" in call.raw_query or b"phone_name=" in call.raw_query


def show_cloud_phone_detail(call: Call) -> Result:
    """GET /v1/{project_id}/cloud-phone/phones/{phone_id}."""
    phone_id = check_id(call.params[0], "CPS.0004", "phone_id")
    return rules.show_cloud_phone_detail(call.fleet, call.caller, call.request_id, phone_id)


def restart_cloud_phone(call: Call) -> Result:
    """POST /v1/{project_id}/cloud-phone/phones/batch-restart."""
    body = phone_checks.restart_cloud_phone(call.body)
    return phone_power.restart_cloud_phone(call.fleet, call.caller, call.request_id, body)


def reset_cloud_phone(call: Call) -> Result:
    """POST /v1/{project_id}/cloud-phone/phones/batch-reset."""
    body = phone_checks.reset_cloud_phone(call.body)
    return phone_power.reset_cloud_phone(call.fleet, call.caller, call.request_id, body)


def stop_cloud_phone(call: Call) -> Result:
    """POST /v1/{project_id}/cloud-phone/phones/batch-stop."""
    body = phone_checks.stop_cloud_phone(call.body)
    return phone_power.stop_cloud_phone(call.fleet, call.caller, call.request_id, body)


def update_phone_name(call: Call) -> Result:
    """PUT /v1/{project_id}/cloud-phone/phones/{phone_id}."""
    phone_id = check_id(call.params[0], "CPS.0004", "phone_id")
    body = phone_checks.update_phone_name(call.body)
    return phone_updates.update_phone_name(call.fleet, call.caller, call.request_id, phone_id, body)


def update_cloud_phone_property(call: Call) -> Result:
    """POST /v1/{project_id}/cloud-phone/phones/batch-update-property."""
    body = phone_checks.update_cloud_phone_property(call.body)
    return phone_updates.update_cloud_phone_property(call.fleet, call.caller, call.request_id, body)


def import_traffic(call: Call) -> Result:
    """POST /v1/{project_id}/cloud-phone/phones-traffic."""
    body = phone_checks.import_traffic(call.body)
    return phone_updates.import_traffic(call.fleet, call.caller, call.request_id, body)


def batch_show_phone_connect_infos(call: Call) -> Result:
    """POST /v1/{project_id}/cloud-phone/phones/batch-connection."""
    body = wire_connections.batch_show_phone_connect_infos(call.body)
    return connections.batch_show_phone_connect_infos(call.fleet, call.caller, call.request_id, body)
