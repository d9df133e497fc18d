"""Limits for a phone as a whole: a control group below our own, where this machine allows it. Each process has its own anyway.

Version 1: the hierarchies `memory` and `pids`. Version 2: our own group, or the one above it if it was delegated to us.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import time
from functools import cache
from pathlib import Path

log = logging.getLogger(__name__)

REMOVE_SECONDS = 2.0
_numbers = itertools.count(1)


class Group:
    """The groups of one sandbox; `procs` are the files by which a process joins."""

    def __init__(self, directories: list[Path]) -> None:
        self._directories = directories

    @property
    def procs(self) -> list[str]:
        """Write 0 into each of these to join."""
        return [str(directory / "cgroup.procs") for directory in self._directories]

    def memory(self) -> tuple[int, int]:
        """Bytes that its processes use, and how many of these are cached files; (0, 0) when it is not known."""
        for directory in self._directories:
            for name in ("memory.current", "memory.usage_in_bytes"):
                with contextlib.suppress(OSError, ValueError):
                    used = int((directory / name).read_text())
                    lines = (line.split() for line in (directory / "memory.stat").read_text().splitlines())
                    facts = {words[0]: int(words[1]) for words in lines if len(words) == 2}
                    return used, facts.get("file", facts.get("cache", 0))
        return 0, 0

    def remove(self) -> None:
        """Delete them; what died a moment ago may still be counted. What stays is empty and harmless."""
        deadline = time.monotonic() + REMOVE_SECONDS
        for directory in self._directories:
            while True:
                try:
                    directory.rmdir()
                except FileNotFoundError:
                    pass
                except OSError:
                    if time.monotonic() < deadline:
                        time.sleep(0.01)
                        continue
                    log.warning("the control group %s is left behind", directory)
                break


def _own(controller: str) -> str:
    """The path of our group, as /proc tells it; `controller` is empty for version 2."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    raise OSError(f"no control groups for {controller or 'version 2'}")


def _mounted(kind: str, controller: str) -> tuple[str, str]:
    """(mount point, which group it shows as its root)."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        fields, (fstype, _, options) = left.split(), right.split()[:3]
        if fstype == kind and (not controller or controller in options.split(",")):
            return fields[4], fields[3]
    raise OSError(f"{kind} is not mounted")


def _directory(kind: str, controller: str) -> Path:
    point, root = _mounted(kind, controller)
    path = _own(controller)
    if root != "/":
        path = path.removeprefix(root)
    return Path(point + "/" + path.strip("/"))


@cache
def bases() -> dict[str, Path]:
    """By controller, the directory below which we may make groups; empty where we may not. Looked at once per process."""
    found: dict[str, Path] = {}
    for controller in ("memory", "pids"):
        with contextlib.suppress(OSError):
            base = _directory("cgroup", controller)
            if os.access(base, os.W_OK):
                found[controller] = base
                _sweep(base)
    if not found:
        with contextlib.suppress(OSError):
            own = _directory("cgroup2", "")
            for base in (own, own.parent):
                if _delegated(base):
                    _sweep(base)
                    return {"memory": base, "pids": base}
    return found


def prefix(pid: int) -> str:
    """What the names of a process's groups begin with. Containers may share the directory of groups, and each counts its own
    processes: so the name says in which of them the number means something."""
    return f"opencph-{Path('/proc/self/ns/pid').stat().st_ino}-{pid}-"


def _sweep(base: Path) -> None:
    """End and delete what hosts that were killed left behind: a sandbox that was half made then waits for ever."""
    for directory in base.glob(prefix(0).removesuffix("0-") + "*"):
        pid = directory.name.split("-")[2]
        if pid.isdecimal() and not Path("/proc", pid).exists():
            with contextlib.suppress(OSError, ValueError):
                for orphan in (directory / "cgroup.procs").read_text().split():
                    if orphan != "0":  # what runs where we cannot see it is not ours; 0 would be ourselves
                        os.kill(int(orphan), signal.SIGKILL)
                directory.rmdir()


def _delegated(base: Path) -> bool:
    """Whether groups below one of version 2 can have limits: it passes its controllers on only if it holds no processes."""
    try:
        control = base / "cgroup.subtree_control"
        if not {"memory", "pids"} <= set(control.read_text().split()):
            control.write_text("+memory +pids")
        return os.access(base, os.W_OK) and (base.stat().st_uid != 0 or os.getxattr(base, "user.delegate") == b"1")
    except OSError:
        return False


def make(memory_bytes: int, processes: int) -> Group | None:
    """A fresh group with these limits; None where this machine does not let us."""
    name = f"{prefix(os.getpid())}{next(_numbers)}"
    directories: dict[Path, None] = {}
    try:
        for controller, base in bases().items():
            directory = base / name
            directory.mkdir(exist_ok=True)
            directories[directory] = None
            if controller == "pids":
                (directory / "pids.max").write_text(str(processes))
            elif (directory / "memory.max").exists():
                (directory / "memory.max").write_text(str(memory_bytes))
                (directory / "memory.swap.max").write_text("0")
            else:
                (directory / "memory.limit_in_bytes").write_text(str(memory_bytes))
    except OSError as error:
        log.info("no control group for a phone: %s", error)
        Group(list(directories)).remove()
        return None
    return Group(list(directories)) if directories else None
