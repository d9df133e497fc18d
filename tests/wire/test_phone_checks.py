"""The bodies that restart, reset and stop phones, and the query parameters of the lists."""

from __future__ import annotations

import json
from typing import Any

import pytest

from opencph.wire import phone_checks, query_checks
from opencph.wire.checks import check_id
from opencph.wire.errors import CphError

PHONE = "1564567b8bab40f34711234cb80d8574"
SERVER = "1234567b8bab40ffb711234cb80d0234"


def body(value: object) -> bytes:
    return json.dumps(value).encode()


def test_a_restart_keeps_the_order_of_its_phones() -> None:
    request = phone_checks.restart_cloud_phone(
        body({"image_id": "i" * 32, "phones": [{"phone_id": PHONE, "property": "{}"}, {"phone_id": "x"}]})
    )
    assert request.image_id == "i" * 32
    assert [(phone.phone_id, phone.property) for phone in request.phones] == [(PHONE, "{}"), ("x", "")]


def test_a_reset_may_erase_the_property_history() -> None:
    request = phone_checks.reset_cloud_phone(
        body({"phones": [{"phone_id": PHONE, "factory_reset_enabled": True}, {"phone_id": "x"}]})
    )
    assert [phone.factory_reset_enabled for phone in request.phones] == [True, False]
    assert request.image_id is None


def test_what_is_wrong_with_one_phone_does_not_refuse_the_call() -> None:
    phones = [{"phone_id": "no such form", "property": '{"no.such.key":1}'}, {"phone_id": PHONE}]
    assert len(phone_checks.restart_cloud_phone(body({"phones": phones})).phones) == 2


@pytest.mark.parametrize("operation", [phone_checks.restart_cloud_phone, phone_checks.reset_cloud_phone])
@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({}, "CPS.0077"),
        ({"phones": []}, "CPS.0077"),
        ({"phones": {}}, "CPS.0077"),
        ({"phones": [PHONE]}, "CPS.0077"),
        ({"phones": [{}]}, "CPS.0004"),
        ({"phones": [{"phone_id": 5}]}, "CPS.0004"),
        ({"phones": [{"phone_id": PHONE, "property": {}}]}, "CPS.0078"),
        ({"image_id": 5, "phones": [{"phone_id": PHONE}]}, "CPS.0030"),
        ({"image_id": "i" * 33, "phones": [{"phone_id": PHONE}]}, "CPS.0030"),
        ({"phones": [{"phone_id": PHONE}] * 10_001}, "CPS.0190"),
    ],
)
def test_a_malformed_batch_is_refused_as_a_whole(operation: Any, value: object, code: str) -> None:
    with pytest.raises(CphError) as refused:
        operation(body(value))
    assert refused.value.code == code


def test_the_reset_flag_must_be_a_boolean() -> None:
    with pytest.raises(CphError) as refused:
        phone_checks.reset_cloud_phone(body({"phones": [{"phone_id": PHONE, "factory_reset_enabled": "true"}]}))
    assert refused.value.code == "CPS.0077"
    assert "factory_reset_enabled" in refused.value.message


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({}, "CPS.0009"),
        ({"phone_ids": []}, "CPS.0009"),
        ({"phone_ids": PHONE}, "CPS.0080"),
        ({"phone_ids": [5]}, "CPS.0080"),
        ({"phone_ids": [PHONE] * 10_001}, "CPS.0190"),
    ],
)
def test_a_malformed_stop_is_refused(value: object, code: str) -> None:
    with pytest.raises(CphError) as refused:
        phone_checks.stop_cloud_phone(body(value))
    assert refused.value.code == code


@pytest.mark.parametrize("value", ["", "x", PHONE + "0", PHONE[:-1], "g" * 32, PHONE + "\n"])
def test_an_id_has_32_hexadecimal_characters(value: str) -> None:
    with pytest.raises(CphError) as refused:
        check_id(value, "CPS.0004", "phone_id")
    assert refused.value.code == "CPS.0004"
    assert check_id(PHONE.upper(), "CPS.0004", "phone_id") == PHONE


@pytest.mark.parametrize(
    ("operation", "high"),
    [
        (query_checks.list_cloud_phone_servers, 100),
        (query_checks.list_cloud_phones, 200),
        (query_checks.list_cloud_phone_models, 100),
        (query_checks.list_cloud_phone_server_models, 100),
        (query_checks.list_cloud_phone_images, 500),
        (lambda query: query_checks.list_jobs({"request_id": "r", **query}), 100),
    ],
)
def test_every_list_has_its_own_largest_page(operation: Any, high: int) -> None:
    assert operation({}).limit == min(high, 500 if high == 500 else 100)
    assert operation({"limit": str(high)}).limit == high
    assert operation({"limit": "1"}).limit == 1
    for bad in ("0", str(high + 1), "-1", "x", "", "1.5", "1e2", "٣", "9" * 40):
        with pytest.raises(CphError) as refused:
            operation({"limit": bad})
        assert refused.value.code == "CPS.0002"
        assert "limit" in refused.value.message


def test_an_offset_past_the_end_is_fine_and_a_negative_one_is_not() -> None:
    assert query_checks.list_cloud_phones({"offset": "1000000000"}).offset == 1_000_000_000
    for bad in ("-1", "x", ""):
        with pytest.raises(CphError) as refused:
            query_checks.list_cloud_phones({"offset": bad})
        assert refused.value.code == "CPS.0002"


def test_the_largest_offset_has_18_digits() -> None:
    assert query_checks.list_cloud_phones({"offset": "9" * 18}).offset == 10**18 - 1
    for larger in (10**18, 2**63):
        with pytest.raises(CphError, match="at most 18 digits") as refused:
            query_checks.list_cloud_phones({"offset": str(larger)})
        assert refused.value.code == "CPS.0002"


@pytest.mark.parametrize(
    ("operation", "query", "code"),
    [
        (query_checks.list_cloud_phones, {"status": "5"}, "CPS.0010"),
        (query_checks.list_cloud_phones, {"status": "x"}, "CPS.0010"),
        (query_checks.list_cloud_phones, {"type": "2"}, "CPS.0116"),
        (query_checks.list_cloud_phones, {"server_id": "x"}, "CPS.0016"),
        (query_checks.list_cloud_phones, {"phone_name": "n" * 257}, "CPS.0025"),
        (query_checks.list_cloud_phone_servers, {"status": "7"}, "CPS.0010"),
        (query_checks.list_cloud_phone_servers, {"server_name": "n" * 257}, "CPS.0087"),
        (query_checks.list_cloud_phone_servers, {"network_version": "v3"}, "CPS.0240"),
        (query_checks.list_cloud_phone_servers, {"create_since": "yesterday"}, "CPS.0174"),
        (query_checks.list_cloud_phone_servers, {"create_until": "-1"}, "CPS.0174"),
        (query_checks.list_cloud_phone_models, {"status": "2"}, "CPS.0010"),
        (query_checks.list_cloud_phone_server_models, {"product_type": "2"}, "CPS.0144"),
        (query_checks.list_cloud_phone_images, {"image_type": "secret"}, "CPS.0116"),
        (query_checks.list_cloud_phones, {"phone_name": "a\0"}, "CPS.0025"),
        (query_checks.list_jobs, {"request_id": "a\0"}, "CPS.0050"),
        (query_checks.list_jobs, {}, "CPS.0049"),
        (query_checks.list_jobs, {"request_id": ""}, "CPS.0049"),
        (query_checks.list_jobs, {"request_ids": " , "}, "CPS.0049"),
        (query_checks.list_jobs, {"request_ids": ",".join(f"{number:032x}" for number in range(21))}, "CPS.0161"),
    ],
)
def test_a_bad_filter_answers_with_its_own_code(operation: Any, query: dict[str, str], code: str) -> None:
    with pytest.raises(CphError) as refused:
        operation(query)
    assert refused.value.code == code


def test_filters_are_decoded() -> None:
    query = query_checks.list_cloud_phone_servers(
        {"network_version": "V2", "status": "5", "server_id": SERVER.upper(), "create_since": "1700000000", "server_name": ""}
    )
    assert (query.network_version, query.status, query.server_id, query.create_since, query.server_name) == (
        *("v2", 5, SERVER, 1_700_000_000),
        None,
    )
    assert query_checks.list_cloud_phones({"status": "-8", "type": "0"}).status == -8


def test_request_ids_win_over_request_id_and_count_once() -> None:
    query = query_checks.list_jobs({"request_id": "a", "request_ids": "b, C,b"})
    assert query.request_ids == ("b", "c")
    assert query_checks.list_jobs({"request_id": "a"}).request_ids == ("a",)
