"""What a stock adb's user does with apps, the screen, the log and small services, and what Android would answer."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from PIL import Image

from apk_maker import Facts, apk
from handset.one_phone import Pair, connected_pair, need_sandbox


def _put(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def test_a_split_is_added_to_an_app_that_is_installed_and_taken_away_again(phone: Pair, tmp_path: Path) -> None:
    base = _put(tmp_path / "base.apk", apk("com.t.split", 3))
    one = _put(tmp_path / "s1.apk", apk("com.t.split", 3, split="one"))
    two = _put(tmp_path / "s2.apk", apk("com.t.split", 3, split="two"))
    phone("install", base)
    phone.said("mkdir -p /sdcard/x; echo kept >/data/data/com.t.split/file")
    uid = phone.said("pm list packages -U com.t.split")
    assert "Success" in phone.text("install-multiple", "-p", "com.t.split", one)
    assert "Success" in phone.text("install-multiple", "-p", "com.t.split", two)
    assert [line.rpartition("/")[2] for line in phone.said("pm path com.t.split").split()] == [
        "base.apk", "split_one.apk", "split_two.apk",
    ]  # fmt: skip
    assert phone.said("pm list packages -U com.t.split") == uid and phone.said("cat /data/data/com.t.split/file") == "kept\n"
    newer = _put(tmp_path / "s3.apk", apk("com.t.split", 4, split="three"))
    refused = phone("install-multiple", "-p", "com.t.split", newer, check=False)
    assert refused.returncode and b"version code 4 inconsistent with 3" in refused.stdout + refused.stderr
    strange = _put(tmp_path / "s4.apk", apk("com.t.split", 3, split="four", signer="other"))
    refused = phone("install-multiple", "-p", "com.t.split", strange, check=False)
    assert refused.returncode and b"signatures are inconsistent" in refused.stdout + refused.stderr
    assert phone.said("pm uninstall com.t.split one") == "Success\n"
    assert "splits=[base, two]" in phone.said("dumpsys package com.t.split")
    assert "split 'one' not found" in phone.said("pm uninstall com.t.split one", 1)


def test_nothing_can_be_added_to_an_app_that_is_not_there(phone: Pair, tmp_path: Path) -> None:
    split = _put(tmp_path / "s.apk", apk("com.nosuch.app", 1, split="one"))
    refused = phone("install-multiple", "-p", "com.nosuch.app", split, check=False)
    assert b"INSTALL_FAILED_INVALID_APK: Missing existing base package" in refused.stdout + refused.stderr
    number = phone.said("pm install-create --pkg com.nosuch.app").partition("[")[2].partition("]")[0]
    phone("push", split, "/data/local/tmp/s.apk")
    phone.said(f"pm install-write {number} s /data/local/tmp/s.apk")
    assert "Full install must include a base package" in phone.said(f"pm install-commit {number}", 1)


def _nodes(phone: Pair) -> list[ElementTree.Element]:
    text = phone.said("uiautomator dump /dev/tty").partition("UI hierchary")[0]
    return list(ElementTree.fromstring(text.encode()).iter("node"))


def _middle(node: ElementTree.Element) -> str:
    left, top, right, bottom = map(int, re.findall(r"\d+", node.get("bounds", "")))
    return f"{(left + right) // 2} {(top + bottom) // 2}"


def _awake(phone: Pair) -> None:
    phone.said("input keyevent WAKEUP; wm dismiss-keyguard; input keyevent HOME HOME")


def test_an_app_is_opened_by_a_tap_on_its_name(phone: Pair, tmp_path: Path) -> None:
    phone("install", _put(tmp_path / "a.apk", apk("com.tapped.app", facts=Facts(labels=(("", "A long name of an app"),)))))
    _awake(phone)
    for name, package in (
        ("Settings", "com.android.settings"),
        ("Files", "com.android.documentsui"),
        ("A long name of an app", "com.tapped.app"),
    ):
        found = [node for node in _nodes(phone) if node.get("text") == name]
        assert [node.get("content-desc") for node in found] == [name], name
        assert {"clickable": "true", "class": "android.widget.TextView"}.items() <= found[0].attrib.items()
        phone.said(f"input tap {_middle(found[0])}")
        front = phone.said("dumpsys activity activities")
        assert re.search(rf"mResumedActivity: ActivityRecord{{\d+ u0 {package}/", front), (name, front)
        phone.said("input keyevent HOME")


def test_recent_apps_have_the_pages_of_the_phone_too(phone: Pair) -> None:
    _awake(phone)
    phone.said("am start -a android.settings.SETTINGS; input keyevent HOME; input keyevent APP_SWITCH")
    found = next(node for node in _nodes(phone) if node.get("text") == "Settings")
    assert "com.android.settings/.Settings" in phone.said("dumpsys activity recents")
    phone.said(f"input tap {_middle(found)}")
    assert "u0 com.android.settings/.Settings" in phone.said("dumpsys window | grep mFocusedApp")
    phone.said("am force-stop com.android.settings")
    assert "com.android.settings" not in phone.said("dumpsys activity recents")
    assert "com.opencph.handset.launcher" in phone.said("dumpsys window | grep mFocusedApp")


@pytest.mark.parametrize("turn", [0, 1])
def test_the_card_of_an_app_with_long_names_stays_on_the_screen(phone: Pair, tmp_path: Path, turn: int) -> None:
    permissions = tuple(
        f"android.permission.{name}" for name in ("CAMERA", "READ_EXTERNAL_STORAGE", "ACCESS_FINE_LOCATION", "SEND_SMS")
    )
    package = f"com.{'verylongpartofaname.' * 5}end"
    facts = Facts(labels=(("", "WWWW MMMM " * 12),), permissions=permissions, target_sdk=30)
    phone("install", "-r", _put(tmp_path / "a.apk", apk(package, facts=facts)))
    _awake(phone)
    try:
        phone.said(f"wm user-rotation lock {turn}; monkey -p {package} 1")
        texts = [node.get("text", "") for node in _nodes(phone)]
        assert package in texts and any("send" not in text and "+1" in text and "camera (not allowed)" in text for text in texts)
        picture = Image.open(io.BytesIO(phone("exec-out", "screencap", "-p").stdout)).convert("RGB")
    finally:
        phone.said("wm user-rotation lock 0; input keyevent HOME")
    width, height = picture.size
    unit = min(width, height) // 36
    for left, right in ((unit + 2, unit + unit // 2), (width - unit - unit // 2, width - unit - 2)):  # the card's edges
        edge = picture.crop((left, 6 * unit, right, height - 6 * unit))
        assert edge.getcolors() is not None and len(edge.getcolors() or []) == 1, edge.getcolors()


def test_a_monkey_prints_what_it_does_and_stays_in_its_package(phone: Pair, tmp_path: Path) -> None:
    phone("install", _put(tmp_path / "a.apk", apk("com.monkey.app")))
    _awake(phone)
    lines = phone.said("monkey -p com.monkey.app -s 5 -v -v 400").splitlines()
    touches = [line for line in lines if line.startswith(":Sending Touch")]
    downs = [line for line in touches if "(ACTION_DOWN)" in line]
    assert len(downs) > 10 and len(set(downs)) == len(downs), "each finger somewhere else"
    assert len([line for line in touches if "(ACTION_UP)" in line]) in (len(downs), len(downs) - 1)
    assert any(line.startswith(":Sending Key (ACTION_DOWN): ") and "// KEYCODE_" in line for line in lines)
    assert any(line.startswith("    // Rejecting start of Intent { cmp=com.opencph.handset.launcher/") for line in lines)
    sent = [line for line in lines if line.startswith((":Sending ", ":Switch: "))]
    assert "Events injected: 400" in lines and len(sent) == 400 + 1, "and the screen turned back at the end"
    assert "u0 com.monkey.app/.Main" in phone.said("dumpsys window | grep mFocusedApp")
    again = [line for line in phone.said("monkey -p com.monkey.app -s 5 -v -v 400").splitlines() if line.startswith(":Sending T")]
    assert again[:50] == [line for line in lines if line.startswith(":Sending T")][:50]


def test_the_shares_of_a_monkeys_events_are_those_that_it_prints(phone: Pair) -> None:
    lines = phone.said("monkey -v --pct-touch 60 --pct-appswitch 40 300").splitlines()
    assert {"//   0: 60.0%", "//   9: 40.0%", "//   1: 0.0%"} <= set(lines)
    assert not [line for line in lines if line.startswith((":Sending Trackball", ":Sending Key", ":Sending Flip"))]
    switches, taps = (sum(line.startswith(head) for line in lines) for head in (":Switch", ":Sending Touch (ACTION_DOWN)"))
    assert switches > 40 and taps > 60
    phone.said("input keyevent HOME")
    before = phone("exec-out", "screencap", "-p").stdout
    phone.said("monkey --dbg-no-events 20")
    assert phone("exec-out", "screencap", "-p").stdout == before
    assert "Event weights > 100%" in phone.said("monkey --pct-touch 60 --pct-motion 60 5", 251)


def test_a_monkey_takes_the_options_of_androids(phone: Pair, tmp_path: Path) -> None:
    assert "Events injected: 20000" in phone.said("monkey --pct-syskeys 0 --pct-touch 100 20000")
    assert "--pkg-whitelist-file" in phone.said("monkey -h", 255)
    phone("push", _put(tmp_path / "list", b"com.android.settings\n"), "/data/local/tmp/list")
    lines = phone.said("monkey --pkg-whitelist-file /data/local/tmp/list --pct-appswitch 100 -v 30").splitlines()
    assert {line for line in lines if line.startswith(":Switch")} and not [
        line for line in lines if line.startswith(":Switch") and "component=com.android.settings/" not in line
    ]
    lines = phone.said("monkey --pkg-blacklist-file /data/local/tmp/list --pct-appswitch 100 -v 30").splitlines()
    assert not [line for line in lines if line.startswith(":Switch") and "com.android.settings" in line]
    assert "No such file" in phone.said("monkey --pkg-whitelist-file /data/nothing 1", 255)
    assert "nothing is written" in phone.said("monkey --hprof 1")
    assert "takes no scripts" in phone.said("monkey -f /sdcard/s 1", 255)
    phone.said("wm user-rotation lock 0; monkey --pct-rotation 100 9")
    assert phone.said("wm user-rotation") == "lock 0\n"


def test_content_takes_every_type_of_value(phone: Pair) -> None:
    uri = "--uri content://settings/system"
    for bound, kept in (
        ("i:1", "1"),
        ("s:a:b", "a:b"),
        ("b:true", "true"),
        ("l:123456789012", "123456789012"),
        ("f:0.5", "0.5"),
        ("d:2", "2.0"),
    ):
        phone.said(f"content insert {uri} --bind name:s:my_setting --bind value:{bound}")
        assert phone.said("settings get system my_setting") == f"{kept}\n"
    phone.said(f"content update {uri} --bind value:i:7 --where \"name='my_setting'\"")
    assert phone.said("settings get system my_setting") == "7\n"
    phone.said(f"content insert {uri} --bind name:s:my_setting --bind value:n:")
    assert phone.said("settings get system my_setting") == "null\n"
    assert "NumberFormatException" in phone.said(f"content insert {uri} --bind name:s:x --bind value:i:one", 1)
    assert "Unsupported argument" in phone.said(f"content insert {uri} --bind name:z:x", 1)


@pytest.mark.parametrize("which", ["debian", "adbutils"])
def test_logcat_follows_the_tags_in_the_environment(which: str) -> None:
    need_sandbox()
    with connected_pair(which, environment={"ANDROID_LOG_TAGS": "Wanted:I *:S"}) as phone:
        phone.said("log -t Wanted one; log -t Other two")
        for said in (
            phone.text("logcat", "-d"),
            phone.said('ANDROID_LOG_TAGS="Wanted:I *:S" logcat -d'),
        ):
            assert "one" in said and "two" not in said and "init" not in said
        assert "two" in phone.text("logcat", "-d", "*:V")
        assert "two" in phone.said("logcat -d")
