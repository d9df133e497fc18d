"""What scripts ask a phone through a real adb, and what they find: boot flags, packages switched off, grants, the log, dumpsys."""

from __future__ import annotations

import io
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from apk_maker import Facts, apk
from handset.one_phone import Pair, connected_pair, need_sandbox
from opencph.handset.fonts import chinese_font


@pytest.fixture(scope="module")
def phone() -> Iterator[Pair]:
    """A handset with the app com.habit.app: two labels, a red icon, two permissions, a processor and a feature that it needs."""
    with connected_pair("debian", "--disk", str(256 << 20)) as made:
        picture = io.BytesIO()
        Image.new("RGB", (192, 192), (255, 0, 0)).save(picture, "PNG")
        facts = Facts(
            labels=(("", "Game"), ("zh", "游戏")),
            icon=picture.getvalue(),
            target_sdk=30,
            permissions=("android.permission.CAMERA", "android.permission.INTERNET"),
            features=("android.hardware.nfc",),
        )
        path = made.handset.directory.parent / "habit.apk"
        path.write_bytes(apk("com.habit.app", 7, "1.7", facts=facts, files={"lib/arm64-v8a/libx.so": b"x"}))
        made("install", "-i", "com.installer", str(path))
        yield made


def test_a_script_that_waits_for_the_boot_goes_on(phone: Pair) -> None:
    need_sandbox()
    done = phone("shell", 'until [ "$(getprop sys.boot_completed)" = 1 ]; do sleep 0.1; done; echo up')
    assert done.stdout == b"up\n"
    for name, value in (("dev.bootcomplete", "1"), ("init.svc.bootanim", "stopped"), ("sys.boot_completed", "1")):
        assert phone.said(f"getprop {name}") == f"{value}\n"
    assert int(phone.said("getprop ro.boottime.init")) > 0


def test_disabled_apps_leave_the_screen_and_outlive_a_reboot_disabled(phone: Pair) -> None:
    assert phone.said("pm disable-user --user 0 com.habit.app") == "Package com.habit.app new state: disabled-user\n"
    assert phone.said("pm list packages -d") == "package:com.habit.app\n"
    assert "com.habit.app" not in phone.said("pm list packages -e")
    assert "does not exist" in phone.said("am start -n com.habit.app/.Main", 1)
    assert "No activities found" in phone.said("monkey -p com.habit.app 1", 252)
    assert 'content-desc="Game"' not in phone.said("input keyevent HOME; uiautomator dump /dev/tty")
    boots = int(phone.said("settings get global boot_count"))
    phone("reboot")
    phone.until_said("settings get global boot_count", str(boots + 1))
    assert phone.said("pm list packages -d") == "package:com.habit.app\n"
    assert "Shell cannot change component state for com.habit.app/null to 2" in phone.said("pm disable com.habit.app", 255)
    assert "android.permission.MANAGE_USERS" in phone.said("pm hide com.habit.app", 255)
    assert phone.said("pm enable com.habit.app") == "Package com.habit.app new state: enabled\n"
    assert phone.said("pm suspend com.habit.app") == "Package com.habit.app new suspended state: true\n"
    assert "suspended=true" in phone.said("dumpsys package com.habit.app")
    phone.said("pm unsuspend com.habit.app")
    assert 'content-desc="Game"' in phone.said("input keyevent HOME; uiautomator dump /dev/tty")


def test_grants_are_those_of_android_and_shown(phone: Pair) -> None:
    camera = "android.permission.CAMERA"
    assert f"{camera}: granted=false" in phone.said("dumpsys package com.habit.app")
    assert phone.said(f"pm grant com.habit.app {camera}") == ""
    assert f"{camera}: granted=true, flags=[ USER_SET ]" in phone.said("dumpsys package com.habit.app")
    assert "not a changeable permission type" in phone.said("pm grant com.habit.app android.permission.INTERNET", 255)
    assert "has not requested permission" in phone.said("pm grant com.habit.app android.permission.READ_SMS", 255)
    assert phone.said(f"pm revoke com.habit.app {camera}") == ""
    assert f"{camera}: granted=false" in phone.said("dumpsys package com.habit.app")


def test_packages_are_listed_in_androids_columns(phone: Pair) -> None:
    assert phone.said("pm list packages -3 -i -U") == "package:com.habit.app  installer=com.installer uid:10100\n"
    assert "package:com.android.settings\n" in phone.said("pm list packages -s")
    assert phone.said("cmd package resolve-activity --brief com.habit.app").endswith("\ncom.habit.app/.Main\n")
    assert phone.said("ls -d /data/data/com.habit.app /data/user_de/0/com.habit.app").count("com.habit.app") == 2


def test_adbutils_reads_the_app_the_screen_the_battery_and_the_tree(phone: Pair) -> None:
    import adbutils

    device = adbutils.AdbClient("127.0.0.1", phone.adb.port).device(phone.handset.serial)
    info = device.app_info("com.habit.app")
    assert info is not None
    assert (info.version_name, info.version_code) == ("1.7", 7)
    assert info.signature and info.first_install_time and info.last_update_time
    device.shell("input keyevent WAKEUP")
    assert device.is_screen_on() is True
    device.app_start("com.habit.app")
    assert device.app_current().package == "com.habit.app"
    device.shell("dumpsys battery set level 5")
    assert device.battery().level == 5
    device.shell("dumpsys battery reset")
    assert device.battery().level == 100
    need_sandbox()
    texts = [node.get("text", "") for node in ElementTree.fromstring(device.dump_hierarchy().encode()).iter("node")]
    assert "com.habit.app" in texts
    for needed in ("arm64-v8a", "nfc", "camera (not allowed)", "SDK 21"):
        assert any(needed in text for text in texts), needed


def test_an_open_card_has_a_number_until_it_is_stopped(phone: Pair) -> None:
    phone.said("am force-stop com.habit.app")
    assert "LaunchState: COLD" in phone.said("am start -W -n com.habit.app/.Main")
    assert "top-most instance" in phone.said("am start -W -n com.habit.app/.Main")
    phone.said("input keyevent HOME")
    assert "LaunchState: HOT" in phone.said("am start -W com.habit.app")
    pid = phone.said("pidof com.habit.app").strip()
    assert f"u0_a100 {pid:>10}" in phone.said("ps -A")
    assert phone.said(f"ps -o PID,NAME -p {pid}").split() == ["PID", "NAME", pid, "com.habit.app"]
    assert f"pid={pid}" in phone.said("dumpsys activity top")
    phone.said("am force-stop com.habit.app")
    assert phone.said("pidof com.habit.app", 1) == ""


def test_the_icon_is_drawn_and_the_phone_speaks_chinese(phone: Pair) -> None:
    if not chinese_font():
        pytest.skip("no Chinese font: `sudo apt-get install fonts-droid-fallback`")
    phone.said("input keyevent WAKEUP; wm dismiss-keyguard; input keyevent HOME")

    def home() -> tuple[str, Image.Image]:
        return phone.said("uiautomator dump /dev/tty"), Image.open(io.BytesIO(phone("exec-out", "screencap", "-p").stdout))

    english, picture = home()
    assert 'text="Settings"' in english and 'text="Game"' in english
    assert (
        max((count for count, colour in picture.convert("RGB").getcolors(1 << 20) or [] if colour == (255, 0, 0)), default=0) > 5000
    )
    try:
        phone.said("setprop persist.sys.locale zh-CN")
        chinese, other = home()
        assert 'text="设置"' in chinese and 'text="游戏"' in chinese
        assert other.tobytes() != picture.tobytes()
    finally:
        phone.said("setprop persist.sys.locale en-US")


def test_the_log_takes_lines_and_androids_options(phone: Pair) -> None:
    phone.said("log -t Habit -p e 'hello ready'")
    assert " E Habit   : hello ready\n" in phone.said("logcat -d -s Habit")
    assert phone.said("logcat -d -v brief -s Habit:E").endswith("E/Habit   (    1): hello ready\n")
    assert phone.said("logcat -d -e 'he.*re.dy' -v raw").endswith("\nhello ready\n")
    assert "is no regular expression" in phone.said("logcat -d -e '('", 1)
    assert phone.said("logcat -m 1 -e hello --print -v raw").count("\n") >= 2
    for line in (
        "logcat -G 16M",
        "logcat -S",
        "logcat -p",
        "logcat -g",
        "logcat --help",
        "logcat -d -v thread,color,epoch,year,UTC,usec",
    ):
        phone.said(line)
    phone.said("logcat -f /sdcard/log.txt -d")
    phone("pull", "/sdcard/log.txt", str(phone.handset.directory.parent / "log.txt"))
    assert "hello ready" in (phone.handset.directory.parent / "log.txt").read_text()
    phone.said("logcat --clear")
    assert "hello ready" not in phone.said("logcat -d")


def test_an_expression_that_takes_for_ever_is_ended(phone: Pair) -> None:
    phone.said(f"log -t Slow {'a' * 40}!")
    assert "takes too long" in phone.said("logcat -d -s Slow -e '(a+)+$'", 1)


def test_ctrl_c_ends_a_command_without_a_word(phone: Pair) -> None:
    need_sandbox()
    shell = phone.adb.start("-s", phone.handset.serial, "shell", "-tt")
    assert shell.stdin is not None and shell.stdout is not None
    try:
        shell.stdin.write(b"logcat -s Nobody\n")
        shell.stdin.flush()
        seen = b""
        while b"beginning of main" not in seen:
            seen += (piece := os.read(shell.stdout.fileno(), 4096))
            assert piece, seen
        shell.stdin.write(b"\x03")
        shell.stdin.flush()
        shell.stdin.write(b"echo code=$?\nexit\n")
        out, _ = shell.communicate(timeout=30)
        assert b"code=130" in out and b"Traceback" not in out, out
    finally:
        shell.kill()
        shell.wait()


def test_several_packages_are_installed_all_or_none(phone: Pair, tmp_path: Path) -> None:
    for name, data in (("one", apk("com.many.one")), ("two", apk("com.many.two")), ("bad", apk("com.many.bad", min_sdk=99))):
        (tmp_path / f"{name}.apk").write_bytes(data)
    refused = phone("install-multi-package", str(tmp_path / "one.apk"), str(tmp_path / "bad.apk"), check=False)
    assert b"INSTALL_FAILED_OLDER_SDK" in refused.stdout + refused.stderr
    assert "com.many" not in phone.said("pm list packages")
    assert "Success" in phone.text("install-multi-package", str(tmp_path / "one.apk"), str(tmp_path / "two.apk"))
    listed = phone.said("pm list packages -U com.many")
    assert listed == "package:com.many.one uid:10101\npackage:com.many.two uid:10102\n"


def test_what_a_handset_has_not_is_refused_with_a_reason(phone: Pair, tmp_path: Path) -> None:
    for line, code, said in (
        ("getenforce", 0, "Disabled"),
        ("su -c id", 1, "su: uid 2000 not allowed to su"),
        ("run-as com.habit.app id", 1, "run-as: package not debuggable: com.habit.app"),
        ("mount -o remount,rw /system", 1, "Operation not permitted"),
        ("mount", 0, "/dev/handset on /data type ext4"),
        ("ip addr show dev wlan0", 1, 'Device "wlan0" does not exist.'),
        ("ip -4 addr", 0, "inet 127.0.0.1/8 scope host lo"),
        ("stop", 1, "Must be root"),
        ("bugreportz", 1, "has no Android to report on"),
        ("ime list -s", 0, "com.opencph.handset.keyboard/.Keyboard"),
        ("service check package", 0, "Service package: found"),
        ("service call activity 1", 1, "no binder calls"),
        ("uiautomator runtest x.jar", 1, "runs no apps"),
        ("cmd package compile -m speed -f com.habit.app", 1, "nothing is compiled"),
        ("getprop -T ro.build.version.sdk", 0, "int"),
        ("getprop -Z ro.serialno", 0, "u:object_r:"),
        ("am crash com.none.app", 0, ""),
        ("am start-user 10", 1, "Error: could not start user"),
        ("am get-standby-bucket com.habit.app", 0, "10"),
        ("pm list features", 0, "feature:android.hardware.touchscreen"),
        ("pm list libraries", 0, "library:org.apache.http.legacy"),
        ("pm list permissions -d", 0, "permission:android.permission.CAMERA"),
        ("pm get-install-location", 0, "0[auto]"),
        ("pm install-existing com.none.app", 1, "NameNotFoundException: Package com.none.app doesn't exist"),
        ("monkey -p com.android.settings -v 1", 0, ":AllowPackage: com.android.settings"),
        ("ls -d /data/user/0/com.habit.app", 0, "/data/user/0/com.habit.app"),
    ):
        assert said in phone.said(line, code), line
    (tmp_path / "a.apk").write_bytes(apk("com.increment.app"))
    refused = phone("shell", "pm install-incremental /sdcard/a.apk", check=False)
    assert refused.returncode == 1 and b"no incremental file system" in refused.stderr
    for verb in ("disable-verity", "enable-verity"):
        done = phone(verb, check=False)
        assert b"verity" in done.stdout + done.stderr and b"error: closed" not in done.stderr, done


def test_settings_have_values_of_their_own(phone: Pair) -> None:
    assert len(phone.said("settings get secure android_id").strip()) == 16
    for name, value in (("global airplane_mode_on", "0"), ("global adb_enabled", "1"), ("system screen_brightness", "255")):
        assert phone.said(f"settings --user current get {name}") == f"{value}\n"
    phone.said("settings put global window_animation_scale 0")
    assert phone.said("settings get global window_animation_scale") == "0\n"
    assert phone.said("settings delete global window_animation_scale") == "Deleted 1 rows\n"
    assert phone.said("settings get global window_animation_scale") == "1.0\n"
    assert (
        phone.said("content query --uri content://settings/global --where \"name='adb_enabled'\"")
        == "Row: 0 _id=1, name=adb_enabled, value=1\n"
    )


def test_df_knows_operands_and_files(phone: Pair) -> None:
    lines = phone.said("df /sdcard").splitlines()
    assert len(lines) == 2 and lines[1].endswith(" /storage/emulated")
    assert "Inodes" in phone.said("df -i /data")
    assert "No such file" in phone.said("df /nothing", 1)
    assert phone("exec-out", "screencap", "-d", "0", "-p").stdout.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("service", "line"),
    [
        ("activity recents", "  * Recent #0: Task{"),
        ("activity processes", "ACTIVITY MANAGER RUNNING PROCESSES"),
        ("activity services", "ACTIVITY MANAGER SERVICES"),
        ("activity broadcasts", "ACTIVITY MANAGER BROADCAST STATE"),
        ("window displays", "WINDOW MANAGER DISPLAY CONTENTS"),
        ("window policy", "WINDOW MANAGER POLICY STATE"),
        ("window windows", "  mCurrentFocus=Window{"),
        ("input", "SurfaceOrientation: 0"),
        ("SurfaceFlinger --list", "StatusBar#0"),
        ("notification", "NotificationRecord("),
        ("connectivity", "Active default network: none"),
        ("telephony.registry", "mOperatorNumeric=46000"),
        ("gfxinfo", "Applications Graphics Acceleration Info:"),
        ("diskstats", "Data-Free: "),
        ("power", "mHoldingDisplaySuspendBlocker="),
    ],
)
def test_dumpsys_answers_for_each_section(phone: Pair, service: str, line: str) -> None:
    assert line in phone.said(f"dumpsys {service}")


def test_radios_and_small_services_answer(phone: Pair) -> None:
    phone.said("svc wifi disable")
    assert "Wi-Fi is disabled" in phone.said("dumpsys wifi")
    for line in ("svc data enable", "svc bluetooth disable", "svc nfc enable", "svc usb getFunctions", "svc power stayon true"):
        phone.said(line)
    assert phone.said("cmd connectivity airplane-mode") == "disabled\n"
    assert phone.said("cmd uimode night yes") == "Night mode: yes\n"
    assert phone.said("am to-intent-uri -a android.intent.action.VIEW -d http://a.b/c --es k v").startswith(
        "intent://a.b/c#Intent;scheme=http;"
    )
