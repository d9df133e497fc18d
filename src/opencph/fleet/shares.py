"""Accepting pushes, removals and listings of shared apps and files (operations 42 to 47). The worker's part is `share_jobs`."""

from __future__ import annotations

import re

from sqlalchemy import bindparam, select

from opencph.fleet import Fleet
from opencph.fleet.command_payloads import (
    DELETE_SHARE_APP,
    DELETE_SHARE_FILES,
    LIST_SHARE_FILES,
    PUSH_SHARE_APP,
    PUSH_SHARE_FILES,
    DeleteShareAppJob,
    DeleteShareFilesJob,
    ListShareFilesJob,
    PushShareAppJob,
    PushShareFilesJob,
)
from opencph.fleet.ids import new_id
from opencph.fleet.server_batches import accept_sharing
from opencph.fleet.shared_storage import APPS
from opencph.fleet.times import now_ms, utc_text
from opencph.iam import Caller
from opencph.store import tables
from opencph.store.database import Query, scalar
from opencph.wire.errors import CphError, shown
from opencph.wire.server_actions import ServerJobsResponse
from opencph.wire.shares import (
    DeleteShareAppsRequest,
    DeleteShareFilesRequest,
    ListShareAppsSnapshotQuery,
    ListShareAppsSnapshotResponse,
    ListShareFilesQuery,
    PushShareAppsRequest,
    PushShareFilesRequest,
    ShareApp,
    SharePageInfo,
)

_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}")
_VERSION_RULE = "must be 1 to 32 letters, digits, - _ . and begin with none of - ."
_OTHERS = re.compile(r"[A-Za-z][A-Za-z0-9]*(\.[A-Za-z0-9]+)+_")
_SERVER: Query[str] = Query(
    select(tables.servers.c.server_id).where(
        tables.servers.c.server_id == bindparam("server_id"), tables.servers.c.project_id == bindparam("project_id")
    ),
    scalar,
)


def version_of(package_name: str, key: str) -> str:
    """The version in an object's name, `<package_name>_<version>.tar`; "1" for names of another form.

    Raises CphError CPS.0135 for a name of this form that is another package's, or whose version no app may have.
    """
    name = key.rpartition("/")[2].removesuffix(".tar")
    if name.startswith(f"{package_name}_"):
        version = name.removeprefix(f"{package_name}_")
        if _VERSION.fullmatch(version) is None:
            raise CphError("CPS.0135", f"object_path: the version {shown(version)} {_VERSION_RULE}")
        return version
    if _OTHERS.match(name):
        rule = f"name it {package_name}_<version>.tar"
        raise CphError("CPS.0135", f"object_path: {shown(name)}.tar is the name of another package than {package_name}; {rule}")
    return "1"


def push_share_apps(fleet: Fleet, caller: Caller, request_id: str, body: PushShareAppsRequest) -> ServerJobsResponse:
    """A job per server: its shared storage gets the app, and every phone of it too. Raises CPS.0135 for the object's name."""
    version = version_of(body.package_name, body.object.key)
    payload = PushShareAppJob(
        package_name=body.package_name,
        version=version,
        pre_install=body.pre_install_app,
        bucket=body.object.bucket,
        key=body.object.key,
        archive=new_id(),
    )
    return accept_sharing(fleet, caller, request_id, body.server_ids, PUSH_SHARE_APP, payload)


def delete_share_apps(fleet: Fleet, caller: Caller, request_id: str, body: DeleteShareAppsRequest) -> ServerJobsResponse:
    """A job per server: all versions of the app are gone from the storage, and from the phones."""
    payload = DeleteShareAppJob(package_name=body.package_name)
    return accept_sharing(fleet, caller, request_id, body.server_ids, DELETE_SHARE_APP, payload)


def push_share_files(fleet: Fleet, caller: Caller, request_id: str, body: PushShareFilesRequest) -> ServerJobsResponse:
    """A job per server: its shared storage gets the files of the archive, and every phone of it too."""
    payload = PushShareFilesJob(bucket=body.object.bucket, key=body.object.key, archive=new_id())
    return accept_sharing(fleet, caller, request_id, body.server_ids, PUSH_SHARE_FILES, payload)


def delete_share_files(fleet: Fleet, caller: Caller, request_id: str, body: DeleteShareFilesRequest) -> ServerJobsResponse:
    """A job per server: the files, and all below where a path is a directory, are gone from the storage and the phones."""
    payload = DeleteShareFilesJob(file_paths=body.file_paths)
    return accept_sharing(fleet, caller, request_id, body.server_ids, DELETE_SHARE_FILES, payload)


def list_share_files(fleet: Fleet, caller: Caller, request_id: str, query: ListShareFilesQuery) -> ServerJobsResponse:
    """A job per server, whose execute_msg is the listing (cph-api.md section 6)."""
    payload = ListShareFilesJob(path=query.path, offset=query.offset, limit=query.limit)
    return accept_sharing(fleet, caller, request_id, query.server_ids, LIST_SHARE_FILES, payload)


def list_share_apps_snapshot(
    fleet: Fleet, caller: Caller, request_id: str, server_id: str, query: ListShareAppsSnapshotQuery
) -> ListShareAppsSnapshotResponse:
    """The shared apps of a server as they are now, a page of them by package name."""
    with fleet.database.read() as tx:
        if tx.row(_SERVER, server_id=server_id, project_id=caller.project_id) is None:
            raise CphError("CPS.0015", f"server_id {server_id} does not exist in this project")
        rows = tx.rows(APPS, of_server=server_id)
    if query.marker is not None and query.marker not in {row.package_name for row in rows}:
        raise CphError("CPS.0002", f"marker {shown(query.marker)} is unknown; take it from page_info.next_marker")
    versions: dict[str, list[str]] = {}
    for row in rows:
        if query.package_name in (None, row.package_name) and (query.marker is None or row.package_name > query.marker):
            versions.setdefault(row.package_name, []).append(row.version)
    names = list(versions)[: query.limit]
    more = len(versions) > len(names)
    return ListShareAppsSnapshotResponse(
        request_id=request_id,
        collect_time=utc_text(now_ms()),
        share_apps=[ShareApp(package_name=name, versions=versions[name]) for name in names],
        page_info=SharePageInfo(next_marker=names[-1] if more else None),
    )
