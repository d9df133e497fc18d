"""Server and phone flavors over HTTP."""

from __future__ import annotations

from opencph.api.call import Call, Result
from opencph.fleet import catalogue, offerings
from opencph.wire import query_checks


def list_cloud_phone_server_models(call: Call) -> Result:
    """GET /v1/{project_id}/cloud-phone/server-models."""
    query = query_checks.list_cloud_phone_server_models(call.query)
    return catalogue.list_cloud_phone_server_models(call.fleet, call.caller, call.request_id, query)


def list_cloud_phone_models(call: Call) -> Result:
    """GET /v1/{project_id}/cloud-phone/phone-models."""
    query = query_checks.list_cloud_phone_models(call.query)
    return catalogue.list_cloud_phone_models(call.fleet, call.caller, call.request_id, query)


def list_cloud_phone_server_model_offerings(call: Call) -> Result:
    """GET /v1/{project_id}/server-model-offerings."""
    query = query_checks.list_cloud_phone_server_model_offerings(call.query)
    return offerings.list_cloud_phone_server_model_offerings(call.fleet, call.caller, call.request_id, query)
