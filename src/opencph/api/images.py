"""Images over HTTP: decode, call the rule, answer."""

from __future__ import annotations

from opencph.api.call import Call, Result
from opencph.fleet import images as rules
from opencph.wire import custom_images as checks
from opencph.wire import query_checks


def list_cloud_phone_images(call: Call) -> Result:
    """GET /v1/{project_id}/cloud-phone/phone-images."""
    query = query_checks.list_cloud_phone_images(call.query)
    return rules.list_cloud_phone_images(call.fleet, call.caller, call.request_id, query)


def list_images(call: Call) -> Result:
    """GET /v1/{project_id}/cloud-phone/images."""
    return rules.list_images(call.fleet, call.caller, call.request_id, checks.list_images(call.query))


def delete_image(call: Call) -> Result:
    """DELETE /v1/{project_id}/cloud-phone/images/{image_id}."""
    return rules.delete_image(call.fleet, call.caller, call.request_id, checks.image_id(call.params[0]))


def add_image_member(call: Call) -> Result:
    """POST /v1/{project_id}/cloud-phone/images/{image_id}/members."""
    image_id = checks.image_id(call.params[0])
    return rules.add_image_member(call.fleet, call.caller, call.request_id, image_id, checks.add_image_member(call.body))


def list_image_members(call: Call) -> Result:
    """GET /v1/{project_id}/cloud-phone/images/{image_id}/members."""
    image_id = checks.image_id(call.params[0])
    return rules.list_image_members(call.fleet, call.caller, call.request_id, image_id, checks.list_image_members(call.query))


def update_image_member(call: Call) -> Result:
    """PUT /v1/{project_id}/cloud-phone/images/{image_id}/members."""
    image_id = checks.image_id(call.params[0])
    return rules.update_image_member(call.fleet, call.caller, call.request_id, image_id, checks.update_image_member(call.body))


def delete_image_member(call: Call) -> Result:
    """DELETE /v1/{project_id}/cloud-phone/images/{image_id}/members/{member_id}."""
    image_id, member_id = checks.image_id(call.params[0]), checks.member_id(call.params[1])
    return rules.delete_image_member(call.fleet, call.caller, call.request_id, image_id, member_id)
