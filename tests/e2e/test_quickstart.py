"""The quick start does what it says: its snippets are run as they stand, in a home directory of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.running import Eventually, StartUp, free_port

PAGE = Path(__file__).parents[2] / "docs" / "quickstart.md"


def snippet(language: str, containing: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (text,) = [text for text in found if containing in text]
    return str(text)


def lines(below: str) -> list[str]:
    """The lines to type below a heading."""
    section = PAGE.read_text().partition(f"\n## {below}\n")[2].partition("\n## ")[0]
    return re.findall(r"^    (.+)$", section, re.MULTILINE)


def run(home: Path, *command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "HOME": str(home)}, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_sdk_script_buys_a_server_and_says_how_to_connect(start: StartUp, directory: Path) -> None:
    start(data=directory / ".local/share/opencph")
    said = run(directory, sys.executable, "-c", snippet("python", "CphClient"))
    assert re.fullmatch(r"(\S+ adb connect 127\.[0-9.]+:[0-9]+\n){3}", said)


def test_the_lines_for_adb_and_ssh_work_with_what_the_api_answers(
    start: StartUp, directory: Path, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    for program in ("adb", "ssh"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}: see the Makefile's PEERS")
    known = start(data=directory / ".local/share/opencph").credentials
    after = 'print(json.dumps([info.to_dict() for info in detail.access_infos] + [{"private_key_file": c["private_key_file"]}]))'
    said = run(directory, sys.executable, "-c", f"{snippet('python', 'CphClient')}{after}")
    infos = {info.get("type", ""): info for info in json.loads(said.splitlines()[-1])}
    assert f"adb connect {infos['adb']['server_ip']}:{infos['adb']['access_port']}" in said
    facts = {name: str(value) for name, value in {**known, **infos["adb"], "public_ip": infos["web"]["public_ip"]}.items()}

    def typed(line: str) -> str:
        return re.sub(r"<(\w+)>", lambda found: facts[found[1]], line).replace("6520", tunnel_port)

    tunnel_port = str(free_port())
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(free_port()))
    monkeypatch.chdir(directory)
    (directory / "photo.jpg").write_bytes(b"a photo")
    connect, model, push, screenshot = (typed(line) for line in lines("With adb"))
    tunnel_line, through = (typed(line) for line in lines("With adb through an SSH tunnel, as from outside"))
    # nobody is there to accept the host key, and nobody's list of hosts shall grow
    unasked = f" -o StrictHostKeyChecking=no -o UserKnownHostsFile={directory}/known_hosts"
    tunnel = subprocess.Popen(["sh", "-c", f"exec {tunnel_line}{unasked}"], stderr=subprocess.DEVNULL)
    try:
        assert run(directory, "sh", "-c", connect).startswith("connected to ")
        assert run(directory, "sh", "-c", model).strip()
        run(directory, "sh", "-c", push)
        run(directory, "sh", "-c", screenshot)
        assert (directory / "screen.png").read_bytes().startswith(b"\x89PNG")
        eventually(lambda: run(directory, "sh", "-c", through).startswith("connected to "), "the tunnel")
        shell = f"adb -s 127.0.0.1:{tunnel_port} shell cat /sdcard/Download/photo.jpg"
        assert run(directory, "sh", "-c", shell) == "a photo"
    finally:
        tunnel.terminate()
        tunnel.wait()
        subprocess.run(["adb", "kill-server"], check=False, stderr=subprocess.DEVNULL)


def test_the_token_script_lists_phones(start: StartUp, directory: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl: sudo apt-get install curl")
    start(data=directory / ".local/share/opencph")
    assert json.loads(run(directory, "sh", "-c", snippet("sh", "TOKEN=")))["phones"] == []


def test_the_test_helper_starts_an_installation_that_is_gone_at_the_end(tmp_path: Path) -> None:
    said = run(tmp_path, sys.executable, "-c", snippet("python", "opencph_up"))
    assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+ [A-Z0-9]{20}\n", said)
