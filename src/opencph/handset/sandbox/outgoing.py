"""A phone's way out, where it is given one: slirp4netns beside the sandbox, and routes that close what is not the internet.

The routes lie in the phone's own network namespace, which no program of the phone may change. They refuse all addresses of this
machine and all that are private, so that phones, services of the machine and its neighbours stay out of reach.
"""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import resource
import signal
import socket
import stat
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from opencph.handset.sandbox import linux
from opencph.handset.sandbox.entering import become
from opencph.handset.sandbox.image import find

PROGRAM = "slirp4netns"
TUN = "/dev/net/tun"
DEVICE, MAC, ADDRESS, GATEWAY = "eth0", "02:00:0a:00:02:64", "10.0.2.100", "10.0.2.2"  # inside; slirp4netns's own
RESOLVER = "10.0.2.3"  # slirp4netns's own: hands questions to what this machine asks
#: Private, local, shared, for tests of networks, for many at once, or nobody's (the IANA special-purpose registry). Only the
#: resolver, in slirp4netns's own block of 10.0.2.0/24, is nearer than these routes.
CLOSED = tuple(
    ipaddress.IPv4Network(block)
    for block in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4"),
    )
)
MTU_BYTES = 65520
LOG_BYTES = 64 * 1024  # what slirp4netns may say in its life
_ROUTE = struct.Struct("@L16s16s16shhLPhPLLH")  # struct rtentry
_SIOCADDRT = 0x890B
_UP, _HOST, _REJECT = 0x1, 0x4, 0x200
_TUN_NUMBER = os.makedev(10, 200)


def missing() -> str:
    """What this machine lacks for outgoing network, with the command that mends it. Empty: nothing."""
    if find(PROGRAM) is None:
        return f"{PROGRAM} is not installed: `sudo apt-get install {PROGRAM}`"
    try:
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        if os.geteuid() == 0 and Path(TUN).parent.is_dir():  # root makes one, see _show_device
            return ""
        return f"there is no {TUN}: `sudo modprobe tun`; start a container with `--device {TUN}`"
    except PermissionError:
        return f"{TUN} is closed to this user: `sudo chmod 0666 {TUN}`"
    except OSError as error:
        return f"{TUN} cannot be used ({error.strerror}): `sudo modprobe tun`; start a container with `--device {TUN}`"
    return ""


def closed(table: str) -> list[ipaddress.IPv4Network]:
    """What no phone reaches: CLOSED, and every address of this machine in `table`, the text of /proc/net/fib_trie."""
    own, prefix = [], ""
    for words in map(str.split, table.splitlines()):
        if words[:1] == ["|--"]:
            prefix = words[1]
        elif words[1:3] == ["host", "LOCAL"]:
            own.append(ipaddress.IPv4Network(prefix + words[0]))
    return list(ipaddress.collapse_addresses([*CLOSED, *own]))


def execute(owner: int | None, user: int, network: int, ready: int, leash: int, errors: int) -> NoReturn:
    """Close the routes of the namespaces `network` of `user`, then become slirp4netns for them, as the phone's owner.

    `ready` gets a byte when the way is open; it ends when `leash` does, or the spawner. Raises OSError: then there is no way out.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    program = find(PROGRAM)
    if program is None:
        raise OSError(errno.ENOENT, missing())
    _close_routes(owner, user, network, closed(Path("/proc/net/fib_trie").read_text()))
    if owner is not None:
        _show_device()
    words = [PROGRAM, "--configure", f"--mtu={MTU_BYTES}", "--disable-host-loopback", "--enable-seccomp", f"--macaddress={MAC}"]
    words += [f"--ready-fd={ready}", f"--exit-fd={leash}", "--netns-type=path", f"--userns-path=/proc/self/fd/{user}"]
    words += [f"/proc/self/fd/{network}", DEVICE]
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for target, fd in ((0, null), (1, null), (2, errors)):
        os.dup2(fd, target)
    for fd in (ready, leash, user, network):
        os.set_inheritable(fd, True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LOG_BYTES, LOG_BYTES))
    become(owner)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    linux.forbid_new_privileges()
    os.execve(program, words, {"PATH": "/usr/bin:/bin"})  # noqa: S606 - fixed words


def _close_routes(owner: int | None, user: int, network: int, blocks: Iterable[ipaddress.IPv4Network]) -> None:
    """In a child, which alone enters the namespaces. Raises OSError."""
    pid = os.fork()
    if not pid:
        code = errno.EIO
        try:
            become(owner)
            linux.setns(user, linux.CLONE_NEWUSER)
            linux.setns(network, linux.CLONE_NEWNET)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for block in blocks:
                    fcntl.ioctl(sock, _SIOCADDRT, _rejected(block))
            code = 0
        except OSError as error:
            code = error.errno or errno.EIO
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(abs(code), f"the phone's routes cannot be closed: {os.strerror(abs(code))}")


def _rejected(block: ipaddress.IPv4Network) -> bytes:
    flags = _UP | _REJECT | (_HOST if block.prefixlen == 32 else 0)
    address, mask = (struct.pack("=HH4s8x", socket.AF_INET, 0, each.packed) for each in (block.network_address, block.netmask))
    return _ROUTE.pack(0, address, bytes(16), mask, flags, 0, 0, 0, 0, 0, 0, 0, 0)


def _show_device() -> None:
    """A /dev/net/tun that the phone's owner may open, in a mount namespace of our own: containers keep theirs to root."""
    try:
        mode = Path(TUN).stat().st_mode
        if stat.S_ISCHR(mode) and mode & 0o006 == 0o006:
            return
        linux.own_mounts()
        linux.mount("tmpfs", str(Path(TUN).parent), "tmpfs", linux.MS_NOSUID, "mode=0755,size=64k")
        os.mknod(TUN, stat.S_IFCHR | 0o666, _TUN_NUMBER)
        Path(TUN).chmod(0o666)
    except OSError as error:
        fix = f"`sudo modprobe tun`; start a container with `--device {TUN}`"
        raise OSError(error.errno, f"{TUN} cannot be used ({error.strerror}): {fix}") from None
