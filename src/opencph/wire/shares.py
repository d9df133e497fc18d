"""Shared apps and files of servers: bodies, queries and answers (cph-api.md operations 42 to 47). Checks live in `share_checks`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from opencph.wire.object_names import ObjectName
from opencph.wire.server_actions import ServerJobsResponse


class PushShareAppsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST phones/share-apps."""

    package_name: str
    pre_install_app: int
    object: ObjectName
    server_ids: tuple[str, ...]


class DeleteShareAppsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """DELETE phones/share-apps."""

    package_name: str
    server_ids: tuple[str, ...]


class PushShareFilesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST phones/share-files with an object."""

    object: ObjectName
    server_ids: tuple[str, ...]


class DeleteShareFilesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST phones/share-files with paths: the body decides."""

    file_paths: tuple[str, ...]
    server_ids: tuple[str, ...]


class ListShareFilesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """GET servers/share-files."""

    server_ids: tuple[str, ...]
    path: str
    offset: int = 0
    limit: int = 50


class ListShareFilesParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The same query as it is sent, with commas between the servers."""

    server_ids: Annotated[str, Meta(min_length=1)]
    path: Annotated[str, Meta(min_length=2)]
    offset: int | None = None
    limit: int | None = None


class ListShareAppsSnapshotQuery(msgspec.Struct, frozen=True, kw_only=True):
    """GET servers/{server_id}/share-apps-snapshot."""

    limit: int = 100
    marker: str | None = None
    package_name: str | None = None


class ShareApp(msgspec.Struct, frozen=True, kw_only=True):
    """A shared app and its versions."""

    package_name: str
    versions: list[str]


class SharePageInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the next page begins; absent on the last one."""

    next_marker: str | None = None


class ListShareAppsSnapshotResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the shared apps of a server, by package name."""

    request_id: str
    collect_time: str
    share_apps: list[ShareApp]
    page_info: SharePageInfo


PushShareAppsResponse = DeleteShareAppsResponse = PushShareFilesResponse = DeleteShareFilesResponse = ServerJobsResponse
ListShareFilesResponse = ServerJobsResponse
