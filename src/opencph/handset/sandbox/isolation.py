"""What this machine's kernel adds to the namespaces that shut a phone in, and what of it is missing. Decides nothing."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import NamedTuple

from opencph.handset.sandbox import cgroups, landlock, linux


class Layer(NamedTuple):
    """One of them. `fix` is empty where it is there, else what to do for it."""

    name: str
    found: str
    fix: str = ""


def layers() -> list[Layer]:
    """All of them, present or not. Changes nothing."""
    return [_seccomp(), _landlock(), _control_groups(), _time()]


def _seccomp() -> Layer:
    machine = platform.machine()
    if linux.seccomp_program():
        return Layer("seccomp", f"filters the calls of {machine}")
    return Layer("seccomp", f"the calls of {machine} are not listed: no filter", "use a machine of x86_64 or aarch64")


def _landlock() -> Layer:
    version = landlock.version()
    if version:
        return Layer("Landlock", f"version {version}")
    try:
        active = Path("/sys/kernel/security/lsm").read_text().strip()
    except OSError:
        active = ""
    if active and "landlock" not in active.split(","):
        return Layer("Landlock", "switched off", f"start the kernel with lsm=landlock,{active}")
    return Layer("Landlock", "the kernel has none, or a container hides it", "use Linux 5.13 or newer, with Landlock")


def _control_groups() -> Layer:
    bases = cgroups.bases()
    if {"memory", "pids"} <= bases.keys():
        version = 1 if len(set(bases.values())) == 2 else 2
        return Layer("control groups", f"version {version}: a phone's processes share its limits")
    missing = ", ".join(sorted({"memory", "pids"} - bases.keys()))
    found = f"none to be made for {missing}: limits hold for each process, not for all of a phone together"
    return Layer("control groups", found, "systemd-run --user --scope -p Delegate=yes -p DelegateSubgroup=main opencph up")


def _time() -> Layer:
    if Path("/proc/self/timens_offsets").exists():
        return Layer("time", "a phone's programs see its own uptime")
    return Layer("time", "a phone's programs see the machine's uptime", "use Linux 5.6 or newer with CONFIG_TIME_NS")
