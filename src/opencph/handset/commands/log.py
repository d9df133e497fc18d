"""logcat: the lines of the phone's boot and what happened since."""

from __future__ import annotations

import asyncio
import contextlib
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


FORMATS = ("brief", "process", "tag", "raw", "time", "threadtime", "long")
METACHARACTERS = frozenset("\\^$.|?*+()[]{}")
PRIORITIES = "VDIWEFS"
LOOK_SECONDS = 5.0  # how often one who follows a silent log is looked after
WITH_VALUE = frozenset(("-b", "-v", "-t", "-T", "-e", "-m", "-f", "-r", "-n", "--pid", "--regex", "--buffer", "--format"))

Entry = tuple[float, str, str]


def _line(entry: Entry, form: str) -> str:
    at, tag, text = entry
    stamp = f"{time.strftime('%m-%d %H:%M:%S', time.gmtime(at))}.{int(at % 1 * 1000):03}"
    return {
        "brief": f"I/{tag:<8}(    1): {text}",
        "process": f"I(    1) {text}  ({tag})",
        "tag": f"I/{tag:<8}: {text}",
        "raw": text,
        "time": f"{stamp} I/{tag:<8}(    1): {text}",
        "long": f"[ {stamp}     1:    1 I/{tag:<8} ]\n{text}\n",
    }.get(form, f"{stamp}     1     1 I {tag:<8}: {text}")


class _Wanted:
    """Filters: `TAG:PRIORITY`, `*:S`, `-s`, `-e TEXT`. Everything here has priority I."""

    def __init__(self, words: list[str], silent: bool, expression: str) -> None:
        self._levels = {tag: (level or "V")[0].upper() for tag, _, level in (word.partition(":") for word in words)}
        self._rest = self._levels.pop("*", "S" if silent else "V")
        self._expression = expression

    def __call__(self, entry: Entry) -> bool:
        level = self._levels.get(entry[1], self._rest)
        if PRIORITIES.find(level) > PRIORITIES.index("I"):
            return False
        return self._expression in entry[2]


def _parse(args: list[str]) -> tuple[set[str], dict[str, str], list[str]]:
    flags, values, filters, at = set(), {}, [], 0
    while at < len(args):
        word = args[at]
        if word in WITH_VALUE and at + 1 < len(args):
            values[word] = args[at + 1]
            at += 1
        elif word.startswith("-"):
            flags.add(word)
        else:
            filters.append(word)
        at += 1
    return flags, values, filters


async def logcat(context: Context) -> int:
    """-d prints and ends, -c clears, -t N the last N, -v FORMAT, -s and filters; without -d or -t it follows the log."""
    phone = context.phone
    flags, values, filters = _parse(context.args)
    if "-c" in flags:
        phone.cleared_log_at = time.time()
        phone.events = None
        return 0
    if "-g" in flags:
        context.out("main: ring buffer is 64 KiB (0 KiB consumed), max entry is 5120 B, max payload is 4068 B")
        return 0
    form = values.get("-v", values.get("--format", "threadtime"))
    if form not in FORMATS:
        return context.error(f"logcat: Invalid parameter {form!r} to -v: {', '.join(FORMATS)}")
    expression = values.get("-e", values.get("--regex", ""))
    if not METACHARACTERS.isdisjoint(expression):  # a hostile one could keep the phones' process busy for ever
        return context.error("logcat: a handset's -e takes plain text only; pipe into grep for expressions")
    wanted = _Wanted(filters, "-s" in flags, expression)
    entries = [entry for entry in [*boot_lines(context), *(phone.events or ())] if entry[0] >= phone.cleared_log_at]
    last = entries[-1][0] if entries else phone.cleared_log_at
    count = values.get("-t", values.get("-T", ""))
    shown = [entry for entry in entries if wanted(entry)]
    if count.isdecimal():
        shown = shown[-int(count) :] if int(count) else []
    context.out("--------- beginning of main")
    for entry in shown:
        context.out(_line(entry, form))
    if "-d" in flags or "-t" in values:
        return 0
    await _follow(context, last, form, wanted)
    return 0


async def _follow(context: Context, last: float, form: str, wanted: _Wanted) -> None:
    phone = context.phone
    watcher = asyncio.Event()
    if phone.log_watchers is None:
        phone.log_watchers = set()
    phone.log_watchers.add(watcher)
    try:
        while True:
            for entry in [entry for entry in phone.events or () if entry[0] > last]:
                last = entry[0]
                if wanted(entry):
                    context.out(_line(entry, form))
            await context.drain()
            watcher.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await watcher.wait()
    finally:
        phone.log_watchers.discard(watcher)
