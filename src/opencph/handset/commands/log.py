"""logcat and log: the lines of the phone's boot and what happened since. How they are written is `log_format.py`."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import time
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from opencph.handset.clock import local, seconds_of
from opencph.handset.commands import Context
from opencph.handset.commands.log_format import FORMATS, MODIFIERS, PRIORITIES, Format, Line
from opencph.handset.commands.log_output import BUFFERS, Output, Rotation
from opencph.handset.commands.options import Given, Refusal, shown, whole
from opencph.handset.commands.table import entry

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

DEFAULT_BUFFERS = ("main", "system", "crash")
METACHARACTERS = frozenset("\\^$.|?*+()[]{}")
EXPRESSION_MAX = 1024
LOOK_SECONDS = 5.0  # how often one who follows a silent log is looked after
MATCH_SECONDS = 10.0  # that the expression may take for one line
TEXT_MAX = 4068  # bytes, Android's largest payload
ROTATED_MAX = 1000  # files
SIZE_MIN, SIZE_MAX = 64 << 10, 256 << 20
USAGE = (
    "[-s] [-d] [-c] [-g] [-S] [-t COUNT|TIME] [-T COUNT|TIME] [-m COUNT] [-e EXPRESSION [--print]] [-v FORMAT] [-b BUFFER] "
    "[-D] [-B] [-f FILE [-r KBYTES [-n COUNT]]] [TAG:PRIORITY]...: without -d or -t it follows the log"
)
OPTIONS = (
    "-s -d -c -g -S -L -p -D -B -b=, -v=, -t= -T= -m= -e= -f= -r= -n= -G= -P= --pid= --uid= --clear --last --print --wrap "
    "--statistics --dividers --binary --help --buffer=, --format=, --regex= --max-count= --file= --buffer-size= "
    "--rotate-kbytes= --rotate-count= --id= --prune="
)


def boot_lines(context: Context) -> list[Line]:
    """What a boot says."""
    phone = context.phone
    config = phone.booted
    at = time.time() - phone.uptime
    return [
        Line(at, "init", f"OpenCPH handset, boot {phone.boots}: not Android, but it answers ADB"),
        Line(at, "init", f"phone {config.phone_id} ({config.name}), model {config.model_name}, image {config.image_version}"),
        Line(at, "vold", f"/data: {config.data_bytes} bytes"),
        Line(at, "SurfaceFlinger", f"display {config.width}x{config.height}, {config.dpi} dpi"),
        Line(at, "adbd", f"listening on {config.ip}:{config.adb_port}"),
        Line(at, "init", "sys.boot_completed=1"),
    ]


def _events(context: Context) -> list[Line]:
    made = []
    for at, tag, text, priority in context.phone.events or ():
        made.append(Line(at, tag, text, priority, "crash" if tag == "AndroidRuntime" and priority == "E" else "main"))
    return made


class _Wanted:
    """Filters: `TAG:PRIORITY`, `*:S`, `-s`, buffers, a process."""

    def __init__(self, words: list[str], silent: bool, buffers: frozenset[str], pid: str) -> None:
        for word in words:
            _, colon, level = word.rpartition(":")
            if colon and level and level[0].upper() not in PRIORITIES and level[0] != "*":
                raise Refusal(f'logcat: Invalid filter expression "{shown(word)}"', 1)
        self._levels = {tag: (level or "V")[0].upper() for tag, _, level in (word.partition(":") for word in words)}
        self._rest = self._levels.pop("*", "S" if silent else "V")
        self._buffers = buffers
        self._pid = pid

    def inside(self, line: Line) -> bool:
        """Whether it is of the buffers and the process."""
        return self._pid in ("", str(line.pid)) and line.buffer in self._buffers

    def __call__(self, line: Line) -> bool:
        """Whether it is one of those to be printed."""
        level = self._levels.get(line.tag, self._rest)
        return PRIORITIES.find(level) <= PRIORITIES.index(line.priority)


class _Matcher:
    """-e EXPRESSION: plain text is found here, everything else by a process of its own."""

    def __init__(self, expression: str) -> None:
        if len(expression) > EXPRESSION_MAX:
            raise Refusal(f"logcat: an expression has at most {EXPRESSION_MAX} characters", 1)
        self._plain = METACHARACTERS.isdisjoint(expression)
        self._expression = expression
        self._process: asyncio.subprocess.Process | None = None

    async def __call__(self, text: str) -> bool:
        if self._plain:
            return self._expression in text
        try:
            async with asyncio.timeout(MATCH_SECONDS):
                process = self._process or await self._start()
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(text.replace("\n", " ").encode("utf-8", "replace") + b"\n")
                await process.stdin.drain()
                answer = await process.stdout.readexactly(1)
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            raise Refusal(f"logcat: the expression {shown(self._expression)} takes too long", 1) from None
        return answer == b"1"

    async def _start(self) -> asyncio.subprocess.Process:
        program = Path(__file__).with_name("log_match.py")
        process = self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-IS", str(program), self._expression,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env={},
        )  # fmt: skip
        assert process.stdout is not None
        if await process.stdout.read(1) != b"+":
            raise Refusal(f"logcat: {shown(self._expression)} is no regular expression", 1)
        return process

    async def close(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


def _buffers(text: str) -> frozenset[str]:
    names: set[str] = set()
    for name in text.split(",") if text else DEFAULT_BUFFERS:
        if name == "all":
            names.update(BUFFERS)
        elif name == "default":
            names.update(DEFAULT_BUFFERS)
        elif name in BUFFERS:
            names.add(name)
        else:
            raise Refusal(f"logcat: Unknown buffer '{shown(name)}': {', '.join((*BUFFERS, 'default', 'all'))}", 1)
    return frozenset(names)


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d{1,9})([KMG]?)", text)
    size = int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[found[2]] if found else 0
    if not SIZE_MIN <= size <= SIZE_MAX:
        raise Refusal(f"logcat: {shown(text)}: a buffer has 64K to 256M", 1)
    return size


def _since(phone: Phone, text: str) -> tuple[int, float]:
    """(how many lines, after which time) that -t or -T names. Raises Refusal."""
    count = whole(text, 0, 1 << 31)
    if count is not None:
        return count, 0.0
    if found := re.fullmatch(r"(?:(\d{4})-)?(\d{2})-(\d{2})[ T](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?", text):
        numbers = [int(part) for part in found.groups("0")[:6]]
        year, month, day, *clock = numbers
        with contextlib.suppress(ValueError, OverflowError):
            at = seconds_of(phone, (year or local(phone).tm_year, month, day, clock[0], clock[1], clock[2]))
            return -1, at + float(f"0.{found.group(7) or 0}")
    if re.fullmatch(r"\d{1,12}\.\d{1,9}", text):
        return -1, float(text)
    raise Refusal(f"logcat: -t {shown(text)}: give a number of lines, 'MM-DD hh:mm:ss.mmm' or seconds with a fraction", 1)


def _about(context: Context, given: Given) -> int | None:
    """What logcat answers without reading lines; None when lines are wanted."""
    phone = context.phone
    if given.has("--help"):
        context.out(
            f"usage: logcat {USAGE}\n-v: {' '.join(FORMATS)}, and {' '.join(MODIFIERS)}\n-b: {' '.join(BUFFERS)}, default, all"
        )
        return 0
    buffers = _buffers(given.value("-b", "--buffer"))
    if given.has("-c", "--clear"):
        phone.cleared_log_at = time.time()
        phone.events = None
        return 0
    if size := given.value("-G", "--buffer-size"):
        phone.until_reboot["log.size"] = str(_size(size))
        return 0
    used = sum(len(line.text) + len(line.tag) + 20 for line in _events(context))
    if given.has("-g"):
        kib = int(phone.until_reboot.get("log.size", SIZE_MIN)) >> 10
        for name in BUFFERS:
            if name in buffers:
                consumed = used >> 10 if name == "main" else 0
                context.out(
                    f"{name}: ring buffer is {kib} KiB ({consumed} KiB consumed), max entry is 5120 B, max payload is {TEXT_MAX} B"
                )
        return 0
    if given.has("-S", "--statistics"):
        lines = len([*boot_lines(context), *_events(context)])
        context.out(
            "size/num main               Total\n"
            f"Total    {used}/{lines:<16} {used}/{lines}\nNow      {used}/{lines:<16} {used}/{lines}"
        )
        return 0
    if given.has("-p"):
        context.out("~! ~1000/!")
        return 0
    return None


REFUSED = {
    **dict.fromkeys(("-P", "--prune"), "a handset's log has no prune list: its newest lines stay"),
    **dict.fromkeys(("-L", "--last"), "Logcat read failure: No such file or directory: nothing is kept of the boot before"),
}


@entry("logcat", OPTIONS, does=USAGE, bundled=True, refused=REFUSED)
async def logcat(context: Context, given: Given) -> int:
    """Print what was asked for, and follow."""
    answered = _about(context, given)
    if answered is not None:
        return answered
    phone = context.phone
    form = Format.parse(given.value("-v", "--format"), time.time() - phone.uptime, partial(local, phone))
    most = whole(given.value("-m", "--max-count", default="0"), 0, 1 << 31)
    if most is None:
        raise Refusal("logcat: -m takes a number of lines", 1)
    filters = given.words or context.log_tags.strip("'\"").split()  # adb itself sends it with quotes around
    wanted = _Wanted(filters, given.has("-s"), _buffers(given.value("-b", "--buffer")), given.value("--pid"))
    count, after = _since(phone, given.value("-t", "-T")) if given.has("-t", "-T") else (-1, 0.0)
    matcher = _Matcher(given.value("-e", "--regex"))
    path = given.value("-f", "--file")
    output = Output(context, None if given.has("-B", "--binary") else form, path, _rotation(given, path), most or None)
    try:
        everything = [line for line in [*boot_lines(context), *_events(context)] if line.at >= phone.cleared_log_at]
        last = everything[-1].at if everything else phone.cleared_log_at
        lines = [line for line in everything if wanted.inside(line) and line.at >= after]
        if count >= 0:  # of those that are printed
            first = [number for number, line in enumerate(lines) if wanted(line)][-count:] if count else []
            lines = lines[first[0] :] if first else []
        follow = not given.has("-d", "-t")
        async with contextlib.aclosing(_all(context, lines, last, follow, output)) as found:
            async for line in found:
                if not wanted.inside(line):
                    continue
                output.begin(line.buffer, dividers=given.has("-D", "--dividers"))
                if not wanted(line):
                    continue
                matches = await matcher(line.text)
                if matches or given.has("--print"):
                    output.put(line)
                if matches and output.left is not None:
                    output.left -= 1
                if output.full:
                    break
        await output.flush()
    finally:
        await matcher.close()
    return 0


def _rotation(given: Given, path: str) -> Rotation:
    """-r and -n. Raises Refusal."""
    kbytes, kept = given.value("-r", "--rotate-kbytes"), given.value("-n", "--rotate-count", default="4")
    limit, count = whole(kbytes or "0", 0, 1 << 21), whole(kept, 0, ROTATED_MAX)
    if limit is None or (kbytes and not limit):
        raise Refusal(f'logcat: Invalid parameter "{shown(kbytes)}" to -r', 1)
    if count is None:
        raise Refusal(f'logcat: Invalid parameter "{shown(kept)}" to -n: it takes 0 to {ROTATED_MAX}', 1)
    if limit and not path:
        raise Refusal("logcat: -r requires -f as well", 1)
    return Rotation(limit << 10, count)


async def _all(context: Context, lines: list[Line], last: float, follow: bool, output: Output) -> AsyncGenerator[Line, None]:
    """The lines there are and, if it follows, those to come, for as long as somebody reads."""
    for line in lines:
        yield line
    if not follow:
        return
    phone = context.phone
    watcher = asyncio.Event()
    if phone.log_watchers is None:
        phone.log_watchers = set()
    phone.log_watchers.add(watcher)
    try:
        while True:
            watcher.clear()
            for line in [line for line in _events(context) if line.at > last]:
                last = line.at
                yield line
            await output.flush()
            await context.drain()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await watcher.wait()
    finally:
        phone.log_watchers.discard(watcher)


@entry(
    "log",
    "-p= -t=",
    does="[-p PRIORITY] [-t TAG] [MESSAGE...]: a line for logcat; without a message, the lines of stdin",
    bundled=True,
    first_word_ends=True,
)
async def log(context: Context, given: Given) -> int:
    """As toybox has it."""
    priority = given.value("-p", default="i")[:1].upper()
    if priority not in PRIORITIES:
        raise Refusal(f"log: bad -p '{shown(given.value('-p'))}'", 1)
    tag = "".join(c for c in given.value("-t", default="log")[:64] if c.isprintable())
    if given.words:
        _note(context, tag, " ".join(given.words), priority)
        return 0
    data = b""
    while len(data) < TEXT_MAX * 100 and (piece := await context.read()):
        data += piece
    for line in data.decode("utf-8", "replace").splitlines():
        _note(context, tag, line, priority)
    return 0


def _note(context: Context, tag: str, text: str, priority: str) -> None:
    for line in text[:TEXT_MAX].splitlines() or [""]:
        context.phone.note(tag, line, priority)
