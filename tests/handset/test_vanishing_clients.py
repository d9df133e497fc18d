"""adb programs that are killed in the middle of things: the phone ends what they started and serves the next one."""

from __future__ import annotations

import time

import pytest

from handset.one_phone import Pair, need_sandbox

WAIT_SECONDS = 20.0


def _until_none_runs(pair: Pair, name: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while name in (listed := pair.text("shell", "toybox ps -A -o NAME")).split():
        assert time.monotonic() < deadline, listed
        time.sleep(0.05)


@pytest.mark.parametrize("words", [("shell",), ("shell", "-x"), ("shell", "-t", "-t"), ("exec-out",)], ids=" ".join)
def test_a_client_that_is_killed_while_a_command_prints_leaves_no_process_and_holds_nobody_up(
    pair: Pair, words: tuple[str, ...]
) -> None:
    need_sandbox()
    for number in range(3):
        client = pair.adb.start("-s", pair.handset.serial, *words, "yes")
        with client:
            assert client.stdout is not None
            seen = 0
            while seen < 1_000_000:
                piece = client.stdout.read1(65536)  # type: ignore[attr-defined]
                assert piece, client.stderr and client.stderr.read()
                seen += len(piece)
            if number:
                client.stdout.close()  # as `| head` does: the next write ends it
            client.kill()
        assert pair.text("shell", "toybox echo next") == "next\n"
    _until_none_runs(pair, "yes")


@pytest.mark.parametrize("words", [("install", "-S"), ("install-write", "-S")], ids=lambda words: words[0])
def test_an_installation_whose_client_is_killed_leaves_nothing(pair: Pair, words: tuple[str, ...]) -> None:
    session = pair.text("shell", "pm", "install-create").partition("[")[2].partition("]")[0]
    named = (session, "base", "-") if words[0] == "install-write" else ()
    for _ in range(2):
        client = pair.adb.start("-s", pair.handset.serial, "shell", "-T", "cmd", "package", *words, str(64 << 20), *named)
        with client:
            assert client.stdin is not None
            client.stdin.write(bytes(4 << 20))
            client.stdin.flush()
            deadline = time.monotonic() + WAIT_SECONDS
            while "vmdl" not in (listed := pair.text("ls", "/data/app")):
                assert time.monotonic() < deadline, listed
                time.sleep(0.05)
            client.kill()
        deadline = time.monotonic() + WAIT_SECONDS
        while "vmdl" in (listed := pair.text("ls", "/data/app")):
            assert time.monotonic() < deadline, listed
            time.sleep(0.05)


def test_what_exec_in_brings_arrives_whole_though_adb_does_not_wait_for_it(pair: Pair) -> None:
    """adb ends when it has sent everything; the phone's program may still be writing, on Android too."""
    need_sandbox()
    data = bytes(range(256)) * 4096
    pair("exec-in", "cat > /data/local/tmp/in.part && mv /data/local/tmp/in.part /data/local/tmp/in", stdin=data)
    deadline = time.monotonic() + WAIT_SECONDS
    while "in" not in pair.text("shell", "ls /data/local/tmp").split():
        assert time.monotonic() < deadline, pair.text("shell", "ls -l /data/local/tmp")
        time.sleep(0.05)
    assert pair("exec-out", "cat /data/local/tmp/in").stdout == data
