"""Every property rule: what passes, what does not, and with which code."""

from __future__ import annotations

import json

import pytest

from opencph.wire.errors import CphError
from opencph.wire.properties import PROPERTY_MAX_CHARACTERS, RULES, check_properties

GOOD: list[tuple[str, object]] = [
    ("com.cph.mainkeys", 0),
    ("com.cph.mainkeys", "1"),
    ("disable.status.bar", 1),
    ("ro.permission.changed", 1),
    ("ro.install.auto", "0"),
    ("ro.com.cph.non_root", 0),
    ("ro.com.cph.notification_disable", 1),
    ("com.cph.disable_fb_permission", 1),
    ("ro.com.cph.toast_enable", 0),
    ("ro.horizontal.screen", "1"),
    ("ro.com.cph.cloud_app_engine", "1"),
    ("com.cph.bandwidth_limit", "-1"),
    ("com.cph.bandwidth_limit", "1"),
    ("com.cph.bandwidth_limit", 99999999),
    ("com.cph.cam_local_pic_path", "/sdcard/图 1_@#.:-.png"),
    ("com.cph.cam_local_pic_path", "x" * 90),
    ("persist.sys.locale", "zh-Hans-CN"),
    ("sys.prop.writeimsi", "460021624617113"),
    ("sys.prop.writephonenum", "1" * 20),
    ("sys.prop.writephonenum", 13666666666),
    ("sys.prop.writewifissid", "test_wifi"),
    ("sys.prop.writewifissid", "w" * 64),
    ("gsm.sim.operator.iso-country", "cn,us"),
    ("gsm.sim.operator.numeric", "46000"),
    ("gsm.sim.operator.alpha", "CMCC"),
    ("gsm.operator.iso-country", "cn"),
    ("gsm.operator.numeric", 46000),
    ("gsm.operator.alpha", "CMCC,CUCC"),
    ("com.cph.cg.sign_check_url", "https://example.com:8443/check"),
    ("com.cph.cg.event_notify_url", "http://a/b_c.d,e"),
    ("com.cph.cg.heartbeat_url", "http://a"),
    ("com.cph.cg.heartbeat_interval", "30"),
    ("com.cph.cg.app_port", "10000"),
    ("com.cph.cg.h5_port", 11000),
    ("ro.hardware.gpurenderer", "mali"),
    ("ro.board.platform", "hi3660"),
    ("ro.build.product", "STF"),
    ("ro.product.device", "HWSTF"),
    ("ro.com.cph.sfs_enable", "0"),
    ("ro.product.manufacturer", "Huawei"),
    ("ro.product.name", "monbox"),
    ("qemu.hw.mainkeys", "0"),
]

BAD: list[tuple[str, object]] = [
    ("com.cph.mainkeys", 2),
    ("com.cph.mainkeys", True),
    ("com.cph.mainkeys", None),
    ("com.cph.mainkeys", 0.0),
    ("com.cph.mainkeys", ["0"]),
    ("disable.status.bar", ""),
    ("ro.permission.changed", "1\n"),
    ("ro.install.auto", "01"),
    ("ro.com.cph.non_root", "true"),
    ("ro.com.cph.notification_disable", -1),
    ("com.cph.disable_fb_permission", "x"),
    ("ro.com.cph.toast_enable", 10),
    ("ro.horizontal.screen", "2"),
    ("ro.com.cph.cloud_app_engine", "on"),
    ("com.cph.bandwidth_limit", "0"),
    ("com.cph.bandwidth_limit", "100000000"),
    ("com.cph.bandwidth_limit", "-2"),
    ("com.cph.cam_local_pic_path", ""),
    ("com.cph.cam_local_pic_path", "x" * 91),
    ("com.cph.cam_local_pic_path", "a;b"),
    ("persist.sys.locale", ""),
    ("persist.sys.locale", "zh_CN"),
    ("persist.sys.locale", "a" * 65),
    ("sys.prop.writeimsi", "1" * 16),
    ("sys.prop.writeimsi", "12a"),
    ("sys.prop.writeimsi", "\u0661"),  # a digit, but not of ours
    ("sys.prop.writephonenum", "1" * 21),
    ("sys.prop.writephonenum", "+86"),
    ("sys.prop.writewifissid", ""),
    ("sys.prop.writewifissid", "w" * 65),
    ("sys.prop.writewifissid", "家"),
    ("gsm.sim.operator.iso-country", "c1"),
    ("gsm.sim.operator.numeric", "4" * 11),
    ("gsm.sim.operator.alpha", "A" * 21),
    ("gsm.operator.iso-country", "a" * 11),
    ("gsm.operator.numeric", "46-000"),
    ("gsm.operator.alpha", "a b"),
    ("com.cph.cg.sign_check_url", "ftp://a"),
    ("com.cph.cg.event_notify_url", "http://a/?q"),
    ("com.cph.cg.heartbeat_url", "http://" + "a" * 250),
    ("com.cph.cg.heartbeat_interval", "1" * 11),
    ("com.cph.cg.app_port", "9999"),
    ("com.cph.cg.h5_port", "11001"),
    ("ro.hardware.gpurenderer", "x" * 92),
    ("ro.board.platform", "\n"),
    ("ro.build.product", {}),
    ("ro.product.device", "\x00"),
    ("ro.com.cph.sfs_enable", []),
    ("ro.product.manufacturer", "é"),
    ("ro.product.name", None),
    ("qemu.hw.mainkeys", False),
]


def test_every_key_has_a_good_and_a_bad_example_here() -> None:
    assert {key for key, _ in GOOD} == {key for key, _ in BAD} == set(RULES)


@pytest.mark.parametrize(("key", "value"), GOOD)
def test_good_values_come_back_as_text(key: str, value: object) -> None:
    assert check_properties(json.dumps({key: value})) == {key: str(value)}


@pytest.mark.parametrize(("key", "value"), BAD)
def test_bad_values_are_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(CphError) as refused:
        check_properties(json.dumps({key: value}))
    assert refused.value.code == "CPS.0164"
    assert f"Invalid property {key}" in refused.value.message


@pytest.mark.parametrize("key", ["no.such.key", "phone_num", "COM.CPH.MAINKEYS", "", "x" * 5000])
def test_unknown_keys_are_refused_by_name(key: str) -> None:
    with pytest.raises(CphError) as refused:
        check_properties(json.dumps({key: "1"}))
    assert refused.value.code == "CPS.0163"
    assert refused.value.message.startswith(f"Parameter: property {key[:40]}")
    assert len(refused.value.message) < 200


@pytest.mark.parametrize("text", ["x", "[]", "1", "null", '"{}"', "{", "{}" + " " * PROPERTY_MAX_CHARACTERS])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(CphError) as refused:
        check_properties(text)
    assert refused.value.code == "CPS.0078"


def test_no_property_is_no_property() -> None:
    assert check_properties("") == {}
    assert check_properties("{}") == {}
