"""The route table: every operation once, at the place the vendor's SDK calls, and found the right way."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest
from huaweicloudsdkcph.v1 import CphClient

from opencph.api.call import Call, Result
from opencph.api.neighbour_routes import NEIGHBOUR_ROUTES
from opencph.api.routes import ROUTES
from opencph.api.routing import Route, Router


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


CPH = [route for route in ROUTES if route.project and route not in NEIGHBOUR_ROUTES]


@pytest.mark.parametrize("route", CPH, ids=lambda route: route.operation)
def test_an_operation_is_where_the_sdk_calls_it(route: Route) -> None:
    http_info: dict[str, Any] = getattr(CphClient, f"_{snake(route.operation)}_http_info")(
        getattr(importlib.import_module("huaweicloudsdkcph.v1"), f"{route.operation}Request")()
    )
    assert (http_info["method"], http_info["resource_path"]) == (route.method, route.path)


@pytest.mark.parametrize("route", CPH, ids=lambda route: route.operation)
def test_a_handler_has_the_operations_name(route: Route) -> None:
    assert route.handler.__name__ == snake(route.operation)
    assert route.auth


def test_an_operation_has_one_route() -> None:
    names = [route.operation for route in ROUTES]
    assert len(names) == len(set(names))


def nothing(call: Call) -> Result:
    raise AssertionError


def route(operation: str, path: str, method: str = "GET") -> Route:
    return Route(operation, method, path, nothing)


def find(router: Router, path: bytes, method: str = "GET") -> tuple[str, list[str]] | None:
    found = router.find(method, path)
    return None if found is None else (found[0].operation, found[1])


def test_a_literal_segment_wins_and_a_parameter_takes_the_rest() -> None:
    router = Router(
        [
            route("Detail", "/v1/{project_id}/servers/{server_id}"),
            route("ShareFiles", "/v1/{project_id}/servers/share-files"),
            route("Attach", "/v1/{project_id}/servers/attach", "POST"),
            route("ProjectTags", "/v1/{project_id}/{resource_type}/tags"),
            route("ResourceTags", "/v1/{project_id}/{resource_type}/{resource_id}/tags"),
        ]
    )
    assert find(router, b"/v1/p/servers/share-files") == ("ShareFiles", ["p"])
    assert find(router, b"/v1/p/servers/x") == ("Detail", ["p", "x"])
    assert find(router, b"/v1/p/cph-server/tags") == ("ProjectTags", ["p", "cph-server"])
    assert find(router, b"/v1/p/servers/tags") == ("Detail", ["p", "tags"])
    assert find(router, b"/v1/p/servers/share-files/tags") == ("ResourceTags", ["p", "servers", "share-files"])
    assert find(router, b"/v1/p/servers/attach") == ("Detail", ["p", "attach"])
    assert find(router, b"/v1/p/servers/attach", "POST") == ("Attach", ["p"])


@pytest.mark.parametrize(
    "path", [b"", b"/", b"v1/p/servers", b"/v1//servers", b"/v1/p/servers/", b"//v1/p/servers", b"/v1/p/Servers"]
)
def test_what_differs_is_not_found(path: bytes) -> None:
    assert find(Router([route("List", "/v1/{project_id}/servers")]), path) is None


def test_segments_are_decoded_once_after_the_split() -> None:
    router = Router([route("Detail", "/v1/{project_id}/servers/{server_id}")])
    assert find(router, b"/v1/p/servers/a%2Fb%252F%E4%B8%AD") == ("Detail", ["p", "a/b%2F中"])
    assert find(router, b"/v1/p/%73ervers/x") == ("Detail", ["p", "x"])
    assert find(router, b"/v1/p/servers/%ff") == ("Detail", ["p", "\ufffd"])


def test_two_operations_at_one_place_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="both A and B"):
        Router([route("A", "/v1/{project_id}/x/{a}"), route("B", "/v1/{project_id}/x/{b}")])
    with pytest.raises(ValueError, match="second segment"):
        route("C", "/v1/x/{project_id}")
