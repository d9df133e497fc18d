"""What every route promises, also one that comes tomorrow: credentials, permissions, projects, records, one code for one fault.

All tests go over the one route table, with the calls of `samples`.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.edge_client import UNKNOWN, Reply, World
from api.samples import NOBODYS, SAMPLES, Ids, names_something, path_of
from opencph.api.neighbour_routes import NEIGHBOUR_ROUTES
from opencph.api.openapi import NO_BODY, shape
from opencph.api.routes import ROUTES
from opencph.api.routing import Route
from opencph.iam import ADMIN, OPERATOR, READER, administration, audit
from opencph.iam.actions import CPH_ACTIONS
from opencph.iam.policies import ROLES
from opencph.iam.users import USERS_BY_NAME
from opencph.settings import Settings
from opencph.store import tables
from opencph.store.database import Query, tuple_row
from opencph.wire.errors import MESSAGES

#: POST that only asks
READING_POSTS = frozenset(("ListResourceInstances", "KeystoneCreateUserTokenByPassword"))

#: GET of the whole installation, not of a project
FOR_ADMINISTRATORS = frozenset(("ShowMetrics",))

KNOWN = [route for route in ROUTES if route.operation in SAMPLES]
AUTHENTICATED = [route for route in KNOWN if route.auth]
IN_PROJECT = [route for route in KNOWN if route.project]
CPH = [route for route in KNOWN if route.operation in CPH_ACTIONS]


def every(routes: list[Route]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("route", routes, ids=lambda route: route.operation)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    data = Path(tempfile.mkdtemp(prefix="ocph-"))
    cluster = request.getfixturevalue("postgresql_cluster") if request.param == "postgresql" else None
    url = cluster.create_database() if cluster else f"sqlite:///{data / 'opencph.db'}"
    made = World(data, url)
    yield made
    made.close()
    if cluster:
        cluster.drop_database(url)
    shutil.rmtree(data)


@pytest.fixture(scope="module")
def readers_token(world: World) -> str:
    return token_of(world, "reader", READER)


def token_of(world: World, name: str, role: str) -> str:
    """The token of a new user with a role in the first project."""
    user_id, _ = administration.add_user(world.database, name)
    project = world.mine.project_id
    administration.grant(world.database, name, project, role)
    return world.token(user_id, project)


def call(world: World, route: Route, ids: Ids, *, project_id: str | None = None, token: str | None = None) -> Reply:
    sample = SAMPLES[route.operation]
    filled = {**NOBODYS, **ids}
    return world.call(
        route.method,
        path_of(route, filled, project_id or world.mine.project_id),
        sample.body(filled) if sample.body else None,
        query=sample.query(filled) if sample.query else "",
        token=token,
    )


def last_entry(world: World, reply: Reply) -> audit.Row | None:
    found = audit.entries(world.database, limit=2, request_id=reply.headers["x-request-id"])
    assert len(found) <= 1, "one call, one entry"
    return found[0] if found else None


# --- the table itself ----------------------------------------


@every(list(ROUTES))
def test_a_route_has_a_sample_an_action_and_a_shape(route: Route) -> None:
    assert route.operation in SAMPLES, f"write a valid call of {route.operation} into tests/api/samples.py"
    assert route.free or route.action, f"say in iam/actions.py which action {route.operation} is"
    if route.operation not in NO_BODY:
        assert any(shape(operation, "Response") for operation in route.operations), (
            f"{route.operation} needs a struct ...Response in opencph.wire, or a line in SHAPES or NO_BODY of api/openapi.py"
        )
    if SAMPLES[route.operation].body:
        missing = [operation for operation in route.operations if shape(operation, "Body") is None]
        assert not missing, f"{missing}: no ...Body in opencph.wire"
    if route.calls_per_minute:
        assert route.writes and route.calls_per_minute in Settings.__struct_fields__


@every(list(ROUTES))
def test_what_changes_something_is_marked_and_no_readers_business(route: Route) -> None:
    assert route.writes == (route.method != "GET" and route.operation not in READING_POSTS)
    if route.writes:
        assert not ROLES[READER].allows(route.action), f"{route.action} would be a reader's"
    elif route.operation in FOR_ADMINISTRATORS:
        assert [role for role in ROLES if ROLES[role].allows(route.action)] == [ADMIN]
    elif not route.free and route.method == "GET":
        assert all(ROLES[role].allows(route.action) for role in (ADMIN, OPERATOR, READER)), (
            f"{route.action} must begin with get or list"
        )


# --- credentials, permissions, projects, records ----------------------------------------


@every(AUTHENTICATED)
def test_without_credentials_nothing_is_answered(world: World, route: Route) -> None:
    for token in ("", "wrong"):
        reply = call(world, route, world.mine.ids, token=token)
        assert (reply.status, reply.code) == (401, "401" if route.identity else "APIGW.0301"), reply


@every(IN_PROJECT)
def test_a_foreign_project_in_the_path_is_refused(world: World, route: Route) -> None:
    reply = call(world, route, world.mine.ids, project_id=world.other.project_id)
    assert (reply.status, reply.code) == (403, "APIGW.0302"), reply
    assert call(world, route, world.mine.ids, project_id=UNKNOWN).status == 403


@every([route for route in AUTHENTICATED if not route.free])
def test_a_role_without_the_action_is_refused_and_a_refused_change_is_on_record(
    world: World, readers_token: str, route: Route
) -> None:
    reply = call(world, route, world.mine.ids, token=readers_token)
    allowed = ROLES[READER].allows(route.action)
    assert (reply.status == 403 and reply.code == "CPS.0001") is not allowed, reply
    if not allowed:
        assert route.action in reply.message
    entry = last_entry(world, reply)
    if route.writes:
        assert entry is not None
        assert (entry.user_name, entry.operation, entry.status, entry.error_code) == ("reader", route.operation, 403, "CPS.0001")
    else:
        assert entry is None


@every([route for route in KNOWN if route.writes])
def test_every_change_is_on_record_with_who_what_and_how_it_ended(world: World, route: Route) -> None:
    reply = call(world, route, world.mine.ids | {"new_name": f"new-{route.operation}"})
    assert reply.status < 500, reply
    entry = last_entry(world, reply)
    assert entry is not None
    assert (entry.user_name, entry.project_id) == ("admin", world.mine.project_id if route.project else entry.project_id)
    assert (entry.operation, entry.action, entry.status, entry.source) == (route.operation, route.action, reply.status, "api")
    if reply.status >= 400:
        assert entry.error_code == reply.code or entry.error_code.startswith("HTTP "), (entry, reply)
    if re.search(r"\{(?!project_id|resource_type)", route.path):
        assert json.loads(entry.resources), "the path names it"


@every([route for route in KNOWN if not route.writes])
def test_a_call_that_asks_leaves_no_record(world: World, route: Route) -> None:
    assert last_entry(world, call(world, route, world.mine.ids)) is None


def rows_about(world: World, ids: Ids) -> set[str]:
    """Every row that names something of an owner, as text."""
    wanted = set(ids.values())
    found = set()
    with world.database.read() as tx:
        for table in tables.metadata.tables.values():
            if table.name not in ("audit", "processes", "revisions"):
                for row in tx.rows(Query(table.select(), tuple_row)):
                    if wanted & {value for value in row if isinstance(value, str)}:
                        found.add(f"{table.name}: {row}")
    return found


def told(reply: Reply, ids: Ids) -> str:
    """What a caller can learn from an answer, without the ids it sent itself."""
    text = json.dumps(reply.body, sort_keys=True)
    for value in sorted({*NOBODYS.values(), *ids.values(), reply.headers["x-request-id"]}, key=len, reverse=True):
        text = text.replace(value, "*")
    return f"{reply.status} {text}"


@every([route for route in KNOWN if route.auth and names_something(route)])
def test_what_is_anothers_answers_like_what_does_not_exist_and_stays_as_it_is(world: World, route: Route) -> None:
    before = rows_about(world, world.other.ids)
    foreign = {name: value for name, value in world.other.ids.items() if name != "project_id"}
    unknown = {name: NOBODYS[name] for name in foreign}
    for operation_ids in (foreign, unknown):
        operation_ids["new_name"] = "never-made"
    theirs, nobodys = call(world, route, foreign), call(world, route, unknown)
    assert told(theirs, foreign) == told(nobodys, unknown)
    assert rows_about(world, world.other.ids) == before
    shown = json.dumps(theirs.body)
    sent = {*foreign.values()}
    secret = {value for value in rows_ids(world) if value not in sent}
    assert not [value for value in secret if value in shown]


def rows_ids(world: World) -> set[str]:
    """Ids of the other project that no caller of the first one could know."""
    other = world.other.ids
    with world.database.read() as tx:
        phones = tx.rows(Query(tables.phones.select().where(tables.phones.c.server_id == other["server_id"]), tuple_row))
    return {
        str(value) for row in phones for value in row if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{32}|\d{15}", value)
    } - {
        "20060220200717f201120a2300000e91",
        other["server_id"],
        other["project_id"],
    }


# --- the same fault, the same code ----------------------------------------


@every([route for route in CPH if SAMPLES[route.operation].body])
def test_a_body_that_is_no_json_object_has_one_code_everywhere(world: World, route: Route) -> None:
    path = path_of(route, {**NOBODYS, **world.mine.ids}, world.mine.project_id)
    for body in (b"", b"{", b"[]", b'"x"', b"null", b"\xff", b'{"a":' * 5000, b"{} {}"):
        reply = world.call(route.method, path, body)
        assert (reply.status, reply.code) == (400, "APIGW.0201"), (body[:20], reply)


#: path parameter -> the codes of one that is malformed, and of one that is unknown
PATH_FAULTS = {
    "server_id": (("CPS.0016", 400), ("CPS.0015", 404)),
    "resource_id": (("CPS.0016", 400), ("CPS.0015", 404)),
    "phone_id": (("CPS.0004", 400), ("CPS.0005", 404)),
    "job_id": (("CPS.0011", 404), ("CPS.0011", 404)),
    "band_width_id": (("CPS.0033", 400), ("CPS.0115", 404)),
    "image_id": (("CPS.0030", 400), ("CPS.0166", 404)),
    "event_id": (("CPS.0017", 404), ("CPS.0017", 404)),
}
#: the name in a sample of what a path calls differently
IN_SAMPLES = {"band_width_id": "bandwidth_id", "resource_id": "server_id"}
ONE_THING = [route for route in CPH if re.search(r"\{(?!project_id|resource_type)", route.path)]


def of_path(route: Route) -> str:
    """The first id in a route's path beside the project's."""
    return str(next(name for name in re.findall(r"\{(\w+)\}", route.path) if name not in ("project_id", "resource_type")))


@every(ONE_THING)
def test_a_wrong_id_in_the_path_has_one_code_everywhere(world: World, route: Route) -> None:
    name = of_path(route)
    malformed, unknown = PATH_FAULTS[name]
    own = IN_SAMPLES.get(name, name)
    for value, expected in (("x", malformed), (NOBODYS[own] + "0", malformed), (NOBODYS[own], unknown)):
        reply = call(world, route, world.mine.ids | {own: value, "new_name": f"never-{route.operation}"})
        assert (reply.code, reply.status) == expected, reply


@every([route for route in ONE_THING if SAMPLES[route.operation].body])
def test_first_the_form_of_the_id_in_the_path_then_the_body_then_whether_it_is_there(world: World, route: Route) -> None:
    name = of_path(route)
    own, (malformed, _) = IN_SAMPLES.get(name, name), PATH_FAULTS[name]
    for value, expected in (("x", malformed), (NOBODYS[own], ("APIGW.0201", 400))):
        path = path_of(route, {**NOBODYS, **world.mine.ids, own: value}, world.mine.project_id)
        reply = world.call(route.method, path, b"{")
        assert (reply.code, reply.status) == expected, reply


@every([route for route in NEIGHBOUR_ROUTES if route.operation in SAMPLES and names_something(route)])
def test_beside_cph_a_malformed_id_in_the_path_answers_like_an_unknown_one(world: World, route: Route) -> None:
    names = [name for name in re.findall(r"\{(\w+)\}", route.path) if name != "project_id"]
    for name in names:
        own = IN_SAMPLES.get(name, name)
        found = [
            (reply.status, reply.code)
            for reply in (call(world, route, world.mine.ids | {own: value, "new_name": "never"}) for value in ("x", NOBODYS[own]))
        ]
        assert found[0] == found[1] and found[0][0] == 404, found


#: query parameter that holds one id -> the code of a malformed one
QUERY_IDS = {"server_id": "CPS.0016", "image_id": "CPS.0030", "event_id": "CPS.0017"}


def asking(world: World, route: Route, field: str, value: str | None) -> Reply:
    """The valid call of a list with one parameter of its query changed, or left out."""
    sample, ids = SAMPLES[route.operation], {**NOBODYS, **world.mine.ids}
    asked = [pair for pair in (sample.query(ids) if sample.query else "").split("&") if pair]
    kept = [pair for pair in asked if pair.partition("=")[0] != field]
    changed = [] if value is None else [f"{field}={value}"]
    return world.call("GET", path_of(route, ids, world.mine.project_id), query="&".join([*kept, *changed]))


def queried(routes: list[Route]) -> list[Any]:
    """Every parameter of every query."""
    return [
        pytest.param(route, field, id=f"{route.operation}-{field}")
        for route in routes
        if route.method == "GET" and (query := shape(route.operation, "Query")) is not None
        for field in query.__struct_encode_fields__
    ]


@pytest.mark.parametrize(("route", "field"), [one for one in queried(CPH) if one.values[1] in QUERY_IDS])
def test_a_malformed_id_in_a_query_has_one_code_everywhere(world: World, route: Route, field: str) -> None:
    for value in ("x", "zz", NOBODYS[field] + "0", "%00"):
        assert asking(world, route, field, value).code == QUERY_IDS[field]


@pytest.mark.parametrize(("route", "field"), queried(KNOWN))
def test_an_empty_filter_counts_as_left_out_everywhere_and_an_empty_page_is_none(world: World, route: Route, field: str) -> None:
    empty, left_out = asking(world, route, field, ""), asking(world, route, field, None)
    wrong_page = route in CPH and field in ("limit", "offset")
    assert (empty.status, empty.code) == ((400, "CPS.0002") if wrong_page else (left_out.status, left_out.code))


def test_what_a_query_must_have_is_missed_when_it_is_empty(world: World) -> None:
    routes = {route.operation: route for route in KNOWN}
    for operation, field, code in (
        ("ListShareFiles", "server_ids", "CPS.0095"),
        ("ListShareFiles", "path", "CPS.0199"),
        ("ListJobs", "request_id", "CPS.0049"),
    ):
        reply = asking(world, routes[operation], field, "")
        assert (reply.status, reply.code) == (400, code), reply


def paged(field: str) -> list[Route]:
    return [
        route
        for route in CPH
        if route.method == "GET" and (query := shape(route.operation, "Query")) is not None and field in query.__struct_fields__
    ]


@every(paged("limit"))
def test_a_wrong_limit_has_one_code_everywhere(world: World, route: Route) -> None:
    sample = SAMPLES[route.operation]
    path, asked = path_of(route, {**NOBODYS, **world.mine.ids}, world.mine.project_id), ""
    if sample.query:
        asked = sample.query({**NOBODYS, **world.mine.ids}) + "&"
    for limit in ("0", "-1", "1001", "x", "1.5", "99999999999999999999", "%00"):
        reply = world.call("GET", path, query=f"{asked}limit={limit}")
        assert (reply.status, reply.code) == (400, "CPS.0002"), (limit, reply)


@every(paged("offset"))
def test_a_wrong_offset_has_one_code_and_one_past_the_end_is_an_empty_page(world: World, route: Route) -> None:
    sample = SAMPLES[route.operation]
    path, asked = path_of(route, {**NOBODYS, **world.mine.ids}, world.mine.project_id), ""
    if sample.query:
        asked = sample.query({**NOBODYS, **world.mine.ids}) + "&"
    for offset in ("-1", "x", "1.5", "99999999999999999999"):
        reply = world.call("GET", path, query=f"{asked}offset={offset}")
        assert (reply.status, reply.code) == (400, "CPS.0002"), (offset, reply)
    assert world.call("GET", path, query=f"{asked}offset=1000000").status == 200


#: list in a body -> the code of an empty or missing one
LIST_FAULTS = {
    "server_ids": "CPS.0095",
    "phone_ids": "CPS.0009",
    "phones": "CPS.0077",
}


def listed(field: str) -> list[Route]:
    """Operations whose body must have the list."""
    found = []
    for route in CPH:
        sample = SAMPLES[route.operation]
        if sample.body and field in sample.body(NOBODYS | {"project_id": UNKNOWN}) and "command" not in route.path:
            found.append(route)
    return found


@pytest.mark.parametrize(("route", "field"), [pytest.param(r, f, id=f"{r.operation}-{f}") for f in LIST_FAULTS for r in listed(f)])
def test_an_empty_list_has_one_code_everywhere(world: World, route: Route, field: str) -> None:
    body_of = SAMPLES[route.operation].body
    assert body_of is not None
    path = path_of(route, {**NOBODYS, **world.mine.ids}, world.mine.project_id)
    body = body_of({**NOBODYS, **world.mine.ids})
    for broken in (body | {field: []}, {name: value for name, value in body.items() if name != field}, body | {field: None}):
        reply = world.call(route.method, path, broken)
        assert (reply.status, reply.code) == (400, LIST_FAULTS[field]), reply


def items_of(reply: Reply) -> list[dict[str, Any]]:
    return list(reply.body.get("jobs") or reply.body.get("errors") or [])


@every(
    [
        route
        for route in CPH
        if {"phone_ids", "phones"} & set((SAMPLES[route.operation].body or dict)(NOBODYS) if SAMPLES[route.operation].body else {})
    ]
)
def test_an_unknown_or_malformed_phone_has_one_code_in_its_item_everywhere(world: World, route: Route) -> None:
    for phone_id, code in ((UNKNOWN, "CPS.0005"), ("x", "CPS.0004"), (world.other.ids["phone_id"], "CPS.0005")):
        reply = call(world, route, world.mine.ids | {"phone_id": phone_id})
        if reply.status == 429:
            continue  # so often may it be called
        assert reply.status == 200, reply
        (item,) = items_of(reply)
        assert (item["phone_id"], item["error_code"]) == (phone_id, code), reply
        assert item["error_msg"].startswith(MESSAGES[code].rstrip("."))


# --- anything at all ----------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
BOUNDED = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a body."""
    found = [path]
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        found += places(inner, (*path, key))
    return found


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@every([route for route in KNOWN if SAMPLES[route.operation].body])
def test_any_body_is_answered_and_never_by_a_5xx(world: World, route: Route) -> None:
    body_of = SAMPLES[route.operation].body
    assert body_of is not None
    ids = {**NOBODYS, **world.mine.ids}
    if route.operation in ("DeleteCloudPhoneServer", "ChangeCloudPhoneServer"):
        ids |= {"server_id": UNKNOWN}
    body = body_of(ids)
    path = path_of(route, ids, world.mine.project_id)

    @BOUNDED
    @given(st.sampled_from(places(body)), JSON)
    def answered(where: tuple[Any, ...], anything: Any) -> None:
        reply = world.call(route.method, path, replaced(body, where, anything))
        assert reply.status < 500, reply
        if reply.status >= 400:
            assert reply.message, reply
            if route.operation in CPH_ACTIONS:
                assert reply.code in MESSAGES, reply

    answered()


@every([route for route in KNOWN if route.method == "GET" and route.auth])
def test_any_query_and_any_path_is_answered_and_never_by_a_5xx(world: World, route: Route) -> None:
    fields = ["limit", "offset", "marker", "name"]
    query = shape(route.operation, "Query")
    fields += list(query.__struct_fields__) if query is not None else []
    parameters = [name for name in re.findall(r"\{(\w+)\}", route.path) if name != "project_id"]

    @BOUNDED
    @given(
        st.lists(st.tuples(st.sampled_from(fields), st.text(max_size=40)), max_size=3), st.lists(st.text(min_size=1, max_size=40))
    )
    def answered(asked: list[tuple[str, str]], given_ids: list[str]) -> None:
        from urllib.parse import quote, urlencode

        ids = {**NOBODYS, **world.mine.ids, "resource_id": UNKNOWN}
        for name, value in zip(parameters, given_ids, strict=False):
            ids[{"band_width_id": "bandwidth_id", "resource_id": "server_id"}.get(name, name)] = quote(value, safe="")
        reply = world.call("GET", path_of(route, ids, world.mine.project_id), query=urlencode(asked))
        assert reply.status < 500, reply

    answered()


def test_the_other_project_still_has_what_it_had(world: World) -> None:
    """Runs last: after all that was sent above."""
    other = world.other
    reply = world.call("GET", f"/v1/{other.project_id}/cloud-phone/servers/{other.ids['server_id']}", token=other.token)
    assert (reply.status, reply.body["status"], reply.body["server_name"]) == (200, 5, "server-other")


def test_neighbours_are_in_the_table() -> None:
    assert set(NEIGHBOUR_ROUTES) <= set(ROUTES)


def test_a_known_user_is_there(world: World) -> None:
    assert world.database.rows(USERS_BY_NAME, name="other")
