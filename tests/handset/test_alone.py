"""One phone by itself, `python -m opencph.handset`: its directory is one process's, its options have limits."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from handset.one_phone import Adb, Handset, Pair, adb_programs, own_address

SECONDS = 60


def _refused(directory: Path, *options: str) -> str:
    """What a phone that does not start says."""
    words = [sys.executable, "-m", "opencph.handset", "--data", str(directory), *options]
    done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode in (1, 2), done.stdout) == (True, ""), done
    return done.stderr.strip().splitlines()[-1]


def test_a_directory_is_one_process_s_until_that_ends(home: Path) -> None:
    first = Handset(home / "p")
    try:
        owner = (home / "p").stat().st_uid
        said = _refused(home / "p", "--listen", f"{own_address()}:0")
        assert said == (
            f"opencph handset: process {first.process.pid} holds {home / 'p' / 'handset.lock'}: "
            "it runs a phone on this directory; end it or give another --data"
        )
        (home / "link").symlink_to(home / "p")
        assert f"process {first.process.pid} holds" in _refused(home / "link", "--listen", f"{own_address()}:0")
        assert (home / "p").stat().st_uid == owner
        assert (home / "p" / "boots").read_text().strip() == "1"  # the second one booted nothing
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(SECONDS)
        assert first.process.stdout is not None
        first.process.stdout.close()
        first.start(0)  # whatever became of the process, nothing is left to be cleared away
        assert (home / "p" / "boots").read_text().strip() == "2"
    finally:
        first.stop()


def test_two_phones_of_two_directories_run_beside_each_other(home: Path) -> None:
    phones = [Handset(home / name) for name in ("a", "b")]
    for phone in phones:
        phone.stop()


@pytest.mark.parametrize("size", ["-5", "0", "1048575", str(1 << 60), "1G"])
def test_a_disk_that_cannot_be_is_refused(home: Path, size: str) -> None:
    said = _refused(home / "p", "--disk", size)
    assert said.endswith(f"argument --disk: '{size}' is not a size of 1048576 bytes (1 MiB) to 1125899906842624 bytes (1 PiB)")


@pytest.mark.parametrize("port", ["0", "-1", "65536", "web"])
def test_a_port_that_leads_nowhere_is_refused(home: Path, port: str) -> None:
    said = _refused(home / "p", "--listen", f"{own_address()}:0", "--port", port)
    assert said.endswith(f"argument --port: '{port}' is not a port of 1 to 65535")


def test_the_port_of_its_own_adbd_is_not_declared_too(home: Path) -> None:
    said = _refused(home / "p", "--listen", f"{own_address()}:5555", "--port", "5555")
    assert said.endswith("argument --port: 5555 is the port of its adbd (--listen); declare another one")


def test_a_port_that_another_program_has_is_named_with_its_option(home: Path) -> None:
    with socket.socket() as other:
        other.bind((own_address(), 0))
        other.listen()
        ip, port = other.getsockname()
        reason = f"opencph handset: {ip}:{port} is taken by another program (`ss -ltnp` shows it); end it or give another"
        assert _refused(home / "p", "--listen", f"{ip}:{port}") == f"{reason} --listen"
        assert _refused(home / "p", "--listen", f"{ip}:0", "--port", str(port)) == f"{reason} --port"


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="no IPv6: the kernel has none")
def test_an_address_of_ipv6_is_said_as_adb_takes_it(home: Path) -> None:
    program = adb_programs()["debian"]
    if program is None:
        pytest.skip("no adb program debian")
    adb, handset = Adb(program, home), Handset(home / "p", ip="[::1]")
    try:
        assert re.fullmatch(r"\[::1\]:\d+", handset.serial)
        pair = Pair(adb, handset)
        pair.connect()
        assert pair.text("shell", "getprop", "sys.boot_completed") == "1\n"
    finally:
        handset.stop()
        adb.close()
