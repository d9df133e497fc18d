"""Kernel calls that Python has no names for: namespaces, mounts, prctl, seccomp. No policy but the list of refused calls."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_NEW_ANY = 0x7E020000

MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_NOSUID, MS_NODEV = 2, 4

NS_GET_USERNS = 0xB701
TIOCSPTLCK = 0x40045431
TIOCGPTN = 0x80045430

PR_SET_NO_NEW_PRIVS = 38
PR_CAPBSET_DROP = 24
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
PR_SET_PDEATHSIG = 1
RLIMIT_FSIZE = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def syscall(number: int, *arguments: object) -> int:
    """A call that the C library has no function for. Raises OSError."""
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    _check(result, f"system call {number}")
    return result


def own_mounts() -> None:
    """A mount namespace of our own: what is mounted from now on is seen here only. Raises OSError."""
    unshare(CLONE_NEWNS)
    mount("none", "/", "", MS_REC | MS_PRIVATE)


def setns(fd: int, kind: int) -> None:
    """Enter a namespace."""
    _check(_libc.setns(fd, kind), "setns")


def unshare(flags: int) -> None:
    """Leave the shared namespaces."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2)."""
    _check(_libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()), f"mount {target}")


def prctl(option: int, a: int = 0, b: int = 0) -> None:
    """prctl(2) with numbers."""
    _check(_libc.prctl(option, ctypes.c_ulong(a), ctypes.c_ulong(b), ctypes.c_ulong(0), ctypes.c_ulong(0)), f"prctl {option}")


def drop_capabilities() -> None:
    """Nothing that is executed from now on gets a capability, not even as the sandbox's root."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break


# syscall numbers: (x86_64, aarch64); the newer ones are the same everywhere
_REFUSED = {
    "add_key": (248, 217),
    "bpf": (321, 280),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pivot_root": (155, 41),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setns": (308, 268),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}
_CLONE, _CLONE3, _SETRLIMIT, _PRLIMIT64, _IOCTL = (56, 220), (435, 435), (160, 164), (302, 261), (16, 29)
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_LOAD, _EQUAL, _GREATER_EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
#: size and use of a file system are the machine's: `df` tells the phone's. ENOSYS makes the C library use its defaults
_ABSENT = {"fstatfs": (138, 44), "statfs": (137, 43)}
_ALLOW = 0x7FFF0000
_EPERM, _ENOSYS = 0x00050000 | 1, 0x00050000 | 38
_NUMBER, _ARCHITECTURE = 0, 4


def _argument(index: int) -> int:
    return 16 + 8 * index  # the low half, little-endian


def _instruction(code: int, k: int, true: int = 0, false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, true, false, k)


def _returned(value: int) -> bytes:
    return _instruction(_RETURN, value)


def seccomp_program(machine: str | None = None) -> bytes:
    """The filter: what needs capabilities is refused at once, namespaces cannot be made, and nobody lifts the size limit of files.

    Empty on machines whose syscall numbers are not listed here.
    """
    known = _ARCHITECTURES.get(machine or platform.machine())
    if known is None:
        return b""
    column, architecture = known
    number = _instruction(_LOAD, _NUMBER)
    program = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_EQUAL, architecture, 1, 0),
        _returned(_ENOSYS),
        number,
        _instruction(_GREATER_EQUAL, 0x40000000, 0, 1),
        _returned(_ENOSYS),
    ]
    for numbers in _REFUSED.values():
        program += [_instruction(_EQUAL, numbers[column], 0, 1), _returned(_EPERM)]
    for numbers in _ABSENT.values():
        program += [_instruction(_EQUAL, numbers[column], 0, 1), _returned(_ENOSYS)]
    program += [_instruction(_EQUAL, _CLONE3[column], 0, 1), _returned(_ENOSYS)]
    program += [
        _instruction(_EQUAL, _CLONE[column], 0, 4),
        _instruction(_LOAD, _argument(0)),
        _instruction(_ANY_BIT, CLONE_NEW_ANY, 0, 1),
        _returned(_EPERM),
        _returned(_ALLOW),
    ]
    program += [
        _instruction(_EQUAL, _SETRLIMIT[column], 0, 4),
        _instruction(_LOAD, _argument(0)),
        _instruction(_EQUAL, RLIMIT_FSIZE, 0, 1),
        _returned(_EPERM),
        _returned(_ALLOW),
    ]
    program += [  # prlimit64 may read the limit: only a new value is refused
        _instruction(_EQUAL, _PRLIMIT64[column], 0, 8),
        _instruction(_LOAD, _argument(1)),
        _instruction(_EQUAL, RLIMIT_FSIZE, 0, 5),
        _instruction(_LOAD, _argument(2)),
        _instruction(_EQUAL, 0, 0, 2),
        _instruction(_LOAD, _argument(2) + 4),
        _instruction(_EQUAL, 0, 1, 0),
        _returned(_EPERM),
        _returned(_ALLOW),
    ]
    program += [  # pushing characters into a terminal's input
        _instruction(_EQUAL, _IOCTL[column], 0, 3),
        _instruction(_LOAD, _argument(1)),
        _instruction(_EQUAL, 0x5412, 0, 1),
        _returned(_EPERM),
        _returned(_ALLOW),
    ]
    return b"".join(program)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def forbid_new_privileges() -> None:
    """No program that is executed from now on has more rights than who executes it."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def filter_calls() -> None:
    """The filter, for the process that is about to execute a phone's program."""
    code = seccomp_program()
    if code:
        program = _Program(len(code) // 8, code)
        zero = ctypes.c_ulong(0)
        _check(_libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), ctypes.byref(program), zero, zero), "seccomp")
