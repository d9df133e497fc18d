"""Shared file systems on the wire (cph-api.md section 4, numbers 13 and 14), with their checks."""

from __future__ import annotations

import re

import msgspec

from opencph.wire.checks import Fields, json_object
from opencph.wire.errors import CphError
from opencph.wire.server_action_checks import server_ids_of
from opencph.wire.server_actions import ServerJobsResponse

SERVERS_PER_CALL = 20
TYPES = ("sfs_turbo",)
PATH_MAX_BYTES = 1024
ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_PATH = re.compile(r"/([A-Za-z0-9_+=@. -]+/?)*")

AttachShareFilesystemResponse = ServerJobsResponse
DetachShareFilesystemResponse = ServerJobsResponse


class AttachShareFilesystemRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/servers/attach-share-filesystem."""

    type: str  # sfs_turbo
    id: str
    server_ids: tuple[str, ...]  # 1 to 20
    path: str = "/"  # of a directory in the file system, normalised


class DetachShareFilesystemRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/servers/detach-share-filesystem."""

    type: str  # sfs_turbo
    id: str
    server_ids: tuple[str, ...]  # 1 to 20


def attach_share_filesystem(body: bytes) -> AttachShareFilesystemRequest:
    """Decode and check the body of AttachShareFilesystem."""
    fields = Fields(json_object(body))
    kind, share_id, server_ids = _common(fields)
    rule = "must begin with / and have letters, digits, space and _ + = @ . - only"
    path = fields.optional_text("path", "CPS.0199", max_bytes=PATH_MAX_BYTES, pattern=_PATH, rule=rule) or "/"
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise CphError("CPS.0199", "path must not contain '..'")
    return AttachShareFilesystemRequest(type=kind, id=share_id, server_ids=server_ids, path="/" + "/".join(parts))


def detach_share_filesystem(body: bytes) -> DetachShareFilesystemRequest:
    """Decode and check the body of DetachShareFilesystem."""
    kind, share_id, server_ids = _common(Fields(json_object(body)))
    return DetachShareFilesystemRequest(type=kind, id=share_id, server_ids=server_ids)


def _common(fields: Fields) -> tuple[str, str, tuple[str, ...]]:
    kind = fields.word("type", "CPS.0116", TYPES)
    share_id = fields.text("id", "CPS.0086", pattern=ID, rule="must be 1 to 64 letters, digits, _ and -")
    return kind, share_id, server_ids_of(fields, SERVERS_PER_CALL)
