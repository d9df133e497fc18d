"""Key pairs over HTTP, in the shape of the key pair service and in Nova's: decode, call the rule, answer."""

from __future__ import annotations

from opencph.api.call import NO_CONTENT, Answer, Call, Result
from opencph.neighbours import keypairs as rules
from opencph.neighbours.paging import page
from opencph.wire import keypair_checks
from opencph.wire.keypair_checks import BAD_KEYPAIR
from opencph.wire.keypairs import NoBody
from opencph.wire.service_errors import nova_error, plain_error


def create_keypair(call: Call) -> Result:
    """POST /v3/{project_id}/keypairs."""
    return rules.create_keypair(call.fleet, call.caller, keypair_checks.create_keypair(call.body))


def list_keypairs(call: Call) -> Result:
    """GET /v3/{project_id}/keypairs."""
    return rules.list_keypairs(call.fleet, call.caller, page(call.query, plain_error, BAD_KEYPAIR, by_name=True))


def list_keypair_detail(call: Call) -> Result:
    """GET /v3/{project_id}/keypairs/{keypair_name}."""
    return rules.show_keypair(call.fleet, call.caller, call.params[0])


def update_keypair_description(call: Call) -> Result:
    """PUT /v3/{project_id}/keypairs/{keypair_name}: 200 and an object, for Terraform takes no 204 here."""
    description = keypair_checks.update_keypair_description(call.body)
    rules.update_keypair_description(call.fleet, call.caller, call.params[0], description)
    return NoBody()


def delete_keypair(call: Call) -> Result:
    """DELETE /v3/{project_id}/keypairs/{keypair_name}."""
    rules.delete_keypair(call.fleet, call.caller, call.params[0])
    return NO_CONTENT


def nova_create_keypair(call: Call) -> Result:
    """POST /v2.1/{project_id}/os-keypairs."""
    return rules.create_keypair(call.fleet, call.caller, keypair_checks.nova_create_keypair(call.body), nova_error)


def nova_list_keypairs(call: Call) -> Result:
    """GET /v2.1/{project_id}/os-keypairs."""
    return rules.nova_list_keypairs(call.fleet, call.caller, page(call.query, nova_error, BAD_KEYPAIR, by_name=True))


def nova_show_keypair(call: Call) -> Result:
    """GET /v2.1/{project_id}/os-keypairs/{keypair_name}."""
    return rules.nova_show_keypair(call.fleet, call.caller, call.params[0], nova_error)


def nova_delete_keypair(call: Call) -> Result:
    """DELETE /v2.1/{project_id}/os-keypairs/{keypair_name}: 202."""
    rules.delete_keypair(call.fleet, call.caller, call.params[0], nova_error)
    return Answer(202)
