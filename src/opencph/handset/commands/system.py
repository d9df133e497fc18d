"""Commands about the phone as a machine: df, id, reboot, uname, whoami. Its processes are in `processes.py`."""

from __future__ import annotations

import asyncio
import os
from typing import NamedTuple

from opencph.handset.commands import Context
from opencph.handset.commands.options import Given, Refusal, shown
from opencph.handset.commands.table import entry
from opencph.handset.config import HandsetError

_pending: set[asyncio.Task[None]] = set()


class Mount(NamedTuple):
    """A file system of the phone, in bytes and files."""

    device: str
    path: str
    kind: str
    options: str
    size: int
    used: int
    files: int = 0
    files_used: int = 0


def mounts(context: Context) -> list[Mount]:
    """What a phone has: its disk in two places, the read-only system, what is shared with it."""
    phone = context.phone
    disk = phone.disk
    used, limit = min(disk.used(), disk.limit), disk.limit
    made = [Mount("/dev/handset", "/data", "ext4", "rw,nosuid,nodev,noatime", limit, used, limit // 4096, used // 4096)]
    made += [made[0]._replace(path="/cache"), made[0]._replace(device="/data/media", path="/storage/emulated", kind="sdcardfs")]
    made.append(Mount("/dev/system", "/system", "squashfs", "ro,nosuid,nodev", 0, 0))
    for name, path in phone.config.real_shares().items():
        try:
            info = os.statvfs(path)
        except OSError:
            continue
        total, free = info.f_blocks * info.f_frsize, info.f_bavail * info.f_frsize
        made.append(
            Mount(
                name,
                f"/mnt/sfs_turbo/{name}",
                "nfs4",
                "rw,nosuid,nodev",
                total,
                total - free,
                info.f_files,
                info.f_files - info.f_ffree,
            )
        )
    return made


def _human(count: int) -> str:
    value = float(count)
    for suffix in ("", "K", "M", "G"):
        if value < 1024:
            return f"{value:.1f}{suffix}" if suffix and value < 10 else f"{value:.0f}{suffix}"
        value /= 1024
    return f"{value:.1f}T"


@entry(
    "df",
    "-h -H -i -k -a -P -T -t=",
    does="[-hikaPT] [FILE...]: every mount, or those of the files; the machine's disk is none of its business",
    bundled=True,
)
async def df(context: Context, given: Given) -> int:
    """In KiB unless -h or -H is given; -i counts files."""
    table = mounts(context)
    code = 0
    if given.words:
        chosen = []
        for word in given.words:
            found = _mount_of(context, word, table)
            if found is None:
                code = context.error(f"df: '{shown(word)}': No such file or directory")
            else:
                chosen.append(found)
        table = chosen
    elif not given.has("-a"):
        table = [one for one in table if one.size]
    kind = given.value("-t")
    table = [one for one in table if kind in ("", one.kind)]
    if not table:
        return code
    unit = "Inodes" if given.has("-i") else "Size" if given.has("-h", "-H") else "1K-blocks"
    names = ("Iused", "Ifree", "Iuse%") if given.has("-i") else ("Used", "Available", "Use%")
    width = max(14, *(len(one.device) for one in table))
    typed = f"{'Type':<10}" if given.has("-T") else ""
    context.out(f"{'Filesystem':<{width}} {typed}{unit:>12}{names[0]:>12}{names[1]:>12} {names[2]} Mounted on")
    for one in table:
        size, used = (one.files, one.files_used) if given.has("-i") else (one.size, one.used)
        numbers = [size, used, size - used]
        cells = [str(each) if given.has("-i") else _human(each) if given.has("-h", "-H") else str(each // 1024) for each in numbers]
        percent = f"{0 if not size else -(-100 * used // size)}%"
        kind = f"{one.kind:<10}" if given.has("-T") else ""
        context.out(f"{one.device:<{width}} {kind}{cells[0]:>12}{cells[1]:>12}{cells[2]:>12} {percent:>{len(names[2])}} {one.path}")
    return code


def _mount_of(context: Context, word: str, table: list[Mount]) -> Mount | None:
    """The mount that a file lies in; None when there is no such file."""
    path = "/" + word.strip("/")
    for link, target in (
        ("/sdcard", "/storage/emulated"),
        ("/mnt/sdcard", "/storage/emulated"),
        ("/data/media", "/storage/emulated"),
    ):
        if path == link or path.startswith(f"{link}/"):
            return next(one for one in table if one.path == target)
    if path not in ("/", *(one.path for one in table)) and context.phone.files.stat(path).error:
        return None
    inside = [one for one in table if path == one.path or path.startswith(f"{one.path}/")]
    return max(inside, key=lambda one: len(one.path)) if inside else next(one for one in table if one.path == "/system")


@entry("id", "-u -g -G -n -r -Z", does="who the shell is", bundled=True, refused={"-Z": "SELinux disabled"})
async def id_(context: Context, given: Given) -> int:
    """uid, gid and groups."""
    number, name = (0, "root") if context.phone.adb_root else (2000, "shell")
    if given.words and given.words[0] not in (name, str(number)):
        users = {"root": (0, "root"), "0": (0, "root"), "shell": (2000, "shell"), "2000": (2000, "shell")}
        if given.words[0] not in users:
            raise Refusal(f"id: bad user '{shown(given.words[0])}'", 1)
        number, name = users[given.words[0]]
    if given.has("-u", "-g", "-G"):
        context.out(name if given.has("-n") else str(number))
    elif given.has("-n", "-r"):
        raise Refusal("id: -n and -r need one of -u, -g, -G", 1)
    else:
        context.out(f"uid={number}({name}) gid={number}({name}) groups={number}({name})")
    return 0


@entry("whoami", does="the shell's user name", bundled=True)
async def whoami(context: Context, _: Given) -> int:
    """root or shell."""
    context.out("root" if context.phone.adb_root else "shell")
    return 0


@entry(
    "uname",
    "-a -o -s -n -r -v -m",
    does="the kernel that the phone shares with its machine, and the phone's own host name",
    bundled=True,
)
async def uname(context: Context, given: Given) -> int:
    """In the order of toybox."""
    system = os.uname()
    fields = {
        "-s": system.sysname,
        "-n": "handset",
        "-r": system.release,
        "-v": system.version,
        "-m": system.machine,
        "-o": "Toybox",
    }
    if given.words:
        raise Refusal(f"uname: Max 0 argument: {shown(given.words[0])}", 1)
    wanted = {"-s", "-n", "-r", "-v", "-m", "-o"} if given.has("-a") else given.flags or {"-s"}
    context.out(" ".join(value for name, value in fields.items() if name in wanted))
    return 0


@entry(
    "reboot", "-p", does="[-p] [REASON]: restart the phone; -p powers it off (one of a server then comes up again)", bundled=True
)
async def reboot(context: Context, given: Given) -> int:
    """When the answer is out."""
    phone = context.phone
    why = shown(given.words[0]) if given.words else "shell"

    async def later() -> None:
        await asyncio.sleep(0.05)
        try:
            await (phone.stop() if given.has("-p") else phone.reboot(f"reboot,{why}"))
        except HandsetError as error:
            phone.note("init", str(error), "E")

    task = asyncio.get_running_loop().create_task(later())
    _pending.add(task)
    task.add_done_callback(_pending.discard)
    return 0
