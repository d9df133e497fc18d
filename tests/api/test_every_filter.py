"""Every query parameter of the vendor's request models: it narrows, or is refused; none is passed over as if it were not there."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest

from api.test_neighbour_routes import CLIENTS, RENAMED, snake
from opencph.api.routes import ROUTES
from opencph.api.routing import Route

if TYPE_CHECKING:
    from api.api_service import Service

ALL_CLIENTS = (*CLIENTS, ("huaweicloudsdkcph.v1", "CphClient"), ("huaweicloudsdkiam.v3", "IamClient"))
NOBODY = "0123456789abcdef0123456789abcdef"
#: values that nothing has, where "nothing-has-this" is none that the operation would look for
NOTHING = {
    **dict.fromkeys(("server_id", "request_id", "request_ids", "event_id", "image_id", "src_project_id"), NOBODY),
    **dict.fromkeys(("id", "vpc_id", "port_id"), "00000000-0000-4000-8000-000000000000"),
    "offset": "999999999",
    "marker": "~",
    "enabled": "false",
    "is_domain": "true",
    "ip_version": "6",
    "share_type": "WHOLE",
    "create_since": "99999999999",
    "create_until": "1",
    "status": "4",
    "page": "7&per_page=1",
    "per_page": "7",
    "password_expires_at": "lt:2099-01-31T00:00:00Z",
    "publish_since": "2099-01-01T00:00:00Z",
    "server_ids": NOBODY,
    "publish_until": "2001-01-01T00:00:00Z",
    "limit": "x",
}
#: what says how an answer looks, and not what is in it
NO_FILTERS = {"nocatalog"}
#: lists in which a new installation has nothing, or which need an id to be asked at all
NEEDS_MORE = {"ListShareAppsSnapshot", "ListShareFiles", "ListImages", "ListImageMembers", "ListJobs", "ListScheduledEvents"} | {
    "ListProjectTags"
}
PATH = {"resource_type": "cph-server", "image_id": NOBODY, "server_id": NOBODY}


def query_fields(operation: str) -> list[str]:
    """The names of all query parameters that the SDK can send for an operation."""
    found = [RENAMED[operation]] if operation in RENAMED else [(module, client, operation) for module, client in ALL_CLIENTS]
    for module_name, client, name in found:
        module = importlib.import_module(module_name)
        make = getattr(getattr(module, client), f"_{snake(name)}_http_info", None)
        if make is not None:
            request = getattr(module, f"{name}Request")()
            for attribute in request.openapi_types:
                setattr(request, f"_{attribute}", "given")
            return [field for field, _ in make(request)["query_params"]]
    return []


ASKED: list[tuple[Route, str]] = [
    (route, field)
    for route in ROUTES
    if route.method == "GET"
    for field in query_fields(route.operation)
    if field not in NO_FILTERS
]


def elements(answer: dict[str, Any]) -> int:
    """How much the lists of an answer hold."""
    return sum(len(value) for value in answer.values() if isinstance(value, list))


@pytest.fixture(scope="module")
def order_id(service: Service) -> str:
    """A server that was bought, with one of everything that lists show."""
    v1 = f"/v1/{service.project_id}"
    option = {"type": "5_bgp"}, {"share_type": "PER", "size": 5, "name": "own"}
    made = (
        service.json("POST", f"{v1}/publicips", {"publicip": option[0], "bandwidth": option[1]}),
        bought := service.json("POST", f"{service.v2}/servers", service.purchase()),
    )
    assert [answer.status_code for answer in made] == [200, 200], [answer.text for answer in made]
    return str(bought.json()["order_id"])


def test_the_list_of_parameters_is_not_empty() -> None:
    operations = {route.operation for route, _ in ASKED}
    assert {"ListVpcs", "ListPublicips", "KeystoneListProjects", "ListCloudPhones", "ListKeypairs"} <= operations
    assert ("KeystoneListUsers", "password_expires_at") in {(route.operation, field) for route, field in ASKED}


@pytest.mark.parametrize(("route", "field"), ASKED, ids=[f"{route.operation}-{field}" for route, field in ASKED])
def test_a_value_that_nothing_has_finds_nothing(service: Service, order_id: str, route: Route, field: str) -> None:
    path = route.path.format(project_id=service.project_id, order_id=order_id, **PATH)
    everything = service.signed("GET", path)
    if route.operation not in NEEDS_MORE:
        assert everything.status_code == 200 and elements(everything.json()), everything.text
    given = NOTHING.get(field, "nothing-has-this")
    value = given if "&" in given else quote(given, safe="")
    found = service.signed("GET", path, f"{field}={value}")
    assert found.status_code in (400, 404) or elements(found.json()) == 0, found.text


@pytest.mark.parametrize(
    ("path", "field", "given"),
    [
        ("/v1/{}/vpcs", "id", "vpc_id"),
        ("/v1/{}/subnets", "vpc_id", "vpc_id"),
        ("/v3/projects", "name", "region"),
        ("/v3/projects", "domain_id", "domain_id"),
        ("/v3/projects", "parent_id", "domain_id"),
        ("/v3/users", "domain_id", "domain_id"),
        ("/v3/users", "name", "user_name"),
    ],
)
def test_a_value_that_something_has_finds_it(service: Service, path: str, field: str, given: str) -> None:
    value = service.credentials[given]
    for text in {value, value.upper()} if field.endswith("id") else {value}:
        found = service.signed("GET", path.format(service.project_id), urlencode({field: text}))
        assert elements(found.json()) == 1, found.text


@pytest.mark.parametrize("path", ["vpcs", "security-groups", "publicips", "bandwidths"])
@pytest.mark.parametrize("value", ["0", "all_granted_eps", ""])
def test_enterprise_projects_that_hold_everything_narrow_nothing(service: Service, order_id: str, path: str, value: str) -> None:
    url = f"/v1/{service.project_id}/{path}"
    found = service.signed("GET", url, f"enterprise_project_id={value}").json()
    assert found == service.signed("GET", url).json() and elements(found)


def test_filtered_vpcs_come_in_pages(service: Service) -> None:
    url = f"/v1/{service.project_id}/vpcs"
    made = []
    for number in range(6):
        body = {"vpc": {"name": "paged", "cidr": "10.0.0.0/8", "enterprise_project_id": f"e-{number % 2}"}}
        made.append(service.json("POST", url, body).json()["vpc"]["id"])
    seen: list[str] = []
    marker = ""
    while page := service.signed("GET", url, f"enterprise_project_id=e-1&limit=2&marker={marker}").json()["vpcs"]:
        seen += [one["id"] for one in page]
        marker = page[-1]["id"].upper()  # an id all the same
    assert seen == sorted(made[1::2])


def test_projects_come_in_pages_that_end(service: Service) -> None:
    path = "/v3/projects"
    first = service.signed("GET", path, "page=1&per_page=1").json()
    assert [one["id"] for one in first["projects"]] == [service.project_id] and first["links"]["next"] is None
    second = service.signed("GET", path, "enabled=True&page=2&per_page=1").json()
    assert second["projects"] == [] and second["links"]["previous"].endswith("?enabled=true&page=1&per_page=1")


@pytest.mark.parametrize("query", ["page=x&per_page=1", "page=0&per_page=1", "page=1", "per_page=5001&page=1", "enabled=zz"])
def test_a_malformed_query_of_projects_is_refused(service: Service, query: str) -> None:
    answer = service.signed("GET", "/v3/projects", query)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 400)
