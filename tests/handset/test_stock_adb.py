"""What people do with adb, with the adb programs that people have."""

from __future__ import annotations

import hashlib
import io
import os
import re
import time
from pathlib import Path

from PIL import Image

from apk_maker import apk
from handset.one_phone import Pair, Terminal, need_sandbox
from opencph.adb.client import handshake
from opencph.handset.sandbox import missing


def test_the_device_is_listed_with_its_name(pair: Pair) -> None:
    listed = pair.adb.run("devices", "-l").stdout.decode()
    assert f"{pair.handset.serial}" in listed
    assert "product:handset" in listed and "device:handset" in listed


def test_properties_read_as_android_prints_them(pair: Pair) -> None:
    assert pair.text("shell", "getprop", "ro.product.model") == "handset\n"
    lines = pair.text("shell", "getprop").splitlines()
    assert "[ro.build.fingerprint]: [OpenCPH/handset/handset:11/OPENCPH/1:userdebug/test-keys]" in lines
    assert "[com.cph.mainkeys]: [0]" in lines


def test_exit_codes_and_stderr_arrive_apart(pair: Pair) -> None:
    need_sandbox()
    done = pair("shell", "echo out; echo err >&2; exit 42", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (42, b"out\n", b"err\n")
    assert pair("shell", "true").returncode == 0
    assert pair("shell", "kill -9 $$", check=False).returncode == 137


def test_stdin_is_binary_safe(pair: Pair) -> None:
    need_sandbox()
    data = bytes(range(256)) * 4000
    assert pair("shell", "-T", "cat", stdin=data).stdout == data
    assert pair("exec-out", "cat /system/build.prop").stdout.startswith(b"ro.")
    written = pair("exec-in", "cat > /data/local/tmp/binary", stdin=data)
    assert written.returncode == 0
    deadline = time.monotonic() + 10
    while pair("exec-out", "cat /data/local/tmp/binary").stdout != data:  # exec-in does not wait for the writer
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_large_file_survives_the_round_trip(pair: Pair, home: Path) -> None:
    source, back = home / "source", home / "back"
    source.write_bytes(os.urandom(48 << 20))
    pair("push", str(source), "/sdcard/Download/source")
    pair("pull", "/sdcard/Download/source", str(back))
    assert hashlib.sha256(back.read_bytes()).digest() == hashlib.sha256(source.read_bytes()).digest()
    pair("push", os.devnull, "/sdcard/Download/source", check=False)
    source.write_bytes(b"")
    pair("push", str(source), "/sdcard/Download/source")
    pair("pull", "/sdcard/Download/source", str(back))
    assert back.read_bytes() == b""


def test_folders_keep_names_modes_and_times(pair: Pair, home: Path) -> None:
    folder = home / "folder"
    (folder / "a b" / "ünï").mkdir(parents=True)
    script = folder / "a b" / "run.sh"
    script.write_text("#!/system/bin/sh\necho ran\n")
    script.chmod(0o755)
    os.utime(script, (1_500_000_000, 1_500_000_000))
    (folder / "a b" / "ünï" / "x").write_bytes(b"x" * 70_000)
    for number in range(30):
        (folder / f"small-{number}").write_text(str(number))
    pair("push", str(folder), "/data/local/tmp/")
    pair("pull", "-a", "/data/local/tmp/folder", str(home / "back"))
    back = home / "back"
    assert sorted(p.relative_to(back) for p in back.rglob("*")) == sorted(p.relative_to(folder) for p in folder.rglob("*"))
    assert (back / "a b" / "ünï" / "x").read_bytes() == b"x" * 70_000
    assert (back / "a b" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert int((back / "a b" / "run.sh").stat().st_mtime) == 1_500_000_000
    listing = pair.text("ls", "/data/local/tmp/folder")
    assert "small-29" in listing and "a b" in listing


def test_pushed_scripts_run(pair: Pair, home: Path) -> None:
    need_sandbox()
    script = home / "s.sh"
    script.write_text("#!/system/bin/sh\necho $((6 * 7)) $1\n")
    script.chmod(0o755)
    pair("push", str(script), "/data/local/tmp/s.sh")
    assert pair.text("shell", "/data/local/tmp/s.sh now") == "42 now\n"


def test_a_missing_file_and_a_read_only_place_are_named(pair: Pair, home: Path) -> None:
    missing = pair("pull", "/sdcard/nothing", str(home / "x"), check=False)
    assert missing.returncode and b"No such file" in missing.stderr + missing.stdout
    (home / "y").write_text("y")
    refused = pair("push", str(home / "y"), "/system/y", check=False)
    assert refused.returncode and b"Read-only file system" in refused.stderr + refused.stdout


def test_what_scripts_fetch_of_proc_can_be_pulled_and_dev_null_takes_everything(pair: Pair, home: Path) -> None:
    for name, line in (
        ("version", "^Linux version "),
        ("cpuinfo", "(?m)^model name      : OpenCPH handset"),
        ("meminfo", "(?m)^MemTotal: "),
        ("uptime", r"^[0-9]+\.[0-9]{2} "),
        ("loadavg", r"^( *[0-9]+\.[0-9]{2}){3} +[0-9]+/[0-9]+ "),
        ("cmdline", "androidboot.hardware=opencph_handset"),
    ):
        pair("pull", f"/proc/{name}", str(home / name))
        assert re.search(line, (home / name).read_text()), f"{name}: {(home / name).read_text()}"
        assert name in pair.text("ls", "/proc")
    (home / "random").write_bytes(os.urandom(3_000_000))
    pair("push", str(home / "random"), "/dev/null")
    assert pair("push", str(home / "random"), "/dev/zero", check=False).returncode
    need_sandbox()
    for name in ("version", "cpuinfo"):
        assert pair.text("shell", f"cat /proc/{name}") == (home / name).read_text()
    pair("pull", "/proc/meminfo", str(home / "meminfo"))
    total = (home / "meminfo").read_text().splitlines()[0]
    assert total == pair.text("shell", "cat /proc/meminfo").splitlines()[0]
    assert pair.text("shell", "wc -c < /dev/null") == "0\n"


def test_etc_is_the_same_for_the_file_service_and_for_programs(pair: Pair, home: Path) -> None:
    for path in ("/etc/hosts", "/system/etc/hosts", "/etc/passwd", "/etc/group", "/etc/mkshrc"):
        pair("pull", path, str(home / "pulled"))
        assert (home / "pulled").read_bytes()
        if not missing():
            assert pair("exec-out", f"cat {path}").stdout == (home / "pulled").read_bytes()
    names = {line.split()[-1] for line in pair.text("ls", "/system/etc").splitlines()} - {".", ".."}
    assert {"group", "hosts", "mkshrc", "passwd"} <= names
    if not missing():
        assert names == set(pair.text("shell", "ls /etc/").split()) - {"ld.so.cache"}


def test_bytes_that_are_no_text_go_through(pair: Pair, home: Path) -> None:
    need_sandbox()
    odd = os.fsdecode(b"caf\xe9")
    assert pair("shell", f"echo {odd} | cat").stdout == b"caf\xe9\n"
    assert pair("shell", "-x", f"echo {odd} | cat").stdout == b"caf\xe9\n"
    assert pair("exec-out", f"echo {odd}; exit 3", check=False).stdout == b"caf\xe9\n"
    pair("exec-in", f"cat > /sdcard/in-{odd}", stdin=b"in")
    (home / odd).write_bytes(b"pushed")
    pair("push", str(home / odd), f"/sdcard/{odd}")
    pair.until_said(f"cat /sdcard/in-{odd}", "in")
    assert pair("shell", f"cd /sdcard; cat {odd}; rm {odd} in-{odd}; ls").stdout.startswith(b"pushed")
    assert b"caf" not in pair("shell", "ls", "/sdcard").stdout
    before = pair("shell", "ls", "/data/local/tmp").stdout
    (home / f"{odd}.apk").write_bytes(apk("com.odd.name"))
    assert b"Success" in pair("install", "--no-streaming", str(home / f"{odd}.apk")).stdout
    assert pair("shell", "ls", "/data/local/tmp").stdout == before
    assert b"Success" in pair("uninstall", "com.odd.name").stdout
    for words in (["--remove", f"localabstract:{odd}"], [f"localabstract:{odd}", "tcp:1"], ["--list"], ["--remove-all"]):
        pair("reverse", *words, check=False)
        assert pair.said("echo on | cat") == "on\n", words  # the connection is there, and so is what it carries
    for words in (["tcp:" + "9" * 5000, "tcp:1"], ["tcp:²", "tcp:1"]):
        assert pair("reverse", *words, check=False).returncode, words


def test_an_app_in_a_directory_whose_name_is_no_text_is_listed(phone: Pair, home: Path) -> None:
    (home / "base.apk").write_bytes(apk("com.odd.place"))
    phone("push", str(home / "base.apk"), os.fsdecode(b"/data/app/caf\xe9/base.apk"))
    for _ in range(2):  # read, and written down
        assert "package:com.odd.place" in phone.text("shell", "pm", "list", "packages")
    assert b"package:/data/app/caf\xe9/base.apk" in phone("shell", "pm", "path", "com.odd.place").stdout
    assert phone.text("shell", "pm", "set-installer", "com.odd.place", "com.a.b") == "Success\n"
    assert phone.text("uninstall", "com.odd.place") == "Success\n"


def test_a_full_disk_is_named_and_nothing_is_left(pair: Pair, home: Path) -> None:
    big = home / "big"
    with big.open("wb") as file:
        file.truncate(300 << 20)
    refused = pair("push", str(big), "/sdcard/big", check=False)
    assert refused.returncode
    assert b"No space left on device" in refused.stderr + refused.stdout
    assert "big" not in pair.text("ls", "/sdcard/")


def test_the_screen_is_a_picture_of_its_size(pair: Pair) -> None:
    first = pair("exec-out", "screencap", "-p").stdout
    image = Image.open(io.BytesIO(first))
    image.load()
    assert image.size == (720, 1280)
    assert len(image.getcolors(1 << 20) or []) > 10
    pair("shell", "input", "tap", "300", "600")
    assert pair("exec-out", "screencap", "-p").stdout != first
    pair("shell", "screencap", "-p", "/sdcard/shot.png")
    assert "shot.png" in pair.text("ls", "/sdcard/")
    pair("shell", "rm", "/sdcard/shot.png", check=False)


def test_two_clients_work_at_once(pair: Pair) -> None:
    need_sandbox()
    words = ["-s", pair.handset.serial, "shell", "read x; echo got $x"]
    slow = pair.adb.start(*words)
    try:
        assert pair.text("shell", "echo quick") == "quick\n"
        out, _ = slow.communicate(b"it\n", timeout=20)
        assert out == b"got it\n"
    finally:
        slow.kill()


def test_root_answers_as_a_production_build(pair: Pair) -> None:
    assert "cannot run as root in production builds" in pair.text("root")
    assert pair.text("shell", "id").startswith("uid=2000(shell)")
    assert "not running as root" in (pair("unroot", check=False).stdout + pair("unroot", check=False).stderr).decode()


def test_a_terminal_has_the_size_that_it_is_told(pair: Pair) -> None:
    need_sandbox()
    assert pair("shell", "-tt", "tty").stdout == b"/dev/pts/0\r\n"
    with Terminal(pair, 44, 122, "shell", "-t", "stty size; cat /dev/null") as terminal:
        terminal.shows("44 122\r\n")
    with Terminal(pair, 44, 122, "shell") as terminal:
        terminal.shows("$ ")
        terminal.types("stty size; echo columns $COLUMNS lines $LINES")
        terminal.shows("44 122\r\ncolumns 122 lines 44\r\n")
        terminal.resize(30, 100)
        terminal.shows("\r")  # the shell heard of it, and draws its line again
        terminal.types("stty size; echo columns $COLUMNS lines $LINES")
        terminal.shows("30 100\r\ncolumns 100 lines 30\r\n")


def test_packages_are_the_honest_few(pair: Pair, home: Path) -> None:
    pages = ["android", "com.android.documentsui", "com.android.settings", "com.opencph.handset.launcher"]
    assert pair.text("shell", "pm", "list", "packages").split() == [f"package:{page}" for page in pages]
    apk = home / "a.apk"
    apk.write_bytes(b"PK" + bytes(200_000))
    refused = pair("install", str(apk), check=False)
    assert refused.returncode and b"INSTALL_PARSE_FAILED_NOT_APK" in refused.stdout + refused.stderr


def test_a_reboot_keeps_files_and_counts(pair: Pair, home: Path) -> None:
    (home / "kept").write_text("kept")
    pair("push", str(home / "kept"), "/sdcard/kept")
    pair("shell", "setprop", "persist.test.kept", "yes")
    pair("shell", "setprop", "debug.test.lost", "yes")
    pair("reboot")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        pair.adb.run("connect", pair.handset.serial, check=False)
        done = pair("shell", "getprop debug.test.lost", check=False)
        if not done.returncode and done.stdout == b"\n":
            break
        time.sleep(0.05)
    assert pair.text("shell", "getprop", "persist.test.kept") == "yes\n"
    assert pair.text("shell", "getprop", "debug.test.lost") == "\n"
    pair("pull", "/sdcard/kept", str(home / "back"))
    assert (home / "back").read_text() == "kept"
    assert "boot 2" in pair.text("logcat", "-d")
    assert pair.text("shell", "getprop", "sys.boot.reason") == "reboot,adb\n"


def test_disconnect_and_connect_again(pair: Pair) -> None:
    pair.adb.run("disconnect", pair.handset.serial)
    assert pair.handset.serial not in pair.adb.run("devices").stdout.decode()
    pair.connect()
    assert pair.text("get-state") == "device\n"


def test_forward_reaches_what_listens_in_the_phone(pair: Pair) -> None:
    need_sandbox()
    import socket

    listener = pair.adb.start("-s", pair.handset.serial, "shell", "nc -l -p 7001 -s 127.0.0.1 cat")
    try:
        port = int(pair.text("forward", "tcp:0", "tcp:7001"))
        deadline = time.monotonic() + 15
        while True:
            with socket.create_connection(("127.0.0.1", port), 10) as sock:
                sock.sendall(b"through")
                try:
                    got = sock.recv(7)
                except ConnectionResetError:
                    got = b""
            if got == b"through":
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        listener.kill()
        listener.communicate()
        pair("forward", "--remove-all")


def test_the_platforms_own_client_agrees(pair: Pair) -> None:
    import asyncio

    host, _, port = pair.handset.serial.rpartition(":")
    assert asyncio.run(handshake(host, int(port))).startswith("device::ro.product.name=handset;")
