"""Tags of servers: set, delete, list, find by them (cph-api.md section 4, numbers 52 to 56). They go with their server."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Select, bindparam, delete, exists, func, insert, literal_column, select
from sqlalchemy.sql.elements import BindParameter

from opencph.fleet.statuses import ServerStatus
from opencph.store import tables
from opencph.store.database import Query, Transaction, Value, command, in_list, json_list, scalar
from opencph.wire.errors import CphError
from opencph.wire.tag_checks import BAD_TAG, TAGS_PER_RESOURCE
from opencph.wire.tags import (
    BatchTagsRequest,
    ListProjectTagsQuery,
    ListProjectTagsResponse,
    ListResourceInstancesRequest,
    ListResourceInstancesResponse,
    ListResourceTagsResponse,
    ResourceDetail,
    ResourceInstance,
    Tag,
    TagValues,
)

if TYPE_CHECKING:
    from opencph.fleet import Fleet
    from opencph.iam import Caller

_s, _g, _t = tables.servers.c, tables.generations.c, tables.server_tags.c
_SERVER_ID: BindParameter[str] = bindparam("server_id")
_PROJECT: BindParameter[str] = bindparam("project_id")

_EXISTS: Query[str] = Query(
    select(_s.server_id).where(_s.server_id == _SERVER_ID, _s.project_id == _PROJECT, _s.status != ServerStatus.DELETED), scalar
)
_TAGS = Query(
    select(_t.server_id, _t.tag_key, _t.tag_value).where(in_list(_t.server_id, "server_ids")).order_by(_t.server_id, _t.tag_key),
    lambda server_id, key, value: (str(server_id), Tag(key=key, value=value)),
)
_HOW_MANY: Query[int] = Query(select(func.count()).select_from(tables.server_tags).where(_t.server_id == _SERVER_ID), scalar)
_DELETE = command(delete(tables.server_tags).where(_t.server_id == _SERVER_ID, in_list(_t.tag_key, "keys")))
_DELETE_PAIR = command(
    delete(tables.server_tags).where(
        _t.server_id == _SERVER_ID, _t.tag_key == bindparam("tag_key"), _t.tag_value == bindparam("tag_value")
    )
)
_INSERT = command(
    insert(tables.server_tags).values(server_id=_SERVER_ID, tag_key=bindparam("tag_key"), tag_value=bindparam("tag_value"))
)
_of_project = tables.server_tags.join(tables.servers, _s.server_id == _t.server_id)
_KEYS: Query[str] = Query(
    select(_t.tag_key)
    .select_from(_of_project)
    .where(_s.project_id == _PROJECT)
    .distinct()
    .order_by(_t.tag_key)
    .limit(bindparam("limit"))
    .offset(bindparam("offset")),
    scalar,
)
_KEY_COUNT: Query[int] = Query(
    select(func.count(_t.tag_key.distinct())).select_from(_of_project).where(_s.project_id == _PROJECT), scalar
)
_VALUES = Query(
    select(_t.tag_key, _t.tag_value)
    .select_from(_of_project)
    .where(_s.project_id == _PROJECT, in_list(_t.tag_key, "keys"))
    .distinct()
    .order_by(_t.tag_key, _t.tag_value),
    lambda key, value: (str(key), str(value)),
)


class _Found(NamedTuple):
    server_id: str
    name: str
    status: int
    server_model_name: str
    phone_model_name: str
    availability_zone: str


def batch_create_tags(fleet: Fleet, caller: Caller, server_id: str, body: BatchTagsRequest) -> None:
    """Set tags; a key that is there gets the new value. Raises CPS.0015, CPS.0118 above 20 tags."""
    with fleet.database.write() as tx:
        _check_server(tx, caller, server_id)
        tx.run(_DELETE, server_id=server_id, keys=json_list(tag.key for tag in body.tags))
        tx.run_many(_INSERT, [{"server_id": server_id, "tag_key": tag.key, "tag_value": tag.value} for tag in body.tags])
        count = tx.row(_HOW_MANY, server_id=server_id) or 0
        if count > TAGS_PER_RESOURCE:
            raise CphError(BAD_TAG, f"tags: the server would have {count} tags: at most {TAGS_PER_RESOURCE}")


def batch_delete_tags(fleet: Fleet, caller: Caller, server_id: str, body: BatchTagsRequest) -> None:
    """Delete tags by key, and by value too where one is given; those that are not there are deleted already. Raises CPS.0015."""
    with fleet.database.write() as tx:
        _check_server(tx, caller, server_id)
        tx.run(_DELETE, server_id=server_id, keys=json_list(tag.key for tag in body.tags if not tag.value))
        pairs = [{"server_id": server_id, "tag_key": tag.key, "tag_value": tag.value} for tag in body.tags if tag.value]
        tx.run_many(_DELETE_PAIR, pairs)


def list_resource_tags(fleet: Fleet, caller: Caller, server_id: str) -> ListResourceTagsResponse:
    """The tags of one server. Raises CPS.0015."""
    with fleet.database.read() as tx:
        _check_server(tx, caller, server_id)
        tags = [tag for _, tag in tx.rows(_TAGS, server_ids=json_list([server_id]))]
    return ListResourceTagsResponse(tags=tags)


def list_project_tags(fleet: Fleet, caller: Caller, query: ListProjectTagsQuery) -> ListProjectTagsResponse:
    """The keys that servers of the project have, with the values in use."""
    with fleet.database.read() as tx:
        keys = tx.rows(_KEYS, project_id=caller.project_id, limit=query.limit, offset=query.offset)
        values: dict[str, list[str]] = {key: [] for key in keys}
        for key, value in tx.rows(_VALUES, project_id=caller.project_id, keys=json_list(keys)):
            values[key].append(value)
        count = tx.row(_KEY_COUNT, project_id=caller.project_id) or 0
    tags = [TagValues(key=key, values=found) for key, found in values.items()]
    return ListProjectTagsResponse(tags=tags, total_count=count)


def list_resource_instances(fleet: Fleet, caller: Caller, body: ListResourceInstancesRequest) -> ListResourceInstancesResponse:
    """Servers by tags and name, newest first, or only how many there are."""
    params: dict[str, Value] = {"project_id": caller.project_id}
    if body.resource_name is not None:
        params["resource_name"] = body.resource_name
    shape = []
    for number, wanted in enumerate(body.tags):
        params[f"key_{number}"] = wanted.key
        if wanted.values:
            params[f"values_{number}"] = json_list(wanted.values)
        shape.append(bool(wanted.values))
    page, total = _instance_queries(tuple(shape), body.without_any_tag, body.resource_name is not None)
    with fleet.database.read() as tx:
        count = tx.row(total, **params) or 0
        if body.action == "count":
            return ListResourceInstancesResponse(total_count=count)
        rows = tx.rows(page, limit=body.limit, offset=body.offset, **params)
        tags: dict[str, list[Tag]] = defaultdict(list)
        for server_id, tag in tx.rows(_TAGS, server_ids=json_list(row.server_id for row in rows)):
            tags[server_id].append(tag)
    return ListResourceInstancesResponse(resources=[_instance(row, tags[row.server_id]) for row in rows], total_count=count)


@lru_cache(maxsize=256)
def _instance_queries(has_values: tuple[bool, ...], without_any_tag: bool, by_name: bool) -> tuple[Query[_Found], Query[int]]:
    """The page and the count, for a shape of filter: per key whether values are given."""
    conditions: list[ColumnElement[bool]] = [_s.project_id == _PROJECT, _s.status != ServerStatus.DELETED]
    if by_name:
        conditions.append(_s.name == bindparam("resource_name"))
    if without_any_tag:
        conditions.append(~exists().where(_t.server_id == _s.server_id))
    for number, values in enumerate(has_values):
        matching = [_t.server_id == _s.server_id, _t.tag_key == bindparam(f"key_{number}")]
        if values:
            matching.append(in_list(_t.tag_value, f"values_{number}"))
        conditions.append(exists().where(*matching))
    found: Select[tuple[str, str, int, str, str, str]] = (
        select(
            _s.server_id,
            _s.name,
            _s.status,
            *(
                func.coalesce(column, literal_column("''"))
                for column in (_g.server_model_name, _g.phone_model_name, _g.availability_zone)
            ),
        )
        .join(tables.generations, _g.generation_id == _s.generation_id, isouter=True)
        .where(*conditions)
        .order_by(_s.seq.desc())
        .limit(bindparam("limit"))
        .offset(bindparam("offset"))
    )
    return Query(found, _Found), Query(select(func.count()).select_from(tables.servers).where(*conditions), scalar)


def _check_server(tx: Transaction, caller: Caller, server_id: str) -> None:
    if tx.row(_EXISTS, server_id=server_id, project_id=caller.project_id) is None:
        raise CphError("CPS.0015", f"resource_id {server_id} is no server of this project")


def _instance(row: _Found, tags: list[Tag]) -> ResourceInstance:
    detail = ResourceDetail(
        server_id=row.server_id,
        server_name=row.name,
        status=row.status,
        server_model_name=row.server_model_name,
        phone_model_name=row.phone_model_name,
        availability_zone=row.availability_zone,
    )
    text = msgspec.json.encode(detail).decode()
    return ResourceInstance(resource_id=row.server_id, resource_detail=text, resource_name=row.name, tags=tags)
