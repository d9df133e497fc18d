"""`python -m upgrade.release FILE`, run in tests/: make the backup of a small installation that later versions must take over.

It is kept in tests/upgrade/releases as `<version>.tar.zst`, one for every release (docs/releasing.md); beside it, as JSON, what the
installation answered. Everything is made through the released program: `opencph up`, the vendor's SDK, ADB, `opencph backup`.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from backup.running import Installations, get, settled, token_of
from bench.soak.actors import KEPT, User, World
from bench.soak.record import Record
from opencph.adb.client import connect
from opencph.testing import RunningCph, own_network

CONTENTS = b"kept through every upgrade\n"
PATHS = ("/cloud-phone/phones?limit=100", "/cloud-phone/servers?limit=100")


def answers(cph: RunningCph) -> list[Any]:
    """What an installation says of its servers and phones."""
    token = token_of(cph)
    return [settled(get(cph, token, path)) for path in PATHS]


def phone_file(ip: str, contents: bytes | None = None) -> bytes:
    """Put the file of a phone there, or read it."""

    async def main() -> bytes:
        async with await connect(ip) as phone:
            if contents is not None:
                await phone.push(contents, KEPT)
            return await phone.pull(KEPT)

    return asyncio.run(main())


def actor_of(cph: RunningCph, directory: Path) -> User:
    """A user of the installation."""
    return User(World(cph, Record(), directory, 60.0))


def populate(cph: RunningCph, directory: Path) -> dict[str, Any]:
    """Two servers, one of them changed, and a file in a phone of each; returns what later versions must answer."""
    actor = actor_of(cph, directory)
    first, second = actor.buy("first"), actor.buy("second")
    actor.change(second)
    files = [actor.access(str(actor.phones(server_id)[0].phone_id), "adb").phone_ip for server_id in (first, second)]
    for ip in files:
        phone_file(ip, CONTENTS)
    assert not actor.record.unexpected, actor.record.lines()
    return {"answers": answers(cph), "servers": [first, second], "files": files}


def make(file: Path) -> None:
    """Make a fixture: FILE, and FILE.json beside it."""
    with tempfile.TemporaryDirectory(prefix="cph-", dir="/tmp") as name, own_network() as network:
        installations = Installations(Path(name), network)
        try:
            known = populate(installations.start("data"), Path(name))
            installations.opencph("backup", file, "--data", Path(name) / "data")
        finally:
            installations.stop()
    file.with_name(file.name + ".json").write_text(json.dumps({**known, "network": network}, indent=1))


def on_its_network(known: dict[str, Any]) -> AbstractContextManager[str]:
    """The addresses that a fixture was made with, once nobody else of this machine's tests uses them."""
    return own_network(str(known["network"]))


if __name__ == "__main__":
    if len(sys.argv) != 2 or shutil.which("adb") is None:
        sys.exit(__doc__)
    make(Path(sys.argv[1]).absolute())
    subprocess.run(["ls", "-l", sys.argv[1]], check=True)
