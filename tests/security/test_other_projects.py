"""What belongs to another project answers byte for byte like what does not exist: every operation, every place for an id, one at a
time and mixed with one's own. Made from the route table and the samples, so that a new route is covered the day it is written.

`tests/api/test_all_routes.py` has the same for all ids of a call at once, and sees that nothing of the other project changes.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from api.edge_client import World
from api.samples import NOBODYS, SAMPLES, path_of
from opencph.api.routes import ROUTES
from opencph.api.routing import Route

AUTHENTICATED = [route for route in ROUTES if route.auth]
#: without project in their paths, and without ids: a caller sees its own
OF_THE_CALLER = frozenset(("KeystoneListProjects", "KeystoneListAuthProjects", "KeystoneListAuthDomains", "KeystoneListUsers"))
OPEN = {"KeystoneCreateUserTokenByPassword", "ShowOpenApi", "ShowHealth", "ShowReadiness"}


class Noting(dict[str, str]):
    """Ids that note which of them a sample takes."""

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__(values)
        self.used: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.used.add(name)
        return super().__getitem__(name)


def sent(route: Route, ids: Mapping[str, str], project_id: str) -> tuple[str, Any, str]:
    """Path, body and query of a sample."""
    sample = SAMPLES[route.operation]
    filled = dict(ids)
    return (
        path_of(route, filled, project_id),
        sample.body(ids) if sample.body else None,
        sample.query(ids) if sample.query else "",
    )


def places(route: Route) -> set[str]:
    """The ids that a sample takes, by name."""
    noting = Noting({**NOBODYS, "project_id": "p"})
    sample = SAMPLES[route.operation]
    if sample.body:
        sample.body(noting)
        body = json.dumps(sample.body({name: f"<{name}>" for name in (*NOBODYS, "project_id")}))
        noting.used |= {name for name in NOBODYS if f"<{name}>" in body}  # `purchase` takes a copy, which notes nothing
    if sample.query:
        sample.query(noting)
    renamed = {"band_width_id": "bandwidth_id", "resource_id": "server_id"}
    in_path = {part.strip("{}") for part in route.path.split("/") if part.startswith("{")}
    return (noting.used | {renamed.get(name, name) for name in in_path}) & NOBODYS.keys() - {"new_name"}


def unknown(name: str) -> str:
    """An id of nothing, unlike every other one, so that it can be told apart in an answer."""
    number = uuid.uuid5(uuid.NAMESPACE_OID, name)
    if name in ("order_id", "keypair_name"):
        return f"{NOBODYS[name]}-{number.hex[:4]}" if name == "keypair_name" else "CS0000000000ABCDE"
    return str(number) if "-" in NOBODYS[name] else number.hex


CASES = [(route, name) for route in AUTHENTICATED for name in sorted(places(route))]


def test_only_these_need_no_credentials() -> None:
    assert {route.operation for route in ROUTES if not route.auth} == OPEN


def test_every_operation_that_names_something_is_among_the_cases() -> None:
    covered = {route.operation for route, _ in CASES}
    silent = {route.operation for route in AUTHENTICATED if route.operation not in covered}
    naming = [route for route in AUTHENTICATED if route.operation in silent and "{" in route.path.replace("{project_id}", "")]
    assert [route.operation for route in naming if "resource_type" not in route.path] == []
    assert len(CASES) > 80


def told(world: World, route: Route, ids: Mapping[str, str], hidden: str) -> str:
    """Status, headers and body, with the id that was sent and the request's own number taken out."""
    path, body, query = sent(route, ids, world.mine.project_id)
    reply = world.call(route.method, path, body, query=query)
    text = json.dumps([reply.status, reply.headers, reply.body], sort_keys=True)
    return text.replace(reply.headers["x-request-id"], "<request>").replace(hidden, "<id>")


@pytest.mark.parametrize(("route", "name"), [pytest.param(r, n, id=f"{r.operation}-{n}") for r, n in CASES])
def test_anothers_id_answers_like_nobodys(world: World, route: Route, name: str) -> None:
    own = {**NOBODYS, **world.mine.ids}
    theirs = world.other.ids.get(name)
    if theirs is None:
        theirs = {"image_id": image_of(world), "event_id": event_of(world), "member_id": world.other.project_id}.get(name)
    if theirs is None:
        pytest.fail(f"the world of tests/api/edge_client.py has no {name} of another project")
    # everything else is the caller's own, then nobody's: a fault in one place must not hide what another one tells
    for rest in (own, NOBODYS | {"project_id": world.mine.project_id}):
        fresh = {**rest, "new_name": f"never-{route.operation}"}
        nobodys = unknown(name)
        assert told(world, route, {**fresh, name: theirs}, theirs) == told(world, route, {**fresh, name: nobodys}, nobodys)


def image_of(world: World) -> str:
    """A custom image of the other project, shared with nobody."""
    return _made(world, "images", "image_id")


def event_of(world: World) -> str:
    """A scheduled event of the other project's server."""
    return _made(world, "scheduled_events", "event_id")


def _made(world: World, table: str, column: str) -> str:
    from sqlalchemy import insert, select

    from opencph.store import tables
    from opencph.store.database import Query, command, tuple_row

    found = tables.metadata.tables[table]
    rows = world.database.rows(Query(select(found.c[column]).where(found.c.project_id == world.other.project_id), tuple_row))
    if rows:
        return str(rows[0][0])
    values: dict[str, Any] = {}
    for known in found.c:
        if not known.nullable and known.server_default is None:
            values[known.name] = 1 if known.type.python_type is int else "x"
    values |= {column: str(uuid.uuid4()) if column == "event_id" else uuid.uuid4().hex, "project_id": world.other.project_id}
    if "server_id" in found.c:
        values["server_id"] = world.other.ids["server_id"]
    with world.database.write() as tx:
        tx.run(command(insert(found).values(values)))
    return str(values[column])


@pytest.mark.parametrize("route", [one for one in AUTHENTICATED if one.method == "GET"], ids=lambda one: one.operation)
def test_nothing_of_another_project_is_shown(world: World, route: Route) -> None:
    """What a caller gets to read of its own has no id of the other project in it."""
    path, _, query = sent(route, {**NOBODYS, **world.mine.ids}, world.mine.project_id)
    shown = json.dumps(world.call("GET", path, query=query).body)
    hidden = {value for name, value in world.other.ids.items() if value not in world.mine.ids.values()}
    if route.operation in OF_THE_CALLER:
        hidden -= {world.other.project_id}
    assert not [value for value in hidden if value in shown]


def test_without_credentials_there_is_nothing(world: World) -> None:
    """All routes, objects, and what is no route."""
    for route in AUTHENTICATED:
        path, body, query = sent(route, {**NOBODYS, **world.mine.ids}, world.mine.project_id)
        for headers in ({}, {"authorization": "Basic YWRtaW46YWRtaW4="}, {"cookie": "X-Auth-Token=x"}):
            reply = world.call(route.method, path, body, token="", query=query, headers=headers)
            assert reply.status == 401, (route.operation, reply)
    for method in ("GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE"):
        for path in ("/", "/bucket", "/bucket/key", "/bucket/key?uploads"):
            assert world.call(method, path, token="").status == 404
