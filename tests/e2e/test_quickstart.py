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

from e2e.running import StartUp

PAGE = Path(__file__).parents[2] / "docs" / "quickstart.md"


def snippet(language: str, containing: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (text,) = [text for text in found if containing in text]
    return str(text)


def run(home: Path, *command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "HOME": str(home)}, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_sdk_script_buys_a_server_and_says_how_to_connect(start: StartUp, directory: Path) -> None:
    start(data=directory / ".local/share/opencph")
    said = run(directory, sys.executable, "-c", snippet("python", "CphClient"))
    assert re.fullmatch(r"(\S+ adb connect 127\.[0-9.]+:[0-9]+\n){3}", said)


def test_the_token_script_lists_phones(start: StartUp, directory: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl: sudo apt-get install curl")
    start(data=directory / ".local/share/opencph")
    assert json.loads(run(directory, "sh", "-c", snippet("sh", "TOKEN=")))["phones"] == []


def test_the_test_helper_starts_an_installation_that_is_gone_at_the_end(tmp_path: Path) -> None:
    said = run(tmp_path, sys.executable, "-c", snippet("python", "opencph_up"))
    assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+ [A-Z0-9]{20}\n", said)
