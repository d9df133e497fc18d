"""What a stock adb's user does with apps, the screen, the log and small services, and what Android would answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from apk_maker import apk
from handset.one_phone import Pair, connected_pair


@pytest.fixture(scope="module")
def phone() -> Iterator[Pair]:
    """A handset without apps."""
    with connected_pair("debian", "--disk", str(256 << 20)) as made:
        yield made


def _said(phone: Pair, line: str, code: int = 0) -> str:
    done = phone("shell", line, check=False)
    assert done.returncode == code, (line, done)
    return (done.stdout + done.stderr).decode()


def _put(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def test_a_split_is_added_to_an_app_that_is_installed_and_taken_away_again(phone: Pair, tmp_path: Path) -> None:
    base = _put(tmp_path / "base.apk", apk("com.t.split", 3))
    one = _put(tmp_path / "s1.apk", apk("com.t.split", 3, split="one"))
    two = _put(tmp_path / "s2.apk", apk("com.t.split", 3, split="two"))
    phone("install", base)
    _said(phone, "mkdir -p /sdcard/x; echo kept >/data/data/com.t.split/file")
    uid = _said(phone, "pm list packages -U com.t.split")
    assert "Success" in phone.text("install-multiple", "-p", "com.t.split", one)
    assert "Success" in phone.text("install-multiple", "-p", "com.t.split", two)
    assert [line.rpartition("/")[2] for line in _said(phone, "pm path com.t.split").split()] == [
        "base.apk", "split_one.apk", "split_two.apk",
    ]  # fmt: skip
    assert _said(phone, "pm list packages -U com.t.split") == uid and _said(phone, "cat /data/data/com.t.split/file") == "kept\n"
    newer = _put(tmp_path / "s3.apk", apk("com.t.split", 4, split="three"))
    refused = phone("install-multiple", "-p", "com.t.split", newer, check=False)
    assert refused.returncode and b"version code 4 inconsistent with 3" in refused.stdout + refused.stderr
    strange = _put(tmp_path / "s4.apk", apk("com.t.split", 3, split="four", signer="other"))
    refused = phone("install-multiple", "-p", "com.t.split", strange, check=False)
    assert refused.returncode and b"signatures are inconsistent" in refused.stdout + refused.stderr
    assert _said(phone, "pm uninstall com.t.split one") == "Success\n"
    assert "splits=[base, two]" in _said(phone, "dumpsys package com.t.split")
    assert "split 'one' not found" in _said(phone, "pm uninstall com.t.split one", 1)


def test_nothing_can_be_added_to_an_app_that_is_not_there(phone: Pair, tmp_path: Path) -> None:
    split = _put(tmp_path / "s.apk", apk("com.nosuch.app", 1, split="one"))
    refused = phone("install-multiple", "-p", "com.nosuch.app", split, check=False)
    assert b"INSTALL_FAILED_INVALID_APK: Missing existing base package" in refused.stdout + refused.stderr
    number = _said(phone, "pm install-create --pkg com.nosuch.app").partition("[")[2].partition("]")[0]
    phone("push", split, "/data/local/tmp/s.apk")
    _said(phone, f"pm install-write {number} s /data/local/tmp/s.apk")
    assert "Full install must include a base package" in _said(phone, f"pm install-commit {number}", 1)
