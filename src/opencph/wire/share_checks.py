"""Checks of the bodies and queries of shared apps and files (cph-api.md operations 42 to 47). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from opencph.wire.checks import Fields, item_id_of, json_object
from opencph.wire.command_checks import PACKAGE, object_name
from opencph.wire.errors import CphError, shown
from opencph.wire.object_names import ObjectName
from opencph.wire.query_checks import limit_of, page_of
from opencph.wire.server_action_checks import server_ids_of
from opencph.wire.shares import (
    DeleteShareAppsRequest,
    DeleteShareFilesRequest,
    ListShareAppsSnapshotQuery,
    ListShareFilesQuery,
    PushShareAppsRequest,
    PushShareFilesRequest,
)

PACKAGE_BYTES = 128
PUSH_SERVERS, SERVERS = 20, 100  # the second is ours
PATH_BYTES, PATHS_MAX = 4096, 1000  # the number is ours
LIST_LIMIT, SNAPSHOT_LIMIT, SNAPSHOT_DEFAULT = 50, 500, 100

SHARED_PATH = re.compile(r"/[A-Za-z0-9./\- _=]+")
LISTED_PATH = re.compile(r"/[A-Za-z0-9.+\-_/=]+")
_PACKAGE_RULE = "letters, digits, '_' and '.', at least one '.', beginning with a letter"


def push_share_apps(body: bytes) -> PushShareAppsRequest:
    """Decode and check the body of PushShareApps."""
    fields = Fields(json_object(body))
    package = _package(fields)
    pre_install = fields.choice("pre_install_app", "CPS.0173", (0, 1)) if fields.given("pre_install_app") else 0
    name = _archive(fields)
    servers = server_ids_of(fields, PUSH_SERVERS)
    return PushShareAppsRequest(package_name=package, pre_install_app=pre_install, object=name, server_ids=servers)


def delete_share_apps(body: bytes) -> DeleteShareAppsRequest:
    """Decode and check the body of DeleteShareApps."""
    fields = Fields(json_object(body))
    return DeleteShareAppsRequest(package_name=_package(fields), server_ids=server_ids_of(fields, SERVERS))


def push_share_files(body: bytes) -> PushShareFilesRequest | DeleteShareFilesRequest:
    """Decode and check the body of PushShareFiles or DeleteShareFiles: `file_paths` makes it the latter."""
    fields = Fields(json_object(body))
    if not fields.given("file_paths"):
        return PushShareFilesRequest(object=_archive(fields), server_ids=server_ids_of(fields, PUSH_SERVERS))
    servers = server_ids_of(fields, SERVERS)
    paths = fields.texts("file_paths", "CPS.0155", empty="CPS.0155")
    if len(paths) > PATHS_MAX:
        raise CphError("CPS.0155", f"file_paths has {len(paths)} paths: at most {PATHS_MAX}")
    for path in paths:
        if len(path.encode()) > PATH_BYTES or SHARED_PATH.fullmatch(path) is None or ".." in path:
            rule = f"must be an absolute path of at most {PATH_BYTES} bytes: letters, digits, spaces and ./-_=, without '..'"
            raise CphError("CPS.0155", f"file_paths {shown(path)}: {rule}")
    return DeleteShareFilesRequest(file_paths=tuple(paths), server_ids=servers)


def list_share_files(query: Mapping[str, str]) -> ListShareFilesQuery:
    """Check the query of ListShareFiles."""
    offset, limit = page_of(query, LIST_LIMIT)
    server_ids = tuple(item_id_of(one) for one in query.get("server_ids", "").split(",") if one)
    if not server_ids:
        raise CphError("CPS.0095", "server_ids is mandatory")
    if len(server_ids) > SERVERS:
        raise CphError("CPS.0096", f"server_ids has {len(server_ids)} servers: at most {SERVERS} per call")
    path = query.get("path", "")
    if LISTED_PATH.fullmatch(path) is None or "//" in path or ".." in path.split("/") or len(path) > PATH_BYTES:
        rule = "must be an absolute path below '/', of letters, digits and .+-_/=, without '../' and '//'"
        raise CphError("CPS.0199", f"path {shown(path)}: {rule}")
    return ListShareFilesQuery(server_ids=server_ids, path=path.rstrip("/"), offset=offset, limit=min(limit, LIST_LIMIT))


def list_share_apps_snapshot(query: Mapping[str, str]) -> ListShareAppsSnapshotQuery:
    """Check the query of ListShareAppsSnapshot."""
    package = query.get("package_name") or None
    if package is not None and (PACKAGE.fullmatch(package) is None or len(package) > PACKAGE_BYTES):
        raise CphError("CPS.0173", f"package_name {shown(package)}: {_PACKAGE_RULE}")
    return ListShareAppsSnapshotQuery(
        limit=limit_of(query, SNAPSHOT_LIMIT, SNAPSHOT_DEFAULT), marker=query.get("marker") or None, package_name=package
    )


def _package(fields: Fields) -> str:
    return fields.text("package_name", "CPS.0173", max_bytes=PACKAGE_BYTES, pattern=PACKAGE, rule=_PACKAGE_RULE)


def _archive(fields: Fields) -> ObjectName:
    name = object_name(fields)
    if not name.key.endswith(".tar"):
        raise CphError("CPS.0135", f"object_path {shown(name.key)} must name a tar archive (.tar)")
    return name
