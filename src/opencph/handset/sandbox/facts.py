"""What a phone's /proc says of memory, load and processors in place of the machine's. The limits themselves are set elsewhere.

Two files change while the phone works: they lie beside `data/` on disk as long as the sandbox lives. The others are made once, and
so are those two when the disk is full: a phone's shell needs no room on it.
"""

from __future__ import annotations

import errno
import os
import platform
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from opencph.handset.sandbox.messages import Bind

if TYPE_CHECKING:
    from opencph.handset.phone import Phone
    from opencph.handset.sandbox.cgroups import Group

MEMORY_MIN_BYTES = 256 * 1024 * 1024  # what a shell needs to start at all
DIRECTORY = "proc"
CHANGING = ("meminfo", "loadavg")
CMDLINE = b"androidboot.hardware=opencph_handset\n"
#: what tells of the machine's disks, devices and other users in /proc, and nothing in a phone needs; what a kernel lacks is left
#: out. Each costs the making of a sandbox half a millisecond
EMPTY_FILES = ("diskstats", "interrupts", "key-users", "keys", "locks", "mdstat", "modules", "partitions")
EMPTY_DIRECTORIES = ("bus", "driver", "fs", "pressure", "scsi")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MEMINFO = ("MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "SwapCached", "SwapTotal", "SwapFree", "Shmem", "Slab")


def memory_bytes(phone: Phone) -> int:
    """The most that the processes of a phone get."""
    return max(phone.config.memory_bytes, MEMORY_MIN_BYTES)


def binds(phone: Phone) -> list[Bind]:
    """Lines that lay the phone's own facts over /proc; `write_first` comes first."""
    own = phone.config.directory.resolve() / DIRECTORY
    kept = [name for name in CHANGING if (own / name).exists()]
    lines = [Bind("ro-bind", f"/proc/{name}", str(own / name)) for name in kept]
    made = {
        **{name: text.encode() for name, text in _texts(phone, None, []).items() if name not in kept},
        "cmdline": CMDLINE,
        "cpuinfo": cpuinfo(),
        "swaps": b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
        "sys/kernel/random/boot_id": f"{uuid.uuid5(uuid.NAMESPACE_OID, f'{phone.config.phone_id} {phone.boots}')}\n".encode(),
        **dict.fromkeys(EMPTY_FILES, b""),
    }
    lines += [Bind("data", f"/proc/{name}", data=data, mode=0o444) for name, data in made.items() if _there(name)]
    for name in EMPTY_DIRECTORIES:
        if _there(name):
            lines += [Bind("tmpfs", f"/proc/{name}"), Bind("remount-ro", f"/proc/{name}")]
    return lines


def listed() -> tuple[str, ...]:
    """What `read` knows."""
    return (*CHANGING, "cmdline", "cpuinfo", "uptime", "version")


def read(phone: Phone, name: str) -> bytes:
    """A file of the phone's /proc for who asks for it from outside of the sandbox. Raises OSError."""
    match name:
        case "cmdline":
            return CMDLINE
        case "cpuinfo":
            return cpuinfo()
        case "uptime":
            return f"{phone.uptime:.2f} {Path('/proc/uptime').read_text().split()[1]}\n".encode()
        case "version":
            return Path("/proc/version").read_bytes()
    try:
        return (phone.config.directory / DIRECTORY / name).read_bytes()
    except FileNotFoundError:  # nothing runs in it
        return _texts(phone, None, [])[name].encode()


def _there(name: str) -> bool:
    return Path("/proc", name).exists()


def cpuinfo() -> bytes:
    """The processors that a phone's programs may use: what they can do is the machine's, what they are called is not."""
    kept = ("flags", "Features", "CPU architecture", "CPU implementer", "bogomips", "BogoMIPS", "address sizes", "clflush size")
    facts: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip() in kept:
            facts.setdefault(name.strip(), value.strip())
    text = ""
    for number in range(len(os.sched_getaffinity(0))):
        shown = {"processor": str(number), "model name": f"OpenCPH handset ({platform.machine()})", **facts}
        text += "".join(f"{name:<16}: {value}\n" for name, value in shown.items()) + "\n"
    return (text + "Hardware        : OpenCPH handset\n").encode()


def write(phone: Phone, group: Group | None, pids: Iterable[int]) -> None:
    """Put memory and load as they are into the files that the sandbox shows. Raises OSError."""
    directory = phone.config.directory / DIRECTORY
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name, text in _texts(phone, group, list(pids)).items():
        fd = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(fd, text.encode(), 0)  # as long as what was there before: a reader never finds an empty file
        finally:
            os.close(fd)


def write_first(phone: Phone, group: Group | None) -> None:
    """The same for a new sandbox. No room on the disk is no error: then there are no files. Raises OSError."""
    try:
        write(phone, group, [])
    except OSError as error:
        remove(phone)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise


def _texts(phone: Phone, group: Group | None, pids: list[int]) -> dict[str, str]:
    return {"meminfo": _meminfo(phone, group, pids), "loadavg": _loadavg(pids)}


def remove(phone: Phone) -> None:
    """The sandbox is gone, and its files."""
    shutil.rmtree(phone.config.directory / DIRECTORY, ignore_errors=True)


def _meminfo(phone: Phone, group: Group | None, pids: list[int]) -> str:
    total = memory_bytes(phone)
    used, cached = group.memory() if group is not None else (0, 0)
    if not used:
        used = sum(map(_resident, pids))
    cached = min(cached, used)
    free = max(0, total - used)
    values = {"MemTotal": total, "MemFree": free, "MemAvailable": min(total, free + cached), "Cached": cached}
    return "".join(f"{name + ':':<16}{values.get(name, 0) // 1024:>11} kB\n" for name in _MEMINFO)


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


def _loadavg(pids: list[int]) -> str:
    """Processes that want a processor at this moment, in all three places: averages would need somebody who counts all the time."""
    running = 0
    for pid in pids:
        try:
            running += Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] in (b"R", b"D")
        except OSError:
            continue
    load = f"{running:>3}.00"
    return f"{load} {load} {load} {running:>3}/{len(pids):<3} {0:>7}\n"
