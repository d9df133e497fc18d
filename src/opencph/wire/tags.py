"""Tags of servers on the wire, in the form of the tag management service (cph-api.md section 4, numbers 52 to 56). Checks live in
`tag_checks`."""

from __future__ import annotations

import msgspec


class Tag(msgspec.Struct, frozen=True, kw_only=True):
    """A tag of a resource."""

    key: str
    value: str


class BatchTagsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/{resource_type}/{resource_id}/tags/action. The answer has no body."""

    action: str  # create | delete
    tags: tuple[Tag, ...]  # at least one, each key once


BatchCreateTagsRequest = BatchTagsRequest
BatchDeleteTagsRequest = BatchTagsRequest


class ListResourceTagsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The tags of one resource, by key."""

    tags: list[Tag]


class ListProjectTagsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v1/{project_id}/{resource_type}/tags."""

    offset: int = 0
    limit: int = 100


class TagValues(msgspec.Struct, frozen=True, kw_only=True):
    """A key and several values: those in use, or those looked for."""

    key: str
    values: list[str]


class ListProjectTagsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the keys in use, each with its values; `total_count` is the number of keys."""

    tags: list[TagValues]
    total_count: int


class ListResourceInstancesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/{resource_type}/resource_instances/action. Different keys are ANDed, values of one key ORed."""

    action: str  # filter | count
    offset: int = 0
    limit: int = 1000
    without_any_tag: bool = False
    tags: tuple[TagValues, ...] = ()
    resource_name: str | None = None


class ResourceInstance(msgspec.Struct, frozen=True, kw_only=True):
    """A resource that was found. `resource_detail` is JSON text."""

    resource_id: str
    resource_detail: str
    resource_name: str
    tags: list[Tag]


class ResourceDetail(msgspec.Struct, frozen=True, kw_only=True):
    """What `resource_detail` says of a server."""

    server_id: str
    server_name: str
    status: int
    server_model_name: str
    phone_model_name: str
    availability_zone: str


class ListResourceInstancesResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A page of resources, newest first; `count` leaves them out."""

    resources: list[ResourceInstance] | None = None
    total_count: int
