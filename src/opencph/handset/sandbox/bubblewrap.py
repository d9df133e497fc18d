"""Becoming bubblewrap: the lines of a sandbox's file system as its arguments. Runs in a child of the spawner and never returns."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from typing import NoReturn

from opencph.handset.sandbox import linux
from opencph.handset.sandbox.entering import become
from opencph.handset.sandbox.messages import Create

STAGES = ("/mnt", "/tmp", "/run")  # noqa: S108 - only mounted over, in a namespace of our own


def execute(request: Create, stdin: int, stdout: int, stderr: int, info: int) -> NoReturn:
    """Make the sandbox: it lives until `stdin` ends, `stdout` gets a byte when it is made, `info` bwrap's JSON."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    stage = _stage() if request.owner is not None else ""
    keep: list[int] = [info]
    words = list(request.arguments)
    for number, bind in enumerate(request.binds):
        if bind.kind in ("bind", "ro-bind"):
            source = _stage_one(stage, number, bind.source) if stage else bind.source
            words += [f"--{bind.kind}", source, bind.target]
        elif bind.kind == "data":
            fd = _memory_file(bind.data)
            keep.append(fd)
            words += ["--perms", f"{bind.mode:04o}", "--ro-bind-data", str(fd), bind.target]
        elif bind.kind == "symlink":
            words += ["--symlink", bind.source, bind.target]
        elif bind.kind == "dir":
            words += ["--perms", f"{bind.mode:04o}", "--dir", bind.target]
        else:
            words += [f"--{bind.kind}", bind.target]
    filters = linux.seccomp_program()
    if filters:
        fd = _memory_file(filters)
        keep.append(fd)
        words += ["--seccomp", str(fd)]
    words += ["--info-fd", str(info)]
    listing = _memory_file(b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words))
    keep.append(listing)
    for target, fd in ((0, stdin), (1, stdout), (2, stderr)):
        os.dup2(fd, target)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for fd in keep:
        os.set_inheritable(fd, True)
    # both names are what a phone's user sees of its first process: in `ps`, and in /proc/1/comm where we can make such a link
    program = request.bwrap
    if stage:
        program = f"{stage}/init"
        Path(program).symlink_to(request.bwrap)
    become(request.owner)
    os.execve(program, ["/init", "--args", str(listing), "--", *request.init], {"PATH": "/system/bin"})  # noqa: S606


def _memory_file(data: bytes) -> int:
    fd = os.memfd_create("handset")
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _stage() -> str:
    """A place in a mount namespace of our own where another user can reach what we show him, whatever the paths above it allow."""
    linux.own_mounts()
    for stage in STAGES:
        if Path(stage).is_dir():
            linux.mount("tmpfs", stage, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=0755,size=1m")
            return stage
    raise OSError(f"none of {', '.join(STAGES)} exists on this machine")


def _stage_one(stage: str, number: int, source: str) -> str:
    target = f"{stage}/{number}"
    if Path(source).is_dir():
        Path(target).mkdir()
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    linux.mount(source, target, "", linux.MS_BIND)
    return target
