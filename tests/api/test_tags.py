"""Tags through the vendor's SDK: set, delete, list, find, and everything that is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import huaweicloudsdkcph.v1 as cph
import pytest

from api.test_operations import UNKNOWN, client, refused

if TYPE_CHECKING:
    from api.api_service import Service

__all__ = ["client"]

TYPE = "cph-server"


@pytest.fixture(scope="module")
def server_ids(service: Service, client: Any) -> list[str]:
    """Two servers, `tagged-0001` and `tagged-0002`."""
    body = service.purchase(server_name="tagged", count=2)
    found = client.create_net2_cloud_phone_server(cph.CreateNet2CloudPhoneServerRequest(body=body)).server_ids
    return [str(one) for one in found]


def act(client: Any, server_id: str, action: str, **tags: str) -> Any:
    body = {"action": action, "tags": [{"key": key, "value": value} for key, value in tags.items()]}
    if action == "create":
        request = cph.BatchCreateTagsRequest(resource_type=TYPE, resource_id=server_id, body=body)
        return client.batch_create_tags(request)
    return client.batch_delete_tags(cph.BatchDeleteTagsRequest(resource_type=TYPE, resource_id=server_id, body=body))


def tags_of(client: Any, server_id: str) -> dict[str, str]:
    found = client.list_resource_tags(cph.ListResourceTagsRequest(resource_type=TYPE, resource_id=server_id))
    return {tag.key: tag.value for tag in found.tags}


def find(client: Any, **body: object) -> tuple[int, list[str] | None]:
    found = client.list_resource_instances(cph.ListResourceInstancesRequest(resource_type=TYPE, body=body))
    return found.total_count, None if found.resources is None else [one.resource_name for one in found.resources]


def test_tags_are_set_replaced_found_and_deleted(client: Any, server_ids: list[str]) -> None:
    one, two = server_ids
    act(client, one, "create", team="red", 环境="测试：一")
    act(client, one, "create", team="blue")
    act(client, two, "create", team="red", cost="a=b+c-d@e.f_g:h i")
    assert tags_of(client, one) == {"team": "blue", "环境": "测试：一"}
    listed = client.list_project_tags(cph.ListProjectTagsRequest(resource_type=TYPE, limit=2))
    assert listed.total_count == 3
    assert {tag.key: tag.values for tag in listed.tags} == {"cost": ["a=b+c-d@e.f_g:h i"], "team": ["blue", "red"]}
    rest = client.list_project_tags(cph.ListProjectTagsRequest(resource_type=TYPE, limit=2, offset=2))
    assert [tag.key for tag in rest.tags] == ["环境"]

    assert find(client, action="filter", tags=[{"key": "team", "values": ["red", "blue"]}]) == (2, ["tagged-0002", "tagged-0001"])
    assert find(client, action="filter", tags=[{"key": "team", "values": []}], limit="1", offset="1") == (2, ["tagged-0001"])
    both = [{"key": "team", "values": ["red"]}, {"key": "cost", "values": []}]
    assert find(client, action="filter", tags=both) == (1, ["tagged-0002"])
    assert find(client, action="count", tags=both) == (1, None)
    named = [{"key": "resource_name", "value": "tagged-0001"}]
    assert find(client, action="filter", matches=named) == (1, ["tagged-0001"])
    assert find(client, action="filter", without_any_tag=True, matches=named) == (0, [])

    act(client, two, "delete", team="green", cost="")
    assert tags_of(client, two) == {"team": "red"}
    act(client, two, "delete", team="red")
    assert tags_of(client, two) == {}


def test_an_action_answers_204_without_a_body(service: Service, client: Any, server_ids: list[str]) -> None:
    path = f"/v1/{service.project_id}/{TYPE}/{server_ids[0]}/tags/action"
    answer = service.json("POST", path, {"action": "create", "tags": [{"key": "k", "value": "v"}]})
    assert (answer.status_code, answer.content) == (204, b"") and answer.headers["X-Request-Id"]


def test_only_values_must_not_have_spaces_at_their_ends(client: Any, server_ids: list[str]) -> None:
    act(client, server_ids[1], "create", **{" k ": "v w"})
    assert tags_of(client, server_ids[1])[" k "] == "v w"
    act(client, server_ids[1], "delete", **{" k ": "v w"})
    assert " k " not in tags_of(client, server_ids[1])


@pytest.mark.parametrize(
    ("tags", "word"),
    [
        ([], "tags"),
        ([{"key": "", "value": "v"}], "tags[0].key"),
        ([{"key": "k"}], "tags[0].value"),
        ([{"key": "k", "value": ""}], "tags[0].value"),
        ([{"key": "k" * 128, "value": "v"}], "127"),
        ([{"key": "k", "value": "v" * 256}], "255"),
        ([{"key": "_sys_k", "value": "v"}], "_sys_"),
        ([{"key": "k", "value": " v"}], "space"),
        ([{"key": "k", "value": "v "}], "space"),
        ([{"key": "k", "value": "a/b"}], "'/'"),
        ([{"key": "k\0", "value": "v"}], "U+0000"),
        ([{"key": "k", "value": "v"}, {"key": "k", "value": "w"}], "twice"),
        ([{"key": f"k{number}", "value": "v"} for number in range(21)], "20"),
    ],
)
def test_tags_that_break_the_rules_are_refused(client: Any, server_ids: list[str], tags: list[object], word: str) -> None:
    before = tags_of(client, server_ids[1])
    request = cph.BatchCreateTagsRequest(resource_type=TYPE, resource_id=server_ids[1], body={"action": "create", "tags": tags})
    error = refused(client.batch_create_tags, request)
    assert error.error_code == "CPS.0118" and word in error.error_msg
    assert tags_of(client, server_ids[1]) == before


def test_the_twenty_first_tag_is_refused_whole(client: Any, server_ids: list[str]) -> None:
    act(client, server_ids[1], "create", **{f"n{number}": "x" for number in range(19)})
    before = tags_of(client, server_ids[1])
    body = {"action": "create", "tags": [{"key": "one", "value": "x"}, {"key": "two", "value": "x"}]}
    request = cph.BatchCreateTagsRequest(resource_type=TYPE, resource_id=server_ids[1], body=body)
    assert refused(client.batch_create_tags, request).error_code == "CPS.0118"
    assert tags_of(client, server_ids[1]) == before


def test_wrong_actions_types_and_ids_have_their_own_codes(client: Any, server_ids: list[str]) -> None:
    tags = [{"key": "k", "value": "v"}]

    def request(resource_type: str = TYPE, resource_id: str = server_ids[0], action: str = "create") -> Any:
        body = {"action": action, "tags": tags}
        return cph.BatchCreateTagsRequest(resource_type=resource_type, resource_id=resource_id, body=body)

    assert refused(client.batch_create_tags, request(action="update")).error_code == "CPS.0047"
    assert refused(client.batch_create_tags, request(resource_type="ecs")).error_code == "CPS.0116"
    assert refused(client.batch_create_tags, request(resource_id="x")).error_code == "CPS.0016"
    unknown = refused(client.batch_create_tags, request(resource_id=UNKNOWN))
    assert (unknown.status_code, unknown.error_code) == (404, "CPS.0015")
    listing = cph.ListResourceTagsRequest(resource_type=TYPE, resource_id=UNKNOWN)
    assert refused(client.list_resource_tags, listing).error_code == "CPS.0015"
    paging = cph.ListProjectTagsRequest(resource_type=TYPE, limit=101)
    assert refused(client.list_project_tags, paging).error_code == "CPS.0002"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"action": "find"}, "CPS.0047"),
        ({"action": "filter", "limit": "1001"}, "CPS.0002"),
        ({"action": "filter", "offset": "-1"}, "CPS.0002"),
        ({"action": "filter", "tags": [{"key": "k", "values": [str(n) for n in range(11)]}]}, "CPS.0118"),
        ({"action": "filter", "tags": [{"key": f"k{n}", "values": []} for n in range(11)]}, "CPS.0118"),
        ({"action": "filter", "tags": [{"key": "k", "values": ["a", "a"]}]}, "CPS.0118"),
        ({"action": "filter", "matches": [{"key": "name", "value": "x"}]}, "CPS.0118"),
    ],
)
def test_searches_that_break_the_rules_are_refused(client: Any, body: object, code: str) -> None:
    request = cph.ListResourceInstancesRequest(resource_type=TYPE, body=body)
    assert refused(client.list_resource_instances, request).error_code == code
