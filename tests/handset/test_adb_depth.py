"""What the newer adb does beyond the daily commands: reverse, delayed acknowledgement, compression, keys, local sockets."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from handset.one_phone import Adb, Handset, Pair, adb_programs, connected_pair, need_sandbox


@pytest.fixture(scope="module", params=["messages", "bytes"])
def newer(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """The newer adb, acknowledging every message, or bytes (its burst mode)."""
    environment = {"ADB_BURST_MODE": "1"} if request.param == "bytes" else {}
    with connected_pair("adbutils", "--disk", str(256 << 20), environment=environment) as made:
        yield made


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _say(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 20) as sock:
        sock.settimeout(20)
        sock.sendall(data)
        got = b""
        while piece := sock.recv(65536):
            got += piece
        return got


def test_a_peer_of_either_kind_gets_its_bytes(newer: Pair, home: Path) -> None:
    data = os.urandom(9 << 20) + bytes(5 << 20)
    (home / "sent").write_bytes(data)
    newer("push", str(home / "sent"), "/sdcard/sent")
    newer("pull", "/sdcard/sent", str(home / "back"))
    assert _digest((home / "back").read_bytes()) == _digest(data)
    need_sandbox()
    assert newer("exec-out", "cat /sdcard/sent").stdout == data
    assert newer("shell", "-T", "cat", stdin=data).stdout == data
    done = newer("shell", "echo out; echo err >&2; exit 3", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


@pytest.mark.parametrize("algorithm", ["lz4", "brotli", "zstd"])
def test_compressed_files_survive_the_round_trip(newer: Pair, home: Path, algorithm: str) -> None:
    folder = home / "folder"
    folder.mkdir()
    (folder / "empty").write_bytes(b"")
    (folder / "text").write_bytes(b"the same again and again " * 200_000)
    (folder / "noise").write_bytes(os.urandom(3 << 20))
    newer("push", "-z", algorithm, str(folder), f"/sdcard/{algorithm}")
    newer("pull", "-z", algorithm, f"/sdcard/{algorithm}", str(home / "back"))
    for name in ("empty", "text", "noise"):
        assert (home / "back" / name).read_bytes() == (folder / name).read_bytes(), name


def test_a_compressed_file_that_fills_the_disk_is_refused_and_gone(newer: Pair, home: Path) -> None:
    with (home / "zeros").open("wb") as file:
        file.truncate(600 << 20)
    refused = newer("push", "-z", "lz4", str(home / "zeros"), "/sdcard/zeros", check=False)
    assert refused.returncode and b"No space left on device" in refused.stderr + refused.stdout
    assert "zeros" not in newer.text("ls", "/sdcard/")


def test_a_dry_run_leaves_nothing(newer: Pair, home: Path) -> None:
    (home / "tried").write_bytes(bytes(1 << 20))
    newer("push", "-n", str(home / "tried"), "/sdcard/tried")
    assert "tried" not in newer.text("ls", "/sdcard/")


def test_reverse_leads_from_the_phone_to_the_computer(newer: Pair) -> None:
    need_sandbox()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    connection.sendall(b"hello " + connection.recv(64))

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        port = server.getsockname()[1]
        assert newer.text("reverse", "tcp:7100", f"tcp:{port}") in ("", "7100\n")
        chosen = newer.text("reverse", "tcp:0", f"tcp:{port}").strip()
        assert int(chosen) > 1023
        listed = newer.text("reverse", "--list")
        assert f"tcp:7100 tcp:{port}" in listed and f"tcp:{chosen} tcp:{port}" in listed
        assert newer.text("shell", "(echo phone; sleep 1) | nc 127.0.0.1 7100") == "hello phone\n"
        assert newer.text("shell", f"(echo again; sleep 1) | nc 127.0.0.1 {chosen}") == "hello again\n"
        thread.join(20)
        refused = newer("reverse", "--no-rebind", "tcp:7100", "tcp:1", check=False)
        assert refused.returncode and b"cannot rebind" in refused.stderr
        newer("reverse", "--remove", "tcp:7100")
        assert newer("reverse", "--remove", "tcp:7100", check=False).returncode
        newer("reverse", "--remove-all")
        assert newer.text("reverse", "--list").strip() == ""
        assert newer("shell", "echo x | nc -w 5 127.0.0.1 7100", check=False).returncode


def test_a_socket_file_in_the_phone_is_reached_and_a_link_out_of_it_is_not(newer: Pair, home: Path) -> None:
    need_sandbox()
    outside = socket.socket(socket.AF_UNIX)
    outside.bind(str(home / "outside"))
    outside.listen()
    program = (
        "import socket; s = socket.socket(socket.AF_UNIX); s.bind('/data/local/tmp/inside'); s.listen(); print('up', flush=True); "
        "c, _ = s.accept(); c.sendall(c.recv(64) + b' heard')"
    )
    newer("shell", "rm -f /data/local/tmp/inside")
    listener = newer.adb.start("-s", newer.handset.serial, "shell", f'/system/lib/handset/bin/python* -IS -c "{program}"')
    try:
        assert listener.stdout is not None
        assert listener.stdout.readline() == b"up\n"
        port = int(newer.text("forward", "tcp:0", "localfilesystem:/data/local/tmp/inside"))
        assert _say(port, b"to a file") == b"to a file heard"
        newer("shell", f"ln -sf {home}/outside /data/local/tmp/leads-out")
        out = int(newer.text("forward", "tcp:0", "localfilesystem:/data/local/tmp/leads-out"))
        with contextlib.suppress(ConnectionError):
            assert _say(out, b"hello?") == b""
        outside.setblocking(False)
        with pytest.raises(BlockingIOError):
            outside.accept()
    finally:
        listener.kill()
        listener.communicate()
        outside.close()
        newer("forward", "--remove-all")


def test_background_jobs_print_until_they_end(newer: Pair) -> None:
    need_sandbox()
    assert newer.text("shell", "(sleep 0.7; echo late) & echo soon") == "soon\nlate\n"


def test_jdwp_lists_no_process_and_says_so_at_once(newer: Pair) -> None:
    listed = newer("jdwp")
    assert (listed.stdout, listed.stderr) == (b"", b"")
    process = newer.adb.start("-s", newer.handset.serial, "track-jdwp")
    try:
        assert process.stdout is not None
        assert process.stdout.read(4) == b"0000"
    finally:
        process.kill()
        process.communicate()


def test_several_files_go_at_once(newer: Pair, home: Path) -> None:
    (home / "a").write_bytes(os.urandom(4 << 20))
    words = ["-s", newer.handset.serial]
    running = [newer.adb.start(*words, "push", str(home / "a"), f"/sdcard/at-once-{n}") for n in range(6)]
    assert [process.wait(60) for process in running] == [0] * 6
    for process in running:
        process.communicate()
    for n in range(6):
        newer("pull", f"/sdcard/at-once-{n}", str(home / f"back-{n}"))
        assert (home / f"back-{n}").read_bytes() == (home / "a").read_bytes()


def _no_shell_changes_the_keys(adb: Adb, handset: Handset, home: Path) -> None:
    need_sandbox()
    known = adb.run("-s", handset.serial, "shell", "cat /data/misc/adb/adb_keys").stdout
    assert known == (home / "f" / ".android" / "adbkey.pub").read_bytes()
    (home / "forged").write_bytes(b"forged")
    for words in (
        ("shell", "rm /data/misc/adb/adb_keys"),
        ("shell", "echo forged > /data/misc/adb/adb_keys"),
        ("shell", "chmod 777 /data/misc/adb && rm -r /data/misc/adb"),
        ("shell", "mv /data/misc/adb /data/misc/aside"),
        ("shell", "mv /data/misc /data/aside"),
        ("shell", "screencap -p /data/misc/adb/adb_keys"),
        ("shell", "logcat -d -f /data/misc/adb/adb_keys"),
        ("shell", "ln -s /data/misc/adb /sdcard/there && echo forged > /sdcard/there/adb_keys"),
        ("push", str(home / "forged"), "/data/misc/adb/adb_keys"),
        ("push", str(home / "forged"), "/sdcard/there/adb_keys"),
        ("push", str(home / "forged"), "/data/misc/adb/new/file"),
    ):
        done = adb.run("-s", handset.serial, *words, check=False)
        assert done.returncode, (words, done)
        assert (handset.directory / "data" / "misc" / "adb" / "adb_keys").read_bytes() == known, words
    adb.run("-s", handset.serial, "shell", "touch /data/misc/other && chmod 0 /data/misc /data/local")


def test_keys_are_the_roots_of_a_phone_that_has_one(home: Path) -> None:
    with connected_pair("debian", "--property", "ro.com.cph.non_root=0") as pair:
        (home / "keys").write_bytes(b"key of root")
        pair("push", str(home / "keys"), "/data/misc/adb/adb_keys")
        need_sandbox()
        assert (
            pair.text("shell", "cat /data/misc/adb/adb_keys && rm -r /data/misc && ln -s /data/local /data/misc") == "key of root"
        )
        pair("unroot")
        pair.adb.run("disconnect", pair.handset.serial, check=False)
        pair.connect()
        assert pair.text("shell", "id -u; cd /data/misc/adb && pwd -P") == "2000\n/data/misc/adb\n"
        assert pair("shell", "touch /data/misc/adb/adb_keys", check=False).returncode


@pytest.mark.parametrize("which", ["debian", "adbutils"])
def test_only_a_known_key_gets_in_where_keys_are_asked_for(home: Path, which: str) -> None:
    program = adb_programs()[which]
    if program is None:
        pytest.skip("no adb")
    directory = home / "phone"
    stranger, friend = Adb(program, home / "s"), Adb(program, home / "f")
    for adb in (stranger, friend):
        Path(adb._environment["HOME"], ".android").mkdir(parents=True)
    keys = directory / "data" / "misc" / "adb"
    keys.mkdir(parents=True)
    subprocess.run([program, "keygen", str(home / "f" / ".android" / "adbkey")], check=True, env=friend._environment)
    (keys / "adb_keys").write_bytes((home / "f" / ".android" / "adbkey.pub").read_bytes())
    handset = Handset(directory, "--property", "ro.adb.secure=1")
    try:
        friend.run("connect", handset.serial)
        friend.run("-s", handset.serial, "wait-for-device")
        assert friend.run("-s", handset.serial, "shell", "getprop", "ro.adb.secure").stdout == b"1\n"
        said = stranger.run("connect", handset.serial, check=False).stdout
        assert b"authenticate" in said or b"unauthorized" in stranger.run("devices").stdout, said
        refused = stranger.run("-s", handset.serial, "shell", "getprop", check=False)
        assert refused.returncode and b"unauthorized" in refused.stderr
        _no_shell_changes_the_keys(friend, handset, home)
        handset.stop()
        handset.start(0)
        friend.run("connect", handset.serial)
        friend.run("-s", handset.serial, "wait-for-device")
        assert friend.run("-s", handset.serial, "get-state").stdout == b"device\n"
    finally:
        friend.close()
        stranger.close()
        handset.stop()
