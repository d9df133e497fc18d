"""Commands about the phone as a machine: df, id, reboot, svc, uname, uptime, whoami."""

from __future__ import annotations

import asyncio
import os
import time

from opencph.handset.commands import Context
from opencph.handset.config import HandsetError

_pending: set[asyncio.Task[None]] = set()


async def df(context: Context) -> int:
    """The phone's disk, in KiB or with -h; the machine's disk is none of its business."""
    disk = context.phone.disk
    used, size = min(disk.used(), disk.limit), disk.limit
    human = "-h" in context.args
    unit = "Size" if human else "1K-blocks"

    def show(count: int) -> str:
        if not human:
            return str(count // 1024)
        value = float(count)
        for suffix in ("", "K", "M", "G"):
            if value < 1024:
                return f"{value:.1f}{suffix}" if suffix and value < 10 else f"{value:.0f}{suffix}"
            value /= 1024
        return f"{value:.1f}T"

    context.out(f"{'Filesystem':<16}{unit:>12}{'Used':>12}{'Available':>12} Use% Mounted on")
    percent = 0 if not size else -(-100 * used // size)
    context.out(f"{'/dev/handset':<16}{show(size):>12}{show(used):>12}{show(size - used):>12} {percent:>3}% /data")
    return 0


async def id_(context: Context) -> int:
    """Who the shell is."""
    number, name = (0, "root") if context.phone.adb_root else (2000, "shell")
    if context.args in (["-u"], ["-g"], ["-G"]):
        context.out(str(number))
    elif context.args in (["-un"], ["-gn"], ["-Gn"], ["-nu"], ["-ng"]):
        context.out(name)
    else:
        context.out(f"uid={number}({name}) gid={number}({name}) groups={number}({name})")
    return 0


async def whoami(context: Context) -> int:
    """The shell's user name."""
    context.out("root" if context.phone.adb_root else "shell")
    return 0


async def uname(context: Context) -> int:
    """The kernel that the phone shares with its machine, and the phone's own host name."""
    system = os.uname()
    fields = {"s": system.sysname, "n": "handset", "r": system.release, "v": system.version, "m": system.machine}
    wanted = "".join(word[1:] for word in context.args if word.startswith("-")) or "s"
    if "a" in wanted:
        wanted = "snrvm"
    unknown = [letter for letter in wanted if letter not in fields]
    if unknown:
        return context.error(f"uname: unknown option '{unknown[0]}'")
    context.out(" ".join(value for letter, value in fields.items() if letter in wanted))
    return 0


async def uptime(context: Context) -> int:
    """How long the phone, not the machine, has been up."""
    minutes = int(context.phone.uptime) // 60
    context.out(f" {time.strftime('%H:%M:%S', time.gmtime())} up {minutes // 60}:{minutes % 60:02}")
    return 0


async def reboot(context: Context) -> int:
    """Restart the phone; `reboot -p` powers it off."""
    phone = context.phone
    act = phone.stop if context.args[:1] == ["-p"] else phone.reboot

    async def later() -> None:
        await asyncio.sleep(0.05)
        try:
            await act()
        except HandsetError as error:
            phone.note("init", str(error))

    task = asyncio.get_running_loop().create_task(later())
    _pending.add(task)
    task.add_done_callback(_pending.discard)
    return 0


async def svc(context: Context) -> int:
    """`svc power shutdown|reboot`; a handset has no radios to switch."""
    if context.args[:2] == ["power", "shutdown"]:
        return await reboot(Context(context.phone, ["reboot", "-p"], context._stdio))
    if context.args[:2] == ["power", "reboot"]:
        return await reboot(Context(context.phone, ["reboot"], context._stdio))
    return context.error("svc: a handset knows `svc power reboot` and `svc power shutdown` only")
