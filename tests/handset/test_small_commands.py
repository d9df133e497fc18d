"""Small commands through a stock adb, answered as Android does: power, settings, the network, services, processes, the log."""

from __future__ import annotations

import re
import struct
import time
from pathlib import Path

import pytest

from apk_maker import apk
from handset.one_phone import Pair, connected_pair


def test_an_intent_as_a_uri_is_the_intent(phone: Pair) -> None:
    uri = phone.said("am to-intent-uri -n com.android.settings/.Settings --es k v -f 0x10000000").strip()
    assert uri.startswith("intent:#Intent;")
    said = phone.said(f"am start '{uri}'")
    assert "cmp=com.android.settings/.Settings" in said and "flg=0x10000000" in said and "(has extras)" in said
    assert "u0 com.android.settings/.Settings" in phone.said("dumpsys activity activities")
    again = phone.said(f"am to-intent-uri '{uri}'").strip()
    assert "component=com.android.settings/.Settings;" in again and "S.k=v;" in again
    assert "dat=https://a.b/..." in phone.said("am start 'intent://a.b/c#Intent;scheme=https;action=x.Y;end'", 1)
    assert "act=android.intent.action.VIEW" in phone.said("am start https://a.b/c", 1)
    assert "Bad URI" in phone.said("am start 'intent:#Intent;component=a/.B'", 255)


def test_am_start_knows_its_user_and_repeats(phone: Pair) -> None:
    assert "Unknown user 10" in phone.said("am start --user 10 -n com.android.settings/.Settings", 255)
    assert phone.said("am start -R 3 -n com.android.settings/.Settings").count("Starting: Intent") == 3
    assert "For input string" in phone.said("am start -R x -n com.android.settings/.Settings", 255)


def test_ip_takes_short_words_and_one_line(phone: Pair) -> None:
    lines = phone.said("ip -o addr").splitlines()
    assert [line.split()[:3] for line in lines] == [["1:", "lo", "inet"], ["1:", "lo", "inet6"]]
    assert all("\\" in line for line in lines)
    for words in ("a s lo", "addr sh dev lo", "address show lo", "a"):
        assert "inet 127.0.0.1/8 scope host lo" in phone.said(f"ip {words}"), words
    assert 'Device "eth0" does not exist' in phone.said("ip a s eth0", 1)
    assert len(phone.said("ip -o link").splitlines()) == 1
    assert "Operation not permitted" in phone.said("ip addr add 10.0.0.1/8 dev lo", 2)


def test_nothing_is_written_to_a_folder_that_is_not_there(phone: Pair) -> None:
    for line in ("screencap -p /sdcard/nodir/x.png", "uiautomator dump /sdcard/nodir/x.xml", "logcat -d -f /sdcard/nodir/x"):
        assert "No such file or directory" in phone.said(line, 1), line
    assert "nodir" not in phone.said("ls /sdcard")
    assert phone("shell", "screencap -p /sdcard/x.png", check=False).returncode == 0


def test_an_app_whose_data_is_kept_is_listed_as_uninstalled(phone: Pair, tmp_path: Path) -> None:
    (tmp_path / "a.apk").write_bytes(apk("com.kept.app"))
    phone("install", str(tmp_path / "a.apk"))
    uid = phone.said("pm list packages -U com.kept.app")
    assert phone.said("pm uninstall -k com.kept.app") == "Success\n"
    assert phone.said("pm list packages com.kept") == ""
    assert phone.said("pm list packages -u com.kept") == "package:com.kept.app\n"
    (tmp_path / "b.apk").write_bytes(apk("com.other.app"))
    phone("install", str(tmp_path / "b.apk"))
    phone("install", str(tmp_path / "a.apk"))
    assert phone.said("pm list packages -U com.kept.app") == uid, "its files are still its own"
    phone.said("pm uninstall -k com.kept.app")
    assert phone.said("pm uninstall com.kept.app") == "Success\n"
    assert phone.said("pm list packages -u com.kept") == ""
    assert "DELETE_FAILED_INTERNAL_ERROR" in phone.said("pm uninstall com.kept.app", 1)


def test_switching_a_radio_changes_its_setting(phone: Pair) -> None:
    for verb, value in (("disable", "0"), ("enable", "1")):
        for radio, name in (("wifi", "wifi_on"), ("data", "mobile_data"), ("bluetooth", "bluetooth_on")):
            phone.said(f"svc {radio} {verb}")
            assert phone.said(f"settings get global {name}") == f"{value}\n"
        assert f"Wifi is {verb}d" in phone.said("cmd wifi status") and f"Wi-Fi is {verb}d" in phone.said("dumpsys wifi")


def test_powerctl_restarts_and_services_of_init_are_roots(phone: Pair) -> None:
    assert "Failed to set property 'ctl.restart' to 'adbd'" in phone.said("setprop ctl.restart adbd", 1)
    assert "sys.powerctl takes reboot or shutdown" in phone.said("setprop sys.powerctl nothing", 1)
    boots = int(phone.said("settings get global boot_count"))
    phone("shell", "setprop sys.powerctl reboot,userrequested", check=False)
    phone.until_said("settings get global boot_count", str(boots + 1))


def test_root_restarts_adbd(tmp_path: Path) -> None:
    with connected_pair("debian", "--property", "ro.com.cph.non_root=0") as phone:
        boots = phone.said("settings get global boot_count")
        follower = phone.adb.start("-s", phone.handset.serial, "shell", "logcat")
        try:
            assert follower.stdout is not None and follower.stdout.readline()
            phone("shell", "setprop ctl.restart adbd", check=False)
            follower.wait(timeout=30)
            assert b"init" in follower.stdout.read()
        finally:
            follower.kill()
            follower.wait()
        phone.until_said("settings get global boot_count", str(int(boots)))
        assert "has no service zygote" in phone.said("setprop ctl.restart zygote", 1)


def test_wm_forgets_everything_at_once(phone: Pair) -> None:
    phone.said("wm size 480x800; wm density 200; wm user-rotation lock 1; wm set-fix-to-user-rotation enabled")
    assert phone.said("wm set-fix-to-user-rotation") == "enabled\n"
    phone.said("wm reset")
    assert "Override" not in phone.said("wm size; wm density") and phone.said("wm user-rotation") == "lock 0\n"
    assert phone.said("wm set-fix-to-user-rotation") == "default\n"
    assert "no more" in phone.said("wm overscan 0,0,0,0", 255)
    assert re.search(r"reset", phone.said("wm --help", 0))


def test_a_screen_that_may_turn_says_so_and_is_upright(phone: Pair) -> None:
    def seen() -> tuple[str, ...]:
        mode = re.search(r"mUserRotationMode=USER_ROTATION_(\w+)", phone.said("dumpsys window policy"))
        assert mode is not None
        turned = re.search(r"mCurrentOrientation=(\d)", phone.said("dumpsys display"))
        assert turned is not None
        kept = phone.said("settings get system accelerometer_rotation").strip()
        return phone.said("wm user-rotation").strip(), kept, mode[1], turned[1]

    try:
        phone.said("wm user-rotation lock 1")
        assert seen() == ("lock 1", "0", "LOCKED", "1")
        for line in ("wm user-rotation free", "settings put system accelerometer_rotation 1"):
            phone.said(f"wm user-rotation lock 1; {line}")
            assert seen() == ("free", "1", "FREE", "0"), line
        phone.said("settings put system user_rotation 3")  # which is for a screen that is locked
        assert seen() == ("free", "1", "FREE", "0")
        phone.said("settings put system accelerometer_rotation 0")
        assert seen() == ("lock 3", "0", "LOCKED", "3")
        phone.said("wm user-rotation free; monkey --pct-rotation 100 9")
        assert seen() == ("free", "1", "FREE", "0")
    finally:
        phone.said("wm reset")


def test_logcat_turns_its_file_over(phone: Pair) -> None:
    phone.said("logcat -c; rm -f /sdcard/run.log*")
    for number in range(3):
        phone.said(f"seq 1 40 | sed 's/$/ {'x' * 100} round {number}/' | log -t Turned")
        phone.said("logcat -d -f /sdcard/run.log -r 1 -n 4")
    names = phone.said("ls /sdcard | grep run.log").split()
    assert names == ["run.log", "run.log.1", "run.log.2", "run.log.3", "run.log.4"]
    sizes = [int(size) for size in phone.said("stat -c %s /sdcard/run.log.1 /sdcard/run.log.2 /sdcard/run.log.3").split()]
    assert all(1024 <= size < 1024 + 300 for size in sizes), sizes
    assert "round 2" in phone.said("cat /sdcard/run.log.1")
    assert "-r requires -f" in phone.said("logcat -d -r 16", 1)
    assert 'Invalid parameter "x" to -r' in phone.said("logcat -d -f /sdcard/run.log -r x", 1)
    phone.said("logcat -d -f /sdcard/twice -s Turned; logcat -d -f /sdcard/twice -s Turned")
    assert phone.said("grep -c 'round 1' /sdcard/twice") == "80\n", "a file that is there is added to"


def test_a_log_that_is_followed_grows_in_its_file(phone: Pair) -> None:
    follower = phone.adb.start("-s", phone.handset.serial, "shell", "logcat -f /sdcard/follow.log -s Follow")
    try:
        deadline = time.monotonic() + 30
        while "second" not in phone.said("cat /sdcard/follow.log 2>/dev/null; true"):
            phone.said("log -t Follow first; log -t Follow second")
            assert time.monotonic() < deadline
        text = phone.said("cat /sdcard/follow.log")
        assert text.index("first") < text.index("second") and text.count("beginning of main") == 1
    finally:
        follower.kill()
        follower.wait()


def test_logcat_writes_binary_entries_that_a_parser_reads(phone: Pair) -> None:
    phone.said("logcat -c; log -t Binary -p w 'a message'")
    data = phone("exec-out", "logcat -B -d -s Binary").stdout
    length, head, pid, _, seconds, nanos, buffer, _ = struct.unpack_from("<HHiIIIII", data)
    assert (head, pid, buffer, len(data)) == (28, 1, 0, head + length) and nanos < 10**9
    assert abs(seconds - time.time()) < 600
    assert data[head:] == b"\x05Binary\0a message\0"


def test_a_buffer_without_lines_has_no_beginning(phone: Pair) -> None:
    for buffer in ("radio", "events"):
        assert phone.said(f"logcat -b {buffer} -d") == ""
    phone.said("logcat -c; log -t Any text")
    assert phone.said("logcat -d -b all -v raw") == "--------- beginning of main\ntext\n"
    assert phone.said("logcat -d -s Nobody") == "--------- beginning of main\n"
    phone.said("logcat -c")
    assert phone.said("logcat -d") == ""


def test_ps_takes_the_options_that_it_lists(phone: Pair) -> None:
    phone.said("sleep 60 & sleep 61 & ps -A -o PID,NAME >/sdcard/ps; kill %1 %2")
    for line in (
        "ps -A -k -PID -o PID",
        "ps -A -Z",
        "ps -A -n",
        "ps -A -O STIME",
        "ps -g shell -o PID",
        "ps -G 2000 -o PID",
        "ps -A -s 1",
    ):
        phone.said(f"{line} >/sdcard/out")
    numbers = [int(word) for word in phone.said("sleep 9 & sleep 9 & ps -A -k -PID -o PID=; kill %1 %2").split()]
    assert len(numbers) > 2 and numbers == sorted(numbers, reverse=True)
    assert phone.said("ps -A -Z").split()[:2] == ["LABEL", "USER"]
    assert "2000" in phone.said("true; ps -A -n")
    assert phone.said("true; ps -o PID= 1").split() == ["1"]
    named = phone.said("true; ps -o NAME= ps").split()
    assert named and set(named) == {"ps"}
    assert "bad -k 'nope'" in phone.said("ps -k nope", 1)


def test_services_are_one_list_and_each_can_be_asked(phone: Pair) -> None:
    listed = [line.strip() for line in phone.said("dumpsys -l").splitlines()[1:]]
    assert [line.strip() for line in phone.said("cmd -l").splitlines()[1:]] == listed
    rows = phone.said("service list").splitlines()
    assert rows[0] == f"Found {len(listed)} services:"
    assert sorted(row.split("\t")[1].partition(":")[0] for row in rows[1:]) == sorted(listed)
    for name in listed:
        for line in (f"cmd {name} nothing-like-this", f"dumpsys {name}", f"service check {name}"):
            done = phone("shell", line, check=False)
            assert b"find service" not in done.stdout + done.stderr and b"not found" not in done.stdout, line
    assert "No shell command implementation." in phone.said("cmd diskstats x")
    assert "Can't find service: procstats" in phone.said("dumpsys procstats"), "0, as Android's"
    assert "Can't find service: jobscheduler" in phone.said("cmd jobscheduler x", 20)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("package packages", "Package [com.android.settings]"),
        ("package f", "  android.hardware.touchscreen"),
        ("package permissions", "Permission [android.permission.CAMERA]:"),
        ("package -h", "Package manager dump options:"),
        ("package check-permission android.permission.CAMERA com.none", "-1"),
        ("activity -h", "Activity manager dump options:"),
        ("activity oom", "  OOM levels:"),
        ("activity lru", "ACTIVITY MANAGER LRU PROCESSES (dumpsys activity lru)"),
        ("activity settings", "ACTIVITY MANAGER SETTINGS (dumpsys activity settings)"),
        ("activity lastanr", "<no ANR has occurred since boot>"),
        ("activity -p com.dumped.app activities", "u0 com.dumped.app/.Main"),
        ("window -h", "Window manager dump options:"),
        ("batterystats", "  Estimated power use (mAh):"),
        ("batterystats --reset", "Battery stats reset."),
        ("audio", "- STREAM_MUSIC:"),
        ("media_session", "Sessions Stack - have 0 sessions:"),
        ("deviceidle", "mState=ACTIVE mLightState=ACTIVE"),
        ("deviceidle get deep", "ACTIVE"),
    ],
)
def test_dumpsys_knows_its_sections(phone: Pair, tmp_path: Path, line: str, said: str) -> None:
    if "com.dumped.app" in line:
        (tmp_path / "a.apk").write_bytes(apk("com.dumped.app"))
        phone("install", str(tmp_path / "a.apk"))
        phone.said("am start com.dumped.app; am start -a android.settings.SETTINGS")
        assert "u0 com.android.settings" not in phone.said(f"dumpsys {line}").partition("mResumedActivity")[0]
        assert "(nothing)" in phone.said("dumpsys activity -p com.none.app activities")
    printed = phone.said(f"dumpsys {line}")
    assert said in printed
    if line.endswith("-h"):
        assert len(printed.splitlines()) < 30, "help, not everything"


def test_small_tools_answer_or_say_why_not(phone: Pair) -> None:
    phone.said("media volume --stream 3 --set 5")
    assert "volume is 5 in range [0..15]" in phone.said("media volume --stream 3 --get")
    assert "streamVolume:5" in phone.said("dumpsys audio") and phone.said("settings get system volume_music") == "5\n"
    phone.said("media dispatch play; cmd media_session volume --adj raise")
    assert phone.said("settings get system volume_music") == "6\n"
    assert "unknown dispatch code 'nope'" in phone.said("media dispatch nope", 255)
    phone.said("device_config put activity_manager max_phantom_processes 64")
    assert phone.said("device_config get activity_manager max_phantom_processes") == "64\n"
    assert phone.said("cmd device_config list activity_manager") == "max_phantom_processes=64\n"
    assert "Successfully deleted" in phone.said("device_config delete activity_manager max_phantom_processes")
    assert phone.said("device_config get activity_manager max_phantom_processes") == "null\n"
    phone.said("cmd display set-brightness 0.5")
    assert phone.said("settings get system screen_brightness") == "128\n"
    assert "No UID for com.none.app" in phone.said("appops get com.none.app", 255)
    assert phone.said("cmd deviceidle whitelist +com.android.settings") == "Added: com.android.settings\n"
    assert "user,com.android.settings,1000" in phone.said("dumpsys deviceidle whitelist")
    assert "not enabled" in phone.said("cmd deviceidle force-idle", 255)
    for name in ("getevent", "sendevent", "locksettings", "bmgr", "dpm"):
        assert f"{name}: a handset" in phone.said(name, 1)


def test_a_reader_that_leaves_early_is_not_written_to(capfd: pytest.CaptureFixture[str]) -> None:
    with connected_pair("debian") as phone:
        phone.said("seq 1 990 | log -t Many")
        assert len(phone.said("logcat -d | head -2").splitlines()) == 2
        phone.said("monkey -v -v -v 3000 | head -1")
    assert "socket.send() raised exception" not in capfd.readouterr().err
