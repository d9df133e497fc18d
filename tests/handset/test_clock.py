"""The phone's time zone, as a stock adb finds it everywhere that a time is shown."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from handset.one_phone import Pair, need_sandbox
from opencph.handset.clock import ZONES

EAST = timedelta(hours=8)


@pytest.fixture
def shanghai(pair: Pair) -> Pair:
    """A phone in China."""
    if not Path(ZONES).is_dir():
        pytest.skip("no time zones on this machine: `sudo apt-get install tzdata`")
    pair("shell", "setprop", "persist.sys.timezone", "Asia/Shanghai")
    return pair


def _is_now(shown: str, form: str, ahead: timedelta) -> None:
    there = datetime.now(UTC) + ahead
    assert abs(there.replace(tzinfo=None) - datetime.strptime(shown, form)) < timedelta(minutes=2), (shown, there)


def test_programs_in_the_phone_have_its_time_zone(shanghai: Pair) -> None:
    need_sandbox()
    stamp, zone, elsewhere = shanghai.text("shell", "date '+%F %T'; date '+%z %Z'; TZ=Asia/Tokyo date '+%z %Z'").splitlines()
    _is_now(stamp, "%Y-%m-%d %H:%M:%S", EAST)
    assert (zone, elsewhere) == ("+0800 CST", "+0900 JST")
    assert shanghai.text("exec-out", "date +%z") == "+0800\n"
    shanghai("shell", "setprop", "persist.sys.timezone", "America/New_York")
    assert shanghai.text("shell", "TZ=UTC date +%Z; date +%Z").split()[1] in ("EST", "EDT")


def test_the_log_is_in_the_phones_time_zone_and_asked_for_in_it(shanghai: Pair) -> None:
    shanghai("shell", "log", "-t", "clock", "now")
    line = shanghai.text("shell", "logcat", "-d", "-v", "year,zone", "-s", "clock").splitlines()[-1]
    stamp, zone = line[:19], line.split()[2]
    _is_now(stamp, "%Y-%m-%d %H:%M:%S", EAST)
    assert zone == "+0800", line
    assert "+0000" in shanghai.text("shell", "logcat", "-d", "-v", "UTC", "-s", "clock")
    since = shanghai.text("shell", "logcat", "-d", "-s", "clock").splitlines()[-1][:18]
    assert "now" in shanghai.text("shell", "logcat", "-d", "-s", "-t", f"'{since}'", "clock")
    later = (datetime.now(UTC) + EAST + timedelta(minutes=5)).strftime("%m-%d %H:%M:%S.000")
    assert "now" not in shanghai.text("shell", "logcat", "-d", "-s", "-t", f"'{later}'", "clock")


def test_batterystats_and_monkey_tell_the_phones_time(shanghai: Pair) -> None:
    begun = re.search(r"Start clock time: (\S+)\n", shanghai.text("shell", "dumpsys", "batterystats"))
    assert begun is not None
    up = timedelta(seconds=float(shanghai.text("shell", "cat /proc/uptime").split()[0]))
    _is_now(begun[1], "%Y-%m-%d-%H-%M-%S", EAST - up)
    said = shanghai.text("shell", "monkey", "--pct-trackball", "100", "-v", "120")
    stamps = re.findall(r"//\[calendar_time:(\S+ \S+)\.\d{3}  system_uptime:\d+\]", said)
    assert len(stamps) == 1, said
    _is_now(stamps[0], "%Y-%m-%d %H:%M:%S", EAST)


def test_the_screen_and_uptime_show_the_phones_time(shanghai: Pair) -> None:
    shanghai("shell", "input", "keyevent", "HOME")
    seen = shanghai.text("exec-out", "uiautomator", "dump", "/dev/tty") + shanghai.text("shell", "uptime")
    assert _this_minute() & set(re.findall(r"\b\d\d:\d\d\b", seen)), seen
    up = shanghai.text("shell", "uptime").split()[0]
    assert up[:5] in _this_minute()


def _this_minute() -> set[str]:
    """As it reads there, and the one before: it may have ended since it was asked for."""
    return {(datetime.now(UTC) + EAST - timedelta(minutes=one)).strftime("%H:%M") for one in range(2)}


def test_a_zone_that_there_is_not_is_utc(pair: Pair) -> None:
    need_sandbox()
    for name in ("Middle/Earth", "../../../etc/passwd", "Asia", "UTC"):
        pair("shell", "setprop", "persist.sys.timezone", name)
        assert pair.text("shell", "date +%Z") == "UTC\n"
        assert "+0000" in pair.text("shell", "logcat", "-d", "-v", "zone")
