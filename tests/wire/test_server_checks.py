"""Every field of the bodies that create, change and delete servers: at its limit, beyond it, of another type, left out."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencph.wire import server_checks
from opencph.wire.errors import CphError

UUID = "fca063f6-b942-42a8-9004-e5545f58d6a2"
SERVER_ID = "1234567b8bab40ffb711234cb80d0234"
PROPERTY = '{"sys.prop.writephonenum":"13666666666","sys.prop.writeimsi":"460021624617113","sys.prop.writewifissid":"test_wifi"}'
#: the example of the seed page, verbatim
CHANGE: dict[str, Any] = {
    "phone_model_name": "kg1.cp.c20.d64SSD.e1v1",
    "image_id": "20060220200717f201120a2300000e91",
    "keypair_name": "keypair",
    "property": PROPERTY,
    "ports": [
        {"name": "myServer1", "listen_port": 20000, "internet_accessible": "false"},
        {"name": "myServer2", "listen_port": 20001, "internet_accessible": "true"},
    ],
    "extend_param": {"enterprise_project_id": "0"},
    "tenant_vpc_id": UUID,
    "nics": [{"subnet_id": "f1cbfc37-eb42-4357-a0ec-9e4f11950908"}],
    "public_ip": {"eip": {"type": "5_bgp"}},
    "band_width": {"band_width_share_type": 0, "band_width_size": 300, "band_width_charge_mode": 1},
}
CREATE: dict[str, Any] = {
    **CHANGE,
    "server_name": "server-1",
    "server_model_name": "physical.kg1.4xlarge.cp",
    "count": 1,
    "extend_param": {"charging_mode": 0, "period_type": 2, "period_num": 1, "is_auto_pay": 1, "is_auto_renew": 0},
}
GONE = object()


def changed(body: dict[str, Any], path: str, value: object) -> bytes:
    """The body with one field set, or taken away, at a dotted path."""
    result: Any = copy.deepcopy(body)
    at = result
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in way:
        at = at[part]
    if value is GONE:
        del at[last]
    else:
        at[last] = value
    return json.dumps(result).encode()


def create(path: str, value: object) -> object:
    return server_checks.create_net2_cloud_phone_server(changed(CREATE, path, value))


def change(path: str, value: object) -> object:
    return server_checks.change_cloud_phone_server(changed(CHANGE, path, value))


def test_the_seed_pages_example_passes_and_comes_back_as_it_was() -> None:
    request = server_checks.change_cloud_phone_server(json.dumps(CHANGE).encode())
    assert request.phone_model_name == "kg1.cp.c20.d64SSD.e1v1"
    assert [(port.name, port.listen_port, port.public) for port in request.ports] == [
        ("myServer1", 20000, False),
        ("myServer2", 20001, True),
    ]
    assert request.nics[0].subnet_id == "f1cbfc37-eb42-4357-a0ec-9e4f11950908"
    assert request.public_ip.eip is not None and request.public_ip.eip.type == "5_bgp" and request.public_ip.wanted == 1
    assert request.band_width.band_width_size == 300
    assert request.property == PROPERTY
    assert request.extend_param is not None and request.extend_param.enterprise_project_id == "0"


def test_only_the_mandatory_fields_of_a_change_pass() -> None:
    names = ("phone_model_name", "image_id", "tenant_vpc_id", "nics", "public_ip", "band_width")
    request = server_checks.change_cloud_phone_server(json.dumps({name: CHANGE[name] for name in names}).encode())
    assert request.ports == () and request.property == "" and request.keypair_name is None and request.availability_zone is None


#: (path, value, code): faults that both bodies share
FAULTS: list[tuple[str, object, str]] = [
    ("phone_model_name", GONE, "CPS.0027"),
    ("phone_model_name", None, "CPS.0027"),
    ("phone_model_name", "", "CPS.0027"),
    ("phone_model_name", 5, "CPS.0028"),
    ("phone_model_name", "x" * 65, "CPS.0028"),
    ("phone_model_name", "中" * 22, "CPS.0028"),  # 66 bytes in 22 characters
    ("image_id", GONE, "CPS.0029"),
    ("image_id", "a\0", "CPS.0030"),
    ("image_id", "", "CPS.0029"),
    ("image_id", ["a"], "CPS.0030"),
    ("image_id", "a" * 33, "CPS.0030"),
    ("image_id", "中" * 11, "CPS.0030"),
    ("keypair_name", "", "CPS.0068"),
    ("keypair_name", 1, "CPS.0067"),
    ("keypair_name", "k" * 65, "CPS.0067"),
    ("availability_zone", 7, "CPS.0136"),
    ("availability_zone", "z" * 65, "CPS.0136"),
    ("ports", {}, "CPS.0037"),
    ("ports", "80", "CPS.0037"),
    ("ports", [1], "CPS.0037"),
    ("ports", [{"name": f"p{n}", "listen_port": 10000 + n, "internet_accessible": "x"} for n in range(101)], "CPS.0037"),
    ("ports.0.name", GONE, "CPS.0038"),
    ("ports.0.name", "", "CPS.0038"),
    ("ports.0.name", 5, "CPS.0038"),
    ("ports.0.name", "n" * 17, "CPS.0038"),
    ("ports.0.name", "adb", "CPS.0038"),
    ("ports.0.name", "ADB", "CPS.0038"),
    ("ports.0.name", "Vnc", "CPS.0038"),
    ("ports.0.name", "my server", "CPS.0038"),
    ("ports.0.name", "端口", "CPS.0038"),
    ("ports.0.name", "web\n", "CPS.0038"),
    ("ports.0.name", "myServer2", "CPS.0039"),
    ("ports.0.listen_port", GONE, "CPS.0040"),
    ("ports.0.listen_port", 9999, "CPS.0040"),
    ("ports.0.listen_port", 50001, "CPS.0040"),
    ("ports.0.listen_port", "20000", "CPS.0040"),
    ("ports.0.listen_port", 20000.5, "CPS.0040"),
    ("ports.0.listen_port", True, "CPS.0040"),
    ("ports.0.listen_port", 10**30, "CPS.0040"),
    ("ports.0.listen_port", 20001, "CPS.0041"),
    ("ports.0.internet_accessible", GONE, "CPS.0093"),
    ("ports.0.internet_accessible", "", "CPS.0093"),
    ("ports.0.internet_accessible", True, "CPS.0093"),
    ("extend_param", [], "CPS.0055"),
    ("extend_param.enterprise_project_id", 0, "CPS.0055"),
    ("extend_param.enterprise_project_id", "e" * 37, "CPS.0055"),
    ("tenant_vpc_id", GONE, "CPS.0223"),
    ("tenant_vpc_id", "", "CPS.0223"),
    ("tenant_vpc_id", "fca063f6b94242a89004e5545f58d6a2", "CPS.0223"),
    ("tenant_vpc_id", UUID + "0", "CPS.0223"),
    ("tenant_vpc_id", 3, "CPS.0223"),
    ("nics", GONE, "CPS.0226"),
    ("nics", [], "CPS.0226"),
    ("nics", {}, "CPS.0226"),
    ("nics", ["x"], "CPS.0226"),
    ("nics", [{"subnet_id": UUID}, {"subnet_id": UUID}], "CPS.0226"),
    ("nics.0.subnet_id", GONE, "CPS.0224"),
    ("nics.0.subnet_id", "x", "CPS.0224"),
    ("nics.0.ipv6_enable", "true", "CPS.0226"),
    ("nics.0.ipv6_bandwidth", "x", "CPS.0226"),
    ("nics.0.ipv6_bandwidth", {}, "CPS.0032"),
    ("nics.0.ipv6_bandwidth", {"band_width_id": "x"}, "CPS.0033"),
    ("public_ip", [], "CPS.0238"),
    ("public_ip", {}, "CPS.0238"),
    ("public_ip", {"ids": []}, "CPS.0238"),
    ("public_ip", {"ids": "x"}, "CPS.0238"),
    ("public_ip", {"ids": [1]}, "CPS.0238"),
    ("public_ip", {"ids": [UUID, UUID]}, "CPS.0238"),
    ("public_ip", {"ids": ["x"]}, "CPS.0239"),
    ("public_ip", {"ids": [UUID], "eip": {"type": "5_bgp"}}, "CPS.0238"),
    ("public_ip", {"ids": [UUID], "count": 2}, "CPS.0238"),
    ("public_ip", {"ids": [UUID], "count": 0}, "CPS.0238"),
    ("public_ip.eip", "5_bgp", "CPS.0239"),
    ("public_ip.eip", {}, "CPS.0239"),
    ("public_ip.eip.type", "5_BGP", "CPS.0239"),
    ("public_ip.eip.type", 5, "CPS.0239"),
    ("public_ip.count", -1, "CPS.0238"),
    ("public_ip.count", "1", "CPS.0238"),
    ("phone_count_per_ip", 0, "CPS.0024"),
    ("phone_count_per_ip", "1", "CPS.0024"),
    ("phone_count_per_ip", 1.5, "CPS.0024"),
    ("phone_data_volume", 100, "CPS.0157"),
    ("phone_data_volume", {}, "CPS.0116"),
    ("phone_data_volume", {"volume_type": "SAS", "size": 10}, "CPS.0116"),
    ("phone_data_volume", {"volume_type": "SSD"}, "CPS.0157"),
    ("phone_data_volume", {"volume_type": "SSD", "size": 32769}, "CPS.0157"),
    ("phone_data_volume", {"volume_type": "SSD", "size": "10"}, "CPS.0157"),
    ("server_share_data_volume", {"volume_type": "GPSSD", "size": 9}, "CPS.0157"),
    ("server_share_data_volume", {"volume_type": "gpssd", "size": 10}, "CPS.0116"),
    ("band_width", [], "CPS.0031"),
    ("band_width.band_width_share_type", GONE, "CPS.0034"),
    ("band_width.band_width_share_type", 2, "CPS.0034"),
    ("band_width.band_width_share_type", "0", "CPS.0034"),
    ("band_width.band_width_share_type", False, "CPS.0034"),
    ("band_width.band_width_charge_mode", GONE, "CPS.0035"),
    ("band_width.band_width_charge_mode", 2, "CPS.0035"),
    ("band_width.band_width_size", GONE, "CPS.0036"),
    ("band_width.band_width_size", 0, "CPS.0036"),
    ("band_width.band_width_size", 2001, "CPS.0036"),
    ("band_width.band_width_size", "300", "CPS.0036"),
    ("band_width.band_width_id", "x", "CPS.0033"),
    ("band_width", {"band_width_share_type": 1, "band_width_charge_mode": 1, "band_width_size": 5}, "CPS.0032"),
    ("property", {}, "CPS.0078"),
    ("property", "[]", "CPS.0078"),
    ("property", "{", "CPS.0078"),
    ("property", '{"a":1}' + " " * 8186, "CPS.0078"),
    ("property", '{"no.such.key":"1"}', "CPS.0163"),
    ("property", '{"com.cph.mainkeys":"2"}', "CPS.0164"),
]


@pytest.mark.parametrize("operation", [create, change])
@pytest.mark.parametrize(("path", "value", "code"), FAULTS)
def test_a_fault_answers_with_its_own_code_and_names_the_field(operation: Any, path: str, value: object, code: str) -> None:
    with pytest.raises(CphError) as refused:
        operation(path, value)
    assert refused.value.code == code
    assert refused.value.status == 400
    named = [part for part in path.split(".") if not part.isdigit()]
    assert any(part in refused.value.message for part in named), refused.value.message
    assert len(refused.value.message) < 400


@pytest.mark.parametrize("operation", [create, change])
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("phone_model_name", "x" * 64),
        ("phone_model_name", "中" * 21),
        ("image_id", "a" * 32),
        ("keypair_name", "k" * 64),
        ("keypair_name", GONE),
        ("keypair_name", None),
        ("availability_zone", ""),
        ("availability_zone", "cn-east-3a"),
        ("ports", GONE),
        ("ports", None),
        ("ports", []),
        ("ports.0.name", "n" * 16),
        ("ports.0.name", "adbx"),
        ("ports.0.name", "a_b-9"),
        ("ports.0.listen_port", 10000),
        ("ports.0.listen_port", 50000),
        ("ports.0.internet_accessible", "no idea"),
        ("tenant_vpc_id", UUID.upper()),
        ("nics.0.ipv6_enable", True),
        ("nics.0.ipv6_bandwidth", {"band_width_id": UUID}),
        ("public_ip", {"ids": [UUID]}),
        ("public_ip", {"ids": [UUID], "count": 1}),
        ("public_ip", {"count": 0}),
        ("public_ip", {"eip": {"type": "5_telcom"}, "count": 100}),
        ("phone_count_per_ip", 1),
        ("phone_data_volume", {"volume_type": "SSD", "size": 10}),
        ("phone_data_volume", {"volume_type": "GPSSD", "size": 32768}),
        ("server_share_data_volume", {"volume_type": "GPSSD", "size": 10}),
        ("band_width.band_width_size", 1),
        ("band_width.band_width_size", 2000),
        ("band_width", {"band_width_share_type": 1, "band_width_id": UUID, "band_width_charge_mode": 1}),
        ("band_width", {"band_width_share_type": 0, "band_width_id": UUID, "band_width_charge_mode": 0}),
        ("property", GONE),
        ("property", None),
        ("property", "{}" + " " * 8190),
        ("unknown_field", {"deep": [1]}),
    ],
)
def test_what_is_at_the_limit_or_left_out_passes(operation: Any, path: str, value: object) -> None:
    operation(path, value)


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        ("server_name", GONE, "CPS.0087"),
        ("server_name", "", "CPS.0087"),
        ("server_name", "n" * 61, "CPS.0087"),
        ("server_name", "a b", "CPS.0087"),
        ("server_name", "a.b", "CPS.0087"),
        ("server_name", "é", "CPS.0087"),
        ("server_name", "a\n", "CPS.0087"),
        ("server_model_name", GONE, "CPS.0088"),
        ("server_model_name", "m" * 65, "CPS.0089"),
        ("count", GONE, "CPS.0024"),
        ("count", 0, "CPS.0024"),
        ("count", 11, "CPS.0024"),
        ("count", "1", "CPS.0024"),
        ("extend_param", GONE, "CPS.0055"),
        ("extend_param.charging_mode", GONE, "CPS.0056"),
        ("extend_param.charging_mode", 2, "CPS.0056"),
        ("extend_param.period_type", GONE, "CPS.0057"),
        ("extend_param.period_type", 1, "CPS.0057"),
        ("extend_param.period_num", GONE, "CPS.0058"),
        ("extend_param.period_num", 0, "CPS.0058"),
        ("extend_param.period_num", 10, "CPS.0058"),
        ("extend_param.is_auto_pay", 2, "CPS.0060"),
        ("extend_param.is_auto_pay", True, "CPS.0060"),
        ("extend_param.is_auto_renew", "1", "CPS.0059"),
        ("phone_data_volume", {"volume_type": "SSD", "size": 0}, "CPS.0157"),
        ("band_width", GONE, "CPS.0031"),
    ],
)
def test_a_fault_of_a_purchase_answers_with_its_own_code(path: str, value: object, code: str) -> None:
    with pytest.raises(CphError) as refused:
        create(path, value)
    assert refused.value.code == code
    assert path.rpartition(".")[2] in refused.value.message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("server_name", "n" * 60),
        ("server_name", "云" * 60),
        ("server_name", "Srv_1-中"),
        ("count", 10),
        ("extend_param", {"charging_mode": 1}),
        ("extend_param", {"charging_mode": 0, "period_type": 2, "period_num": 9}),
        ("extend_param", {"charging_mode": 0, "period_type": 3, "period_num": 10}),
        ("phone_data_volume", {"volume_type": "SSD", "size": 1}),
        ("public_ip", GONE),
        ("band_width", {"band_width_share_type": 1, "band_width_id": UUID}),
        ("property", ""),
    ],
)
def test_what_a_purchase_may_say_passes(path: str, value: object) -> None:
    create(path, value)


def test_terraforms_purchase_with_an_existing_eip_needs_no_bandwidth() -> None:
    body = {**CREATE, "public_ip": {"ids": [UUID]}}
    del body["band_width"]
    request = server_checks.create_net2_cloud_phone_server(json.dumps(body).encode())
    assert request.band_width is None and request.public_ip is not None and request.public_ip.wanted == 1


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        ("public_ip", GONE, "CPS.0238"),
        ("band_width", GONE, "CPS.0031"),
        ("phone_data_volume", {"volume_type": "SSD", "size": 9}, "CPS.0157"),
        ("band_width", {"band_width_share_type": 1, "band_width_id": UUID}, "CPS.0035"),
        ("property", "", "CPS.0078"),
    ],
)
def test_a_change_is_as_strict_as_its_page(path: str, value: object, code: str) -> None:
    with pytest.raises(CphError) as refused:
        change(path, value)
    assert refused.value.code == code


@pytest.mark.parametrize("enterprise", [{}, {"enterprise_project_id": None}, {"enterprise_project_id": ""}])
def test_a_change_without_enterprise_project_goes_to_the_default_one(enterprise: dict[str, object]) -> None:
    request = server_checks.change_cloud_phone_server(changed(CHANGE, "extend_param", enterprise))
    assert request.extend_param is not None and request.extend_param.enterprise_project_id == "0"


#: valid keys, whose compact JSON has as many bytes as asked for
def property_of(size: int) -> str:
    wanted = {f"com.cph.cg.{name}_url": "http://" + "u" * 249 for name in ("sign_check", "event_notify", "heartbeat")}
    wanted |= dict.fromkeys(("ro.hardware.gpurenderer", "ro.board.platform", "ro.build.product", "ro.product.device"), "d" * 91)
    wanted |= dict.fromkeys(("ro.com.cph.sfs_enable", "ro.product.manufacturer", "ro.product.name", "qemu.hw.mainkeys"), "d" * 91)
    wanted |= {"sys.prop.writewifissid": "w" * 64, "persist.sys.locale": "l" * 60, "com.cph.cam_local_pic_path": ""}
    wanted["com.cph.cam_local_pic_path"] = "p" * (size - len(json.dumps(wanted, separators=(",", ":"))))
    assert len(json.dumps(wanted, separators=(",", ":"))) == size
    return json.dumps(wanted, indent=4)


@pytest.mark.parametrize("operation", [create, change])
def test_a_property_text_is_kept_without_white_space_and_measured_so(operation: Any) -> None:
    spaced = ' {"com.cph.mainkeys" : 0,\n "com.cph.mainkeys" : 1 , "com.cph.cam_local_pic_path": "\\u4e2d" }' + " " * 3000
    assert operation("property", spaced).property == '{"com.cph.mainkeys":1,"com.cph.cam_local_pic_path":"中"}'
    assert len(operation("property", property_of(2048)).property) == 2048
    with pytest.raises(CphError, match="property has 2049 bytes without white space: at most 2048") as refused:
        operation("property", property_of(2049))
    assert refused.value.code == "CPS.0078"


@pytest.mark.parametrize("operation", [create, change])
@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("public_ip.count", -1, "public_ip.count -1: must be 0 to the number of phone addresses"),
        ("phone_count_per_ip", 0, "phone_count_per_ip 0: must be 1 to the number of phones of the flavor"),
    ],
)
def test_a_limit_that_depends_on_the_flavor_is_said_in_words(operation: Any, path: str, value: int, said: str) -> None:
    with pytest.raises(CphError, match=said):
        operation(path, value)


def test_the_first_fault_in_the_pages_order_is_answered() -> None:
    body = {**CHANGE, "phone_model_name": "", "image_id": "", "ports": 5}
    with pytest.raises(CphError) as refused:
        server_checks.change_cloud_phone_server(json.dumps(body).encode())
    assert refused.value.code == "CPS.0027"


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"   ", b"{", b"nul", b"[]", b'"x"', b"5", b"null", b"\xff\xfe", b'{"a":"\xff"}', b'{"a":"\\ud800"}', b"{}x"),
        b'{"a":' * 100_000,
    ],
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    for operation in (
        server_checks.create_net2_cloud_phone_server,
        server_checks.change_cloud_phone_server,
        server_checks.delete_cloud_phone_server,
    ):
        with pytest.raises(CphError) as refused:
            operation(body)
        assert refused.value.code == "APIGW.0201"
        assert refused.value.status == 400


def test_of_duplicate_keys_the_last_counts() -> None:
    body = json.dumps(CHANGE).encode().replace(b'"phone_model_name"', b'"phone_model_name":"first","phone_model_name"')
    assert server_checks.change_cloud_phone_server(body).phone_model_name == "kg1.cp.c20.d64SSD.e1v1"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(path=st.sampled_from(sorted({path for path, _, _ in FAULTS})), value=json_values)
def test_any_value_anywhere_passes_or_is_refused_with_a_code(path: str, value: object) -> None:
    for operation in (create, change):
        try:
            operation(path, value)
        except CphError as error:
            assert error.code.startswith("CPS.") and error.status == 400


@pytest.mark.parametrize(
    ("server_ids", "code"),
    [
        (GONE, "CPS.0095"),
        (None, "CPS.0095"),
        ([], "CPS.0095"),
        ("x", "CPS.0094"),
        ([1], "CPS.0094"),
        (["x"], "CPS.0094"),
        ([SERVER_ID + "0"], "CPS.0094"),
        ([SERVER_ID] * 11, "CPS.0096"),
    ],
)
def test_the_servers_to_delete_are_checked(server_ids: object, code: str) -> None:
    with pytest.raises(CphError) as refused:
        server_checks.delete_cloud_phone_server(changed({"server_ids": []}, "server_ids", server_ids))
    assert refused.value.code == code
    assert "server_ids" in refused.value.message


def test_ten_servers_can_be_deleted_and_each_counts_once() -> None:
    ids = [f"{number:032x}" for number in range(9)] + [f"{8:032X}"]
    request = server_checks.delete_cloud_phone_server(json.dumps({"server_ids": ids}).encode())
    assert request.server_ids == tuple(f"{number:032x}" for number in range(9))
