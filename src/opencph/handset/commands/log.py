"""logcat: the lines of the phone's boot and what happened since."""

from __future__ import annotations

import asyncio
import time

from opencph.handset.commands import Context


def boot_lines(context: Context) -> list[tuple[float, str, str]]:
    """What a boot says, as (seconds since the epoch, tag, text)."""
    phone = context.phone
    config = phone.booted
    at = time.time() - phone.uptime
    return [
        (at, "init", f"OpenCPH handset, boot {phone.boots}: not Android, but it answers ADB"),
        (at, "init", f"phone {config.phone_id} ({config.name}), model {config.model_name}, image {config.image_version}"),
        (at, "vold", f"/data: {config.data_bytes} bytes"),
        (at, "SurfaceFlinger", f"display {config.width}x{config.height}, {config.dpi} dpi"),
        (at, "adbd", f"listening on {config.ip}:{config.adb_port}"),
        (at, "init", "sys.boot_completed=1"),
    ]


def _line(entry: tuple[float, str, str]) -> str:
    at, tag, text = entry
    stamp = time.strftime("%m-%d %H:%M:%S", time.gmtime(at))
    return f"{stamp}.{int(at % 1 * 1000):03}     1     1 I {tag:<8}: {text}"


async def logcat(context: Context) -> int:
    """-d prints and ends, -c clears, -t N the last N; without them it follows until the client leaves."""
    phone = context.phone
    args = context.args
    if "-c" in args:
        phone.cleared_log_at = time.time()
        phone.events = None
        return 0
    entries = [*boot_lines(context), *(phone.events or ())]
    entries = [entry for entry in entries if entry[0] >= phone.cleared_log_at]
    count = next((args[at + 1] for at, word in enumerate(args[:-1]) if word in ("-t", "-T")), "")
    if count.isdecimal():
        entries = entries[-int(count) :] if int(count) else []
    context.out("--------- beginning of main")
    for entry in entries:
        context.out(_line(entry))
    if "-d" in args or "-t" in args:
        return 0
    last = entries[-1][0] if entries else phone.cleared_log_at
    while True:
        await context.drain()
        await asyncio.sleep(0.5)
        for entry in [entry for entry in phone.events or () if entry[0] > last]:
            context.out(_line(entry))
            last = entry[0]
