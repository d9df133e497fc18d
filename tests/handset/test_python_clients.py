"""The Python libraries that people use instead of the adb program."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

from handset.one_phone import Pair, need_sandbox


def test_adb_shell_works_without_an_adb_server(pair: Pair, home: Path) -> None:
    from adb_shell.adb_device import AdbDeviceTcp

    host, _, port = pair.handset.serial.rpartition(":")
    device = AdbDeviceTcp(host, int(port), default_transport_timeout_s=10)
    assert device.connect(auth_timeout_s=1)
    try:
        assert device.shell("getprop ro.product.brand") == "OpenCPH\n"
        data = bytes(range(256)) * 3000
        device.push(io.BytesIO(data), "/sdcard/adb-shell", mtime=1_500_000_000)
        back = io.BytesIO()
        device.pull("/sdcard/adb-shell", back)
        assert back.getvalue() == data
        mode, size, mtime = device.stat("/sdcard/adb-shell")
        assert (mode & 0o170000, size, mtime) == (0o100000, len(data), 1_500_000_000)
        assert "adb-shell" in [entry.filename.decode() for entry in device.list("/sdcard")]
        need_sandbox()
        assert device.shell("echo $((40 + 2)); cat /sdcard/adb-shell | wc -c").split() == ["42", str(len(data))]
        assert device.exec_out("cat /sdcard/adb-shell", decode=False) == data
        with pytest.raises(Exception, match="No such file"):
            device.pull("/sdcard/none", str(home / "none"))
    finally:
        device.close()


@pytest.mark.parametrize("size", [983_000, 1_048_576, 1_050_000, 2_100_000, 2_500_000])
def test_adb_shell_pushes_files_of_several_messages(pair: Pair, size: int) -> None:
    """It takes nothing but the acknowledgement of what it has sent, and after the last of them the answer."""
    from adb_shell.adb_device import AdbDeviceTcp

    host, _, port = pair.handset.serial.rpartition(":")
    device = AdbDeviceTcp(host, int(port), default_transport_timeout_s=10)
    assert device.connect(auth_timeout_s=1)
    try:
        device.push(io.BytesIO(b"x" * size), "/sdcard/large", mtime=1_500_000_000)
        assert device.stat("/sdcard/large")[1:] == (size, 1_500_000_000)
    finally:
        device.close()


def test_adbutils_hears_that_nobody_listens(pair: Pair) -> None:
    import adbutils

    need_sandbox()
    device = adbutils.AdbClient("127.0.0.1", pair.adb.port).device(pair.handset.serial)
    shell = pair.adb.start("-s", pair.handset.serial, "shell", "nc -l -p 7002 -s 127.0.0.1 cat")
    try:
        for kind, place in (
            (adbutils.Network.TCP, 9999),
            (adbutils.Network.LOCAL_ABSTRACT, "nobody"),
            (adbutils.Network.LOCAL_FILESYSTEM, "/data/local/tmp/nobody"),
        ):
            with pytest.raises(adbutils.AdbError, match="closed"):
                device.create_connection(kind, place)
        deadline = time.monotonic() + 15
        while True:
            try:
                connection = device.create_connection(adbutils.Network.TCP, 7002)
                break
            except adbutils.AdbError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        with connection:
            connection.sendall(b"through")
            assert connection.recv(7) == b"through"
    finally:
        shell.kill()
        shell.communicate()


def test_adbutils_works_through_the_server(pair: Pair, home: Path) -> None:
    import adbutils

    device = adbutils.AdbClient("127.0.0.1", pair.adb.port).device(pair.handset.serial)
    assert device.getprop("ro.serialno") == device.shell("getprop ro.serialno")
    assert device.prop.model == "handset"
    assert tuple(device.window_size()) == (720, 1280)
    picture = device.screenshot()
    assert picture.size == (720, 1280)
    (home / "file").write_bytes(b"adbutils" * 10_000)
    device.sync.push(home / "file", "/sdcard/adbutils")
    assert device.sync.stat("/sdcard/adbutils").size == 80_000
    assert device.sync.read_bytes("/sdcard/adbutils") == b"adbutils" * 10_000
    need_sandbox()
    done = device.shell2("ls /nothing", v2=True)
    assert done.returncode != 0 and "No such file" in done.stderr
    assert device.shell2("echo v1; false").returncode == 1
