"""Phone images over HTTP."""

from __future__ import annotations

from opencph.api.call import Call, Result
from opencph.fleet import catalogue
from opencph.wire import query_checks


def list_cloud_phone_images(call: Call) -> Result:
    """GET /v1/{project_id}/cloud-phone/phone-images."""
    query = query_checks.list_cloud_phone_images(call.query)
    return catalogue.list_cloud_phone_images(call.fleet, call.caller, call.request_id, query)
