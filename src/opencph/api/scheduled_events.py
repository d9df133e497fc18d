"""Scheduled events over HTTP: decode, call the rule, answer."""

from __future__ import annotations

from opencph.api.call import Call, Result
from opencph.fleet import scheduled_events as rules
from opencph.wire import scheduled_events as checks


def list_scheduled_events(call: Call) -> Result:
    """GET /v1/{project_id}/cloud-phone/scheduled-events."""
    query = checks.list_scheduled_events(call.query, call.values("state"), call.values("type"))
    return rules.list_scheduled_events(call.fleet, call.caller, call.request_id, query)


def authorize_scheduled_event(call: Call) -> Result:
    """POST /v1/{project_id}/cloud-phone/scheduled-events/{event_id}/authorize."""
    event_id = checks.event_id(call.params[0])
    body = checks.authorize_scheduled_event(call.body)
    return rules.authorize_scheduled_event(call.fleet, call.caller, call.request_id, event_id, body)


def update_scheduled_event(call: Call) -> Result:
    """PUT /v1/{project_id}/cloud-phone/scheduled-events/{event_id}."""
    event_id = checks.event_id(call.params[0])
    return rules.update_scheduled_event(
        call.fleet, call.caller, call.request_id, event_id, checks.update_scheduled_event(call.body)
    )
