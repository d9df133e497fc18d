"""What is on its way into the store goes with the process that sends it; what is open anywhere stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from opencph.objects import spooled, sweep
from opencph.objects.local import LocalStore

DIES = """
import os, signal, sys
from pathlib import Path
from opencph.objects import spooled
from opencph.objects.local import LocalStore
file = spooled(LocalStore(Path(sys.argv[1]), Path(sys.argv[1]) / ".spool"))
file.write(b"half")
file.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def names(spool: Path) -> list[str]:
    return [path.name for path in spool.iterdir()]


def test_what_a_killed_process_left_is_gone_when_the_store_is_opened_again(tmp_path: Path) -> None:
    died = subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=False)
    assert died.returncode == -signal.SIGKILL
    assert len(names(tmp_path / ".spool")) == 1
    LocalStore(tmp_path, tmp_path / ".spool")
    assert names(tmp_path / ".spool") == []


def test_what_is_open_is_not_swept_and_can_still_be_put(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, tmp_path / ".spool")
    store.make_bucket("bucket")
    file = spooled(store)
    file.write(b"whole")
    sweep(store.spool)
    LocalStore(tmp_path, tmp_path / ".spool")
    assert names(store.spool) == [os.path.basename(file.name)]  # noqa: PTH119
    store.put("bucket", "key", file)
    assert b"".join(store.read("bucket", "key")) == b"whole"
    assert names(store.spool) == []
