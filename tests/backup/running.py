"""Installations that run, and the `opencph` command beside them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from bench.soak.__main__ import CATALOGUE
from opencph.testing import RunningCph, start_up


class Installations:
    """What runs on one network below one directory."""

    def __init__(self, directory: Path, network: str) -> None:
        self.directory, self.network = directory, network
        self.started: list[RunningCph] = []
        (directory / "catalogue.toml").write_text(CATALOGUE)
        self.settings = {"CATALOGUE": str(directory / "catalogue.toml"), "SYNC_COMMANDS_PER_MINUTE": "100000"}

    def start(self, name: str, database: str = "") -> RunningCph:
        """`opencph up`, ready."""
        cph = start_up(self.directory / name, self.network, *(("--database", database) if database else ()), settings=self.settings)
        self.started.append(cph)
        cph.wait_until_ready()
        return cph

    def stop(self) -> None:
        for cph in reversed(self.started):
            cph.stop()

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENCPH_")}
        return kept | {"OPENCPH_NETWORK": self.network, **{f"OPENCPH_{name}": value for name, value in self.settings.items()}}

    def opencph(self, *arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command; its exit status must be that."""
        command = [sys.executable, "-m", "opencph", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=self.environment(), check=False)
        assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
        return done


def token_of(cph: RunningCph) -> str:
    """A token for the project."""
    known = cph.credentials
    owner = {"name": known["user_name"], "password": known["password"], "domain": {"name": known["domain_name"]}}
    identity = {"methods": ["password"], "password": {"user": owner}}
    body = {"auth": {"identity": identity, "scope": {"project": {"name": known["region"]}}}}
    request = urllib.request.Request(
        f"{cph.endpoint}/v3/auth/tokens", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.headers["X-Subject-Token"])


def get(cph: RunningCph, token: str, path: str) -> Any:
    """What a GET below the project answers."""
    request = urllib.request.Request(f"{cph.endpoint}/v1/{cph.credentials['project_id']}{path}", headers={"X-Auth-Token": token})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def settled(answer: Any) -> Any:
    """An answer without what is of the moment: a phone that comes back was changed then."""
    if isinstance(answer, dict):
        return {key: settled(value) for key, value in answer.items() if key not in ("request_id", "update_time")}
    return [settled(value) for value in answer] if isinstance(answer, list) else answer
