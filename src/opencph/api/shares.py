"""Shared apps and files over HTTP: decode, call the rule, answer."""

from __future__ import annotations

from opencph.api.call import Call, Result
from opencph.fleet import shares
from opencph.wire import share_checks
from opencph.wire.checks import check_id
from opencph.wire.shares import PushShareFilesRequest


def push_share_apps(call: Call) -> Result:
    """POST /v1/{project_id}/cloud-phone/phones/share-apps."""
    body = share_checks.push_share_apps(call.body)
    return shares.push_share_apps(call.fleet, call.caller, call.request_id, body)


def delete_share_apps(call: Call) -> Result:
    """DELETE /v1/{project_id}/cloud-phone/phones/share-apps."""
    body = share_checks.delete_share_apps(call.body)
    return shares.delete_share_apps(call.fleet, call.caller, call.request_id, body)


def list_share_apps_snapshot(call: Call) -> Result:
    """GET /v1/{project_id}/servers/{server_id}/share-apps-snapshot."""
    server_id = check_id(call.params[0], "CPS.0016", "server_id")
    query = share_checks.list_share_apps_snapshot(call.query)
    return shares.list_share_apps_snapshot(call.fleet, call.caller, call.request_id, server_id, query)


def push_share_files(call: Call) -> Result:
    """POST /v1/{project_id}/cloud-phone/phones/share-files: PushShareFiles, or DeleteShareFiles when the body has `file_paths`."""
    body = share_checks.push_share_files(call.body)
    if isinstance(body, PushShareFilesRequest):
        return shares.push_share_files(call.fleet, call.caller, call.request_id, body)
    return shares.delete_share_files(call.fleet, call.caller, call.request_id, body)


def list_share_files(call: Call) -> Result:
    """GET /v1/{project_id}/cloud-phone/servers/share-files."""
    query = share_checks.list_share_files(call.query)
    return shares.list_share_files(call.fleet, call.caller, call.request_id, query)
