"""Images a project may use, custom ones and their sharing (cph-api.md section 4, numbers 28 to 34). How custom ones come to be is
`image_making`, how they get into phones `image_data`; public images are the catalogue's."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

from sqlalchemy import ColumnElement, and_, bindparam, case, delete, func, insert, or_, select, update

from opencph.fleet.catalogue import marker_page
from opencph.fleet.filters import given
from opencph.fleet.times import now_ms, utc_text
from opencph.store import tables
from opencph.store.database import Query, Row, Transaction, Value, command, scalar
from opencph.wire.custom_images import (
    MEMBERS_MAX,
    PRIVATE,
    PRODUCTION,
    SHARE,
    AddImageMemberRequest,
    ImageActionResponse,
    ImageInfo,
    ImageMember,
    ListImageMembersQuery,
    ListImageMembersResponse,
    ListImagesQuery,
    ListImagesResponse,
    UpdateImageMemberRequest,
    UpdateImageMemberResponse,
)
from opencph.wire.errors import CphError, shown
from opencph.wire.images import ListCloudPhoneImagesQuery, ListCloudPhoneImagesResponse, PhoneImage
from opencph.wire.models import PageInfo

if TYPE_CHECKING:
    from pathlib import Path

    from opencph.fleet import Fleet
    from opencph.iam import Caller

BASES_REMEMBERED = 10_000
PENDING, ACCEPTED, REJECTED = 0, 1, 2
IS_PRIVATE = 2  # `is_public`

_i, _m = tables.images.c, tables.image_members.c


class _Image(NamedTuple):
    image_id: str
    project_id: str
    domain_id: str
    name: str
    base_image_id: str
    size_bytes: int
    status: int
    receive_status: int | None  # of one that is shared with the caller
    create_ms: int
    update_ms: int


_with_member = tables.images.join(tables.projects, tables.projects.c.project_id == _i.project_id).outerjoin(
    tables.image_members, and_(_m.image_id == _i.image_id, _m.project_id == bindparam("project_id"))
)
_mine = _i.project_id == bindparam("project_id")
_shared = and_(_i.project_id != bindparam("project_id"), _m.receive_status != REJECTED)
_images = select(
    _i.image_id,
    _i.project_id,
    tables.projects.c.domain_id,
    _i.name,
    _i.base_image_id,
    _i.size_bytes,
    _i.status,
    _m.receive_status,
    _i.create_ms,
    _i.update_ms,
).select_from(_with_member)
_FILTERS: dict[str, ColumnElement[bool]] = {
    PRIVATE: _mine,
    SHARE: _shared,
    "status": _i.status == bindparam("status"),
    "image_id": _i.image_id == bindparam("image_id"),
    "image_name": _i.name == bindparam("image_name"),
    "since_ms": _i.create_ms >= bindparam("since_ms"),
    "until_ms": _i.create_ms <= bindparam("until_ms"),
    "src_project_id": and_(_i.project_id == bindparam("src_project_id"), _i.project_id != bindparam("project_id")),
}
_TO_BE_SEEN = Query(
    _images.where(or_(_mine, _shared), _i.status == PRODUCTION).order_by(case((_mine, 0), else_=1), _i.seq.desc()), _Image
)
_USABLE: Query[str] = Query(
    select(_i.base_image_id)
    .select_from(_with_member)
    .where(_i.image_id == bindparam("image_id"), _i.status == PRODUCTION, or_(_mine, _m.receive_status == ACCEPTED)),
    scalar,
)
_BASE: Query[str] = Query(select(_i.base_image_id).where(_i.image_id == bindparam("image_id")), scalar)
_OWN: Query[str] = Query(select(_i.image_id).where(_i.image_id == bindparam("image_id"), _mine), scalar)
_DELETE = command(delete(tables.images).where(_i.image_id == bindparam("image_id")))
_MEMBERS = Query(
    select(_m.create_ms, _m.update_ms, _m.image_id, _m.project_id)
    .where(_m.image_id == bindparam("image_id"), _m.project_id > bindparam("after"))
    .order_by(_m.project_id)
    .limit(bindparam("limit")),
    lambda create, update, image_id, member: ImageMember(
        create_time=create, update_time=update, image_id=image_id, member_id=member
    ),
)
_MEMBER: Query[str] = Query(
    select(_m.project_id).where(_m.image_id == bindparam("image_id"), _m.project_id == bindparam("member")), scalar
)
_MEMBER_COUNT: Query[int] = Query(
    select(func.count()).select_from(tables.image_members).where(_m.image_id == bindparam("image_id")), scalar
)
_PROJECT: Query[str] = Query(
    select(tables.projects.c.project_id).where(tables.projects.c.project_id == bindparam("member")), scalar
)
_this_member = and_(_m.image_id == bindparam("of_image"), _m.project_id == bindparam("of_member"))
_SET_MEMBER = command(
    update(tables.image_members).where(_this_member).values(receive_status=bindparam("new_status"), update_ms=bindparam("now"))
)
_ADD_MEMBER = command(
    insert(tables.image_members).values(
        image_id=bindparam("of_image"),
        project_id=bindparam("of_member"),
        receive_status=PENDING,
        create_ms=bindparam("now"),
        update_ms=bindparam("now"),
    )
)
_DELETE_MEMBER = command(delete(tables.image_members).where(_this_member))


class Reader(Protocol):
    """A database or a transaction."""

    def row(self, query: Query[Row], **params: Value) -> Row | None:
        """The first row, or None."""
        ...


def archive(fleet: Fleet, image_id: str) -> Path:
    """Where the files of a custom image are."""
    return fleet.settings.data / "images" / f"{image_id}.tar"


def check_usable(tx: Transaction, fleet: Fleet, project_id: str, image_id: str, phone_model_names: set[str]) -> None:
    """Whether phones of some flavors may run an image, public or custom.

    Raises CPS.0166 unknown or not accepted, CPS.0030 withdrawn, CPS.0142 not for a flavor.
    """
    base = image_id
    if image_id not in fleet.catalogue.images:
        found = tx.row(_USABLE, project_id=project_id, image_id=image_id)
        if found is None:
            raise CphError(
                "CPS.0166", f"there is no image_id {image_id!r} that this project may use; list them with GET phone-images"
            )
        base = found
    for phone_model_name in phone_model_names:
        fleet.catalogue.image_for(base, phone_model_name)
    if not phone_model_names and base not in fleet.catalogue.images:
        raise CphError("CPS.0166", f"image_id {image_id!r} is made from {base!r}, which is gone from the catalogue")


def base_of(source: Reader, fleet: Fleet, image_id: str) -> str | None:
    """The public image that an image is or is made from; None for one that is gone."""
    if image_id in fleet.catalogue.images:
        return image_id
    base = fleet.hints.image_bases.get(image_id)
    if base is None:
        base = source.row(_BASE, image_id=image_id)
        if base is not None:
            if len(fleet.hints.image_bases) >= BASES_REMEMBERED:
                fleet.hints.image_bases.clear()
            fleet.hints.image_bases[image_id] = base  # what an image is made from never changes
    return base


def version_of(source: Reader, fleet: Fleet, image_id: str) -> str:
    """`AOSP 11.0` of an image, public or custom; "" for one that is gone."""
    base = base_of(source, fleet, image_id)
    return "" if base is None else fleet.catalogue.image_version(base)


def list_cloud_phone_images(
    fleet: Fleet, caller: Caller, request_id: str, query: ListCloudPhoneImagesQuery
) -> ListCloudPhoneImagesResponse:
    """Images the project may use or has been offered (number 28): public, private, shared.

    An image is there once for each `image_label` of the flavors it runs on.
    """
    public = list(fleet.catalogue.wire_images) if query.image_type in ("public", "all") else []
    found = public + _phone_images(fleet, caller.project_id, query.image_type)
    page, page_info = marker_page(found, lambda image: f"{image.image_id}:{image.image_label}", query.marker, query.limit)
    return ListCloudPhoneImagesResponse(request_id=request_id, phone_images=page, page_info=page_info)


def _phone_images(fleet: Fleet, project_id: str, image_type: str) -> list[PhoneImage]:
    """The custom images of ListCloudPhoneImages: private ones, then those shared with the project and not rejected."""
    if image_type not in (PRIVATE, SHARE, "all"):
        return []
    found = []
    for row in fleet.database.rows(_TO_BE_SEEN, project_id=project_id):
        base = fleet.catalogue.images.get(row.base_image_id)
        own = row.project_id == project_id
        if base is None or image_type not in ("all", PRIVATE if own else SHARE):
            continue
        found += [
            PhoneImage(
                image_name=row.name,
                os_type=base.os_type,
                is_public=IS_PRIVATE,
                os_name=base.os_name,
                image_label=label,
                image_id=row.image_id,
                is_support_encrypt=base.is_support_encrypt,
                receive_status=None if own else row.receive_status,
            )
            for label in base.image_labels
        ]
    return found


@lru_cache(maxsize=128)
def _list_queries(filters: frozenset[str]) -> tuple[Query[_Image], Query[int]]:
    conditions = [or_(_mine, _shared), *(_FILTERS[name] for name in sorted(filters))]
    page = _images.where(*conditions).order_by(_i.seq.desc()).limit(bindparam("limit")).offset(bindparam("offset"))
    return Query(page, _Image), Query(select(func.count()).select_from(_with_member).where(*conditions), scalar)


def list_images(fleet: Fleet, caller: Caller, request_id: str, query: ListImagesQuery) -> ListImagesResponse:
    """A page of the custom images of the project and of those shared with it, newest first. Raises CPS.0046 no such project."""
    used: dict[str, Value] = given(
        status=query.status,
        image_id=query.image_id,
        image_name=query.image_name,
        since_ms=None if query.create_since is None else query.create_since * 1000,
        until_ms=None if query.create_until is None else query.create_until * 1000 + 999,
        src_project_id=query.src_project_id,
    )
    page, total = _list_queries(frozenset(used) | ({query.image_type} if query.image_type else frozenset()))
    with fleet.database.read() as tx:
        if query.src_project_id is not None and tx.row(_PROJECT, member=query.src_project_id) is None:
            raise CphError("CPS.0046", f"src_project_id {shown(query.src_project_id)} is no project of this region")
        rows = tx.rows(page, project_id=caller.project_id, limit=query.limit, offset=query.offset, **used)
        count = tx.row(total, project_id=caller.project_id, **used) or 0
    infos = []
    for row in rows:
        own = row.project_id == caller.project_id
        infos.append(
            ImageInfo(
                domain_id=row.domain_id,
                image_name=row.name,
                update_time=utc_text(row.update_ms),
                create_time=utc_text(row.create_ms),
                image_size=row.size_bytes,
                project_id=row.project_id if own else None,
                image_id=row.image_id,
                image_version=fleet.catalogue.image_version(row.base_image_id),
                image_type=PRIVATE if own else SHARE,
                status=row.status,
                src_project_id=None if own else row.project_id,
            )
        )
    return ListImagesResponse(request_id=request_id, image_infos=infos, total=count)


def delete_image(fleet: Fleet, caller: Caller, request_id: str, image_id: str) -> ImageActionResponse:
    """Delete a custom image of the project, and its sharing; phones that run it go on. Raises CPS.0166."""
    with fleet.database.write() as tx:
        _check_own(tx, caller, image_id)
        tx.run(_DELETE, image_id=image_id)
    archive(fleet, image_id).unlink(missing_ok=True)
    return ImageActionResponse(request_id=request_id)


def add_image_member(
    fleet: Fleet, caller: Caller, request_id: str, image_id: str, body: AddImageMemberRequest
) -> ImageActionResponse:
    """Share an image with a project, which has to accept it; one that rejected it is asked again.

    Raises CPS.0166, CPS.0046 no such project, CPS.0196 above 10 projects.
    """
    with fleet.database.write() as tx:
        tx.lock("placement")
        _check_own(tx, caller, image_id)
        if body.member == caller.project_id or tx.row(_PROJECT, member=body.member) is None:
            raise CphError("CPS.0046", f"member {body.member!r} is no other project of this region")
        if not tx.run(_SET_MEMBER, of_image=image_id, of_member=body.member, new_status=PENDING, now=now_ms()):
            count = tx.row(_MEMBER_COUNT, image_id=image_id) or 0
            if count >= MEMBERS_MAX:
                raise CphError("CPS.0196", f"image_id {image_id} is shared with {count} projects: at most {MEMBERS_MAX}")
            tx.run(_ADD_MEMBER, of_image=image_id, of_member=body.member, now=now_ms())
    return ImageActionResponse(request_id=request_id)


def list_image_members(
    fleet: Fleet, caller: Caller, request_id: str, image_id: str, query: ListImageMembersQuery
) -> ListImageMembersResponse:
    """The projects that an image of the caller's is shared with. Raises CPS.0166, CPS.0002 for a marker that no page gave."""
    with fleet.database.read() as tx:
        _check_own(tx, caller, image_id)
        if query.marker is not None and tx.row(_MEMBER, image_id=image_id, member=query.marker) is None:
            raise CphError("CPS.0002", f"marker {shown(query.marker)} is unknown; take it from page_info.next_marker")
        found = tx.rows(_MEMBERS, image_id=image_id, after=query.marker or "", limit=query.limit + 1)
    members = found[: query.limit]
    more = len(found) > query.limit
    page_info = PageInfo(next_marker=members[-1].member_id if more else None)
    return ListImageMembersResponse(request_id=request_id, members=members, page_info=page_info)


def update_image_member(
    fleet: Fleet, caller: Caller, request_id: str, image_id: str, body: UpdateImageMemberRequest
) -> UpdateImageMemberResponse:
    """The receiver accepts or rejects an image. Raises CPS.0166 when it is not shared with the project."""
    status = ACCEPTED if body.status == "accepted" else REJECTED
    with fleet.database.write() as tx:
        if not tx.run(_SET_MEMBER, of_image=image_id, of_member=caller.project_id, new_status=status, now=now_ms()):
            raise CphError("CPS.0166", f"image_id {image_id} is not shared with this project")
    return UpdateImageMemberResponse(request_id=request_id)


def delete_image_member(fleet: Fleet, caller: Caller, request_id: str, image_id: str, member_id: str) -> ImageActionResponse:
    """Stop sharing an image with a project; its phones that run the image go on. Raises CPS.0166, CPS.0046."""
    with fleet.database.write() as tx:
        _check_own(tx, caller, image_id)
        if not tx.run(_DELETE_MEMBER, of_image=image_id, of_member=member_id):
            raise CphError("CPS.0046", f"image_id {image_id} is not shared with project {member_id[:64]!r}")
    return ImageActionResponse(request_id=request_id)


def _check_own(tx: Transaction, caller: Caller, image_id: str) -> None:
    if tx.row(_OWN, image_id=image_id, project_id=caller.project_id) is None:
        raise CphError("CPS.0166", f"this project has no custom image {image_id}")
