"""`opencph up` with everything it starts, for the crash matrix: its processes, and who of them can be killed.

What it serves is seen and asked for through `site`.
"""

from __future__ import annotations

import os
import select as select_module
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from jobs_fleet.small_world import CATALOGUE
from opencph.handset.control import HOST_LOCK, ZYGOTE_LOCK
from opencph.handset.host import lock_holder
from opencph.jobs.failpoints import Halt
from opencph.settings import Settings
from opencph.testing import own_network

PROGRAM = Path(__file__).with_name("supervised.py")
PARTS = ("api", "worker", "gateway")
VICTIMS = (*PARTS, "host", "reboot")


class ViolationError(AssertionError):
    """Something is not as it must be."""


class Program:
    """The processes of one installation, and its directories. It is not started yet.

    `environment` is what `opencph up` gets beside our own; with `disk_bytes` its data lies on a disk of that size (needs root).
    """

    def __init__(self, database_url: str | None, *, environment: Mapping[str, str] | None, disk_bytes: int) -> None:
        self._environment = environment or {}
        self.leave = ExitStack()  # what is to be undone when all of it has ended
        self.directory = Path(tempfile.mkdtemp(prefix="ocph-", dir="/tmp"))  # short: socket paths are limited
        self.data = self.directory / "data"
        self.temporary = self.directory / "tmp"
        self.halt = Halt(self.directory / "halt")
        for made in (self.data, self.temporary, self.halt.directory):
            made.mkdir(mode=0o700)
        if disk_bytes:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={disk_bytes},mode=700", "tmpfs", str(self.data)], check=True)
            self.leave.callback(lambda: subprocess.run(["umount", "-l", str(self.data)], check=True))
        network = self.leave.enter_context(own_network())
        catalogue = self.directory / "catalogue.toml"
        catalogue.write_text(CATALOGUE)
        self.settings = Settings(
            data=self.data,
            database=database_url or f"sqlite:///{self.data}/opencph.db",
            network=network,
            catalogue=str(catalogue),
            listen="127.0.0.1:0",
        )
        self.process: subprocess.Popen[str] | None = None
        self.output = (self.directory / "output").open("ab")
        self.endpoint = ""

    def close(self) -> list[psutil.Process]:
        """End everything; returns the processes that were left."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.kill_everything()
            if self.process is not None and self.process.stdout is not None:
                self.process.stdout.close()
        self.output.close()
        left = self.processes()
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        self.leave.close()
        shutil.rmtree(self.directory, ignore_errors=True)
        return left

    # --- the installation ---

    def start(self) -> None:
        """`opencph up`, as whoever supervises it would start it; returns when it is ready."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENCPH_")}
        environment |= {
            "OPENCPH_NETWORK": self.settings.network,
            "OPENCPH_CATALOGUE": self.settings.catalogue,
            "OPENCPH_LISTEN": urlsplit(self.endpoint).netloc or self.settings.listen,
            "OPENCPH_DATABASE": self.settings.database,
            "OPENCPH_READY_TIMEOUT_SECONDS": "60",
            "OPENCPH_HUNG_SECONDS": "0",  # a worker that stands still at a failpoint is not to be ended for it
            "OPENCPH_FAILPOINT_DIRECTORY": str(self.halt.directory),
            "TMPDIR": str(self.temporary),
            **self._environment,
        }
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), "up", "--data", str(self.data)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.output,
            text=True,
            env=environment,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("ready "):
                self.endpoint = line.split()[1]
                return
        raise ViolationError(f"`opencph up` does not start: {self.words()}")

    def words(self) -> str:
        """The end of what everybody said."""
        found = []
        for path in (self.directory / "output", self.data / "logs" / "opencph.log", self.data / "logs" / "handset.log"):
            with suppress(OSError):
                found.append(f"--- {path.name}\n{path.read_text(errors='replace')[-2500:]}")
        return "\n".join(found)

    def part(self, name: str) -> psutil.Process | None:
        """The process of a part, if it lives."""
        assert self.process is not None
        with suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children():
                with suppress(psutil.Error, OSError):
                    if Path(f"/proc/{child.pid}/comm").read_text().strip() == f"opencph-{name}":
                        return child
        return None

    def hosts(self) -> dict[int, str]:
        """The processes that carry phones: pid -> generation."""
        locks = list((self.data / "builtin").glob(f"*/{HOST_LOCK}"))
        return {pid: lock.parent.name for lock in locks if (pid := lock_holder(lock)) is not None}

    def zygote(self) -> int | None:
        """The process that makes hosts."""
        return lock_holder(self.data / "run" / ZYGOTE_LOCK)

    def processes(self) -> list[psutil.Process]:
        """Every process of this installation, as the system lists them."""
        needle = str(self.directory).encode()
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                words = Path(f"/proc/{process.pid}/cmdline").read_bytes() + Path(f"/proc/{process.pid}/environ").read_bytes()
                if needle in words and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    # --- victims ---

    def kill(self, victim: str) -> None:
        """`kill -9`, and the restart that a supervisor would do."""
        if victim in PARTS:
            found = until(lambda: self.part(victim), 15, lambda: f"there is a {victim}: {self.words()}")
            _kill([found.pid])
        elif victim == "host":
            zygote = self.zygote()
            _kill(list(self.hosts()) or ([zygote] if zygote else []))
        else:
            self.kill_everything()
            self.start()

    def kill_everything(self) -> None:
        """As a power cut: nothing that runs is left, everything on disk is."""
        assert self.process is not None
        for _ in range(3):  # the killed do not make new ones; those that were being made are caught in the next round
            victims = [self.process.pid, *self.hosts(), *(process.pid for process in self.processes())]
            zygote = self.zygote()
            _kill([*victims, *([zygote] if zygote else [])])
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def until(condition: Callable[[], Any], seconds: float, what: Callable[[], str], pause: float = 0.01) -> Any:
    """What `condition` says once it says something, asked every `pause` seconds; fails with what was waited for."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise ViolationError(f"waited {seconds:g} s until {what()}")
        time.sleep(pause)
    return found


def _kill(pids: Sequence[int]) -> None:
    """SIGKILL, and the wait until they are gone (or are only waited for)."""
    open_pids = []
    for pid in set(pids):
        with suppress(ProcessLookupError):
            open_pids.append(os.pidfd_open(pid))
    for descriptor in open_pids:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    for descriptor in open_pids:
        select_module.select([descriptor], [], [], 10)
        os.close(descriptor)
