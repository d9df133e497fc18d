"""From the spawner's child to a phone's program: user, control groups, clocks, terminal, limits, confinement."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import struct
import termios
from contextlib import suppress
from typing import NoReturn

from opencph.handset.sandbox import landlock, linux
from opencph.handset.sandbox.messages import Spawn

TIME_OFFSETS = "/proc/self/timens_offsets"


def open_group(path: str) -> int:
    """The file by which a process joins a control group; to be opened before this machine's files are out of sight."""
    return os.open(path, os.O_WRONLY | os.O_CLOEXEC)


def join(groups: list[int]) -> None:
    """Be in these groups, and all that is forked from now on."""
    for fd in groups:
        os.write(fd, b"0")
        os.close(fd)


def become(owner: int | None) -> None:
    """Be the phone's user of this machine."""
    if owner is not None:
        os.setgroups([])
        os.setresgid(owner, owner, owner)
        os.setresuid(owner, owner, owner)


def open_time_offsets() -> int:
    """The file that sets the clocks of a time namespace, opened before we are another user; -1 where there is none."""
    try:
        return os.open(TIME_OFFSETS, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:  # a kernel without time namespaces: uptime is the machine's
        return -1


def set_clocks(fd: int, lines: str) -> None:
    """A time namespace for our children, in which the phone's boot was at 0. Called within the phone's user namespace."""
    if fd < 0:
        return
    with suppress(OSError):
        linux.unshare(linux.CLONE_NEWTIME)
        os.write(fd, lines.encode())
    os.close(fd)


def open_terminal(window: tuple[int, int, int, int] | None) -> tuple[int, int]:
    """A terminal of the sandbox's own devpts, of this size (rows, columns, and both in pixels): (master, slave)."""
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, linux.TIOCSPTLCK, struct.pack("i", 0))
    number = struct.unpack("i", fcntl.ioctl(master, linux.TIOCGPTN, b"\0\0\0\0"))[0]
    if window is not None:
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", *window))
    return master, os.open(f"/dev/pts/{number}", os.O_RDWR | os.O_NOCTTY)


def execute(request: Spawn, fds: list[int]) -> NoReturn:
    """Become a phone's program, shut in, with `fds` as its stdin, stdout and stderr. Raises OSError."""
    os.setsid()
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in fds]
    for target, fd in enumerate(high):
        os.dup2(fd, target)
    os.closerange(3, 65536)
    if request.terminal:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.umask(0o022)
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a full disk is an error that programs report, not their death
    os.chdir("/")
    for limit, value in request.limits.items():
        _, hard = resource.getrlimit(limit)
        soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
        keep_hard = limit == resource.RLIMIT_FSIZE  # raised again by the host when space is freed
        resource.setrlimit(limit, (soft, hard if keep_hard else soft))
    linux.drop_capabilities()
    linux.forbid_new_privileges()
    landlock.confine(request.writable)
    linux.filter_calls()
    os.execve(request.argv[0], request.argv, request.environment)  # noqa: S606 - the point of it all
