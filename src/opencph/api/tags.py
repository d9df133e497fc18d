"""Tags over HTTP: decode, call the rule, answer."""

from __future__ import annotations

from opencph.api.call import NO_CONTENT, Call, Result
from opencph.fleet import tags as rules
from opencph.wire import query_checks, tag_checks
from opencph.wire.checks import check_id


def batch_create_tags(call: Call) -> Result:
    """POST /v1/{project_id}/{resource_type}/{resource_id}/tags/action: BatchCreateTags, or BatchDeleteTags, as `action` says.

    204, the only status that Terraform accepts here.
    """
    tag_checks.check_resource_type(call.params[0])
    server_id = check_id(call.params[1], "CPS.0016", "resource_id")
    body = tag_checks.batch_tags(call.body)
    rule = rules.batch_create_tags if body.action == "create" else rules.batch_delete_tags
    rule(call.fleet, call.caller, server_id, body)
    return NO_CONTENT


def list_resource_tags(call: Call) -> Result:
    """GET /v1/{project_id}/{resource_type}/{resource_id}/tags."""
    tag_checks.check_resource_type(call.params[0])
    return rules.list_resource_tags(call.fleet, call.caller, check_id(call.params[1], "CPS.0016", "resource_id"))


def list_project_tags(call: Call) -> Result:
    """GET /v1/{project_id}/{resource_type}/tags."""
    tag_checks.check_resource_type(call.params[0])
    return rules.list_project_tags(call.fleet, call.caller, query_checks.list_project_tags(call.query))


def list_resource_instances(call: Call) -> Result:
    """POST /v1/{project_id}/{resource_type}/resource_instances/action."""
    tag_checks.check_resource_type(call.params[0])
    return rules.list_resource_instances(call.fleet, call.caller, tag_checks.list_resource_instances(call.body))
