"""Custom images and their sharing, on the wire (cph-api.md section 4, numbers 29 to 34), with their checks."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from opencph.wire.checks import Fields, check_id, json_object
from opencph.wire.errors import CphError, shown
from opencph.wire.models import PageInfo
from opencph.wire.query_checks import choice, id_of, page_of, since, text

PRIVATE, SHARE = "private", "share"
CREATING, PRODUCTION, CREATE_FAILED = 0, 1, 2
MEMBERS_MAX = 10
PROJECT_ID_MAX_BYTES = 64


class ListImagesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v1/{project_id}/cloud-phone/images. Times in seconds since the epoch."""

    offset: int = 0
    limit: int = 100
    image_type: str | None = None  # private | share; None: both
    status: int | None = None
    image_id: str | None = None
    image_name: str | None = None
    create_since: int | None = None
    create_until: int | None = None
    src_project_id: str | None = None


class ImageInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A custom image, of the project or shared with it. Size in bytes."""

    domain_id: str
    image_name: str
    update_time: str
    create_time: str
    image_size: int
    project_id: str | None = None  # of private ones
    image_id: str
    image_version: str
    image_type: str
    status: int
    src_project_id: str | None = None  # of shared ones


class ListImagesResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A page of custom images, newest first; `total` is how many there are."""

    request_id: str
    image_infos: list[ImageInfo]
    total: int


class ImageActionResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """It is done."""

    request_id: str
    error_code: str | None = None
    error_msg: str | None = None


DeleteImageResponse = ImageActionResponse
AddImageMemberResponse = ImageActionResponse
DeleteImageMemberResponse = ImageActionResponse


class UpdateImageMemberResponse(msgspec.Struct, frozen=True, kw_only=True):
    """It is accepted or rejected."""

    request_id: str


class AddImageMemberRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/images/{image_id}/members."""

    member: str


class UpdateImageMemberRequest(msgspec.Struct, frozen=True, kw_only=True):
    """PUT /v1/{project_id}/cloud-phone/images/{image_id}/members."""

    status: str  # accepted | rejected


class ListImageMembersQuery(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v1/{project_id}/cloud-phone/images/{image_id}/members."""

    marker: str | None = None
    limit: int = 100


class ImageMember(msgspec.Struct, frozen=True, kw_only=True):
    """A project that an image is shared with. Times in milliseconds since the epoch."""

    create_time: int
    update_time: int
    image_id: str
    member_id: str


class ListImageMembersResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A page of members, by project id."""

    request_id: str
    members: list[ImageMember]
    page_info: PageInfo


def list_images(query: Mapping[str, str]) -> ListImagesQuery:
    """Check the query of ListImages."""
    image_type = query.get("image_type") or None
    if image_type not in (None, PRIVATE, SHARE):
        raise CphError("CPS.0116", f"image_type {shown(image_type)}: must be {PRIVATE} or {SHARE}")
    offset, limit = page_of(query, 100)
    create_since, create_until = since(query)
    return ListImagesQuery(
        offset=offset,
        limit=limit,
        image_type=image_type,
        status=choice(query, "status", "CPS.0010", (CREATING, PRODUCTION, CREATE_FAILED)),
        image_id=id_of(query, "image_id", "CPS.0030"),
        image_name=text(query, "image_name", "CPS.0162"),
        create_since=create_since,
        create_until=create_until,
        src_project_id=id_of(query, "src_project_id", "CPS.0046", _project_id),
    )


def list_image_members(query: Mapping[str, str]) -> ListImageMembersQuery:
    """Check the query of ListImageMembers."""
    return ListImageMembersQuery(marker=text(query, "marker", "CPS.0002"), limit=page_of(query, 100)[1])


def image_id(value: str) -> str:
    """The id of a custom image in the path. Raises CPS.0030."""
    return check_id(value, "CPS.0030", "image_id")


def member_id(value: str) -> str:
    """The id of the project in the path that an image is shared with. Raises CPS.0046."""
    return _project_id(value, "CPS.0046", "member_id")


def _project_id(value: str, code: str, field: str) -> str:
    return Fields({field: value}).text(field, code, max_bytes=PROJECT_ID_MAX_BYTES)


def add_image_member(body: bytes) -> AddImageMemberRequest:
    """Decode and check the body of AddImageMember."""
    member = Fields(json_object(body)).text("member", "CPS.0046", max_bytes=PROJECT_ID_MAX_BYTES)
    return AddImageMemberRequest(member=member)


def update_image_member(body: bytes) -> UpdateImageMemberRequest:
    """Decode and check the body of UpdateImageMember."""
    return UpdateImageMemberRequest(status=Fields(json_object(body)).word("status", "CPS.0010", ("accepted", "rejected")))
