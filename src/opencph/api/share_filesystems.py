"""Shared file systems over HTTP: decode, call the rule, answer."""

from __future__ import annotations

from opencph.api.call import Call, Result
from opencph.fleet import share_filesystems as rules
from opencph.wire import share_filesystems as checks


def attach_share_filesystem(call: Call) -> Result:
    """POST /v1/{project_id}/servers/attach-share-filesystem."""
    return rules.attach_share_filesystem(call.fleet, call.caller, call.request_id, checks.attach_share_filesystem(call.body))


def detach_share_filesystem(call: Call) -> Result:
    """POST /v1/{project_id}/servers/detach-share-filesystem."""
    return rules.detach_share_filesystem(call.fleet, call.caller, call.request_id, checks.detach_share_filesystem(call.body))
