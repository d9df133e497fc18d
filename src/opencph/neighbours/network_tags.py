"""Tags of VPCs and subnets. Whether the VPC or subnet is there is `vpc`'s business, CPH's own tags are elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import bindparam, delete, func, insert, select

from opencph.store.database import Query, Transaction, command, scalar
from opencph.store.tables import network_tags
from opencph.wire.service_errors import network_error
from opencph.wire.vpc import Tag, TagsAction

TAGS_MAX = 20
TOO_MANY = "VPC.1814"

_t = network_tags.c
_of_resource = (_t.resource_type == bindparam("of_type"), _t.resource_id == bindparam("of_id"))
_TAGS = Query(select(_t.tag_key, _t.tag_value).where(*_of_resource).order_by(_t.tag_key), Tag)
_COUNT: Query[int] = Query(select(func.count()).select_from(network_tags).where(*_of_resource), scalar)
_INSERT = command(
    insert(network_tags).values(
        resource_type=bindparam("of_type"),
        resource_id=bindparam("of_id"),
        tag_key=bindparam("of_key"),
        tag_value=bindparam("new_value"),
    )
)
_DELETE = command(delete(network_tags).where(*_of_resource, _t.tag_key == bindparam("of_key")))
_FORGET = command(delete(network_tags).where(*_of_resource))


def get(tx: Transaction, resource_type: str, resource_id: str) -> list[Tag]:
    """The tags, in the order of their keys."""
    return tx.rows(_TAGS, of_type=resource_type, of_id=resource_id)


def put(tx: Transaction, resource_type: str, resource_id: str, tags: Iterable[Tag]) -> None:
    """Add tags; one of the same key gets the new value. Raises VPC.1814 when there are too many."""
    for tag in tags:
        tx.run(_DELETE, of_type=resource_type, of_id=resource_id, of_key=tag.key)
        tx.run(_INSERT, of_type=resource_type, of_id=resource_id, of_key=tag.key, new_value=tag.value)
    count = tx.row(_COUNT, of_type=resource_type, of_id=resource_id) or 0
    if count > TAGS_MAX:
        raise network_error(400, TOO_MANY, f"tags: {count} would be too many for one resource, at most {TAGS_MAX}")


def act(tx: Transaction, resource_type: str, resource_id: str, action: TagsAction) -> None:
    """Create or delete tags. Deleting goes by the key; one that is not there is no fault."""
    if action.action == "create":
        put(tx, resource_type, resource_id, action.tags)
        return
    for tag in action.tags:
        tx.run(_DELETE, of_type=resource_type, of_id=resource_id, of_key=tag.key)


def forget(tx: Transaction, resource_type: str, resource_id: str) -> None:
    """Remove all tags of something that is deleted."""
    tx.run(_FORGET, of_type=resource_type, of_id=resource_id)
