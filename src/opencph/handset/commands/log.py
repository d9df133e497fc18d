"""logcat and log: the lines of the phone's boot and what happened since. How they are written is `log_format.py`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import stat
import sys
import time
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from opencph.handset.clock import local, seconds_of
from opencph.handset.commands import Context
from opencph.handset.commands.log_format import FORMATS, MODIFIERS, PRIORITIES, Format, Line
from opencph.handset.commands.options import Given, Refusal, shown, whole
from opencph.handset.commands.table import entry
from opencph.handset.transfers import Upload

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

BUFFERS = ("main", "system", "radio", "events", "crash", "stats", "security", "kernel")
DEFAULT_BUFFERS = ("main", "system", "crash")
METACHARACTERS = frozenset("\\^$.|?*+()[]{}")
EXPRESSION_MAX = 1024
LOOK_SECONDS = 5.0  # how often one who follows a silent log is looked after
MATCH_SECONDS = 10.0  # that the expression may take for one line
TEXT_MAX = 4068  # bytes, Android's largest payload
SIZE_MIN, SIZE_MAX = 64 << 10, 256 << 20
USAGE = (
    "[-s] [-d] [-c] [-g] [-S] [-t COUNT|TIME] [-T COUNT|TIME] [-m COUNT] [-e EXPRESSION [--print]] [-v FORMAT] [-b BUFFER] "
    "[-f FILE] [TAG:PRIORITY]...: without -d or -t it follows the log"
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

    def __call__(self, line: Line) -> bool:
        level = self._levels.get(line.tag, self._rest)
        if self._pid not in ("", str(line.pid)) or line.buffer not in self._buffers:
            return False
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


class _Output:
    """Where lines go: stdout, or a file of the phone (-f)."""

    def __init__(self, context: Context, form: Format, path: str, most: int | None) -> None:
        self._context, self._form, self._path = context, form, path
        self._text: list[str] = []
        self.left = most

    @property
    def full(self) -> bool:
        return self.left is not None and self.left <= 0

    def put(self, line: Line) -> None:
        self.raw(self._form.line(line))

    def raw(self, text: str) -> None:
        if self._path:
            self._text.append(text)
        else:
            self._context.out(text)

    async def flush(self) -> None:
        if not self._path:
            await self._context.drain()
            return
        phone = self._context.phone
        upload = Upload(phone.files, phone.disk, self._path, stat.S_IFREG | 0o640)
        try:
            upload.write([memoryview("".join(f"{line}\n" for line in self._text).encode("utf-8", "replace"))])
            upload.finish(int(time.time()))
        except OSError as error:
            upload.abandon()
            raise Refusal(
                f"logcat: Unable to write to {shown(self._path)}: {error.strerror or os.strerror(error.errno or 5)}", 1
            ) from None


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
    if given.has("-B", "--binary", "-r", "--rotate-kbytes", "-n", "--rotate-count"):
        raise Refusal("logcat: a handset writes no binary logs and rotates no files: leave out -B, -r and -n", 1)
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
    if given.has("-P", "--prune"):
        raise Refusal("logcat: a handset's log has no prune list: its newest lines stay", 1)
    if given.has("-L", "--last"):
        raise Refusal("logcat: Logcat read failure: No such file or directory: nothing is kept of the boot before", 1)
    return None


@entry("logcat", OPTIONS, does=USAGE, bundled=True)
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
    output = _Output(context, form, given.value("-f", "--file"), most or None)
    try:
        everything = [line for line in [*boot_lines(context), *_events(context)] if line.at >= phone.cleared_log_at]
        last = everything[-1].at if everything else phone.cleared_log_at
        shown_lines = [line for line in everything if wanted(line) and line.at >= after]
        if count >= 0:
            shown_lines = shown_lines[-count:] if count else []
        follow = not given.has("-d", "-t")
        output.raw("--------- beginning of main")
        async with contextlib.aclosing(_all(context, shown_lines, last, wanted, follow, output)) as lines:
            async for line in lines:
                found = await matcher(line.text)
                if found or given.has("--print"):
                    output.put(line)
                if found and output.left is not None:
                    output.left -= 1
                if output.full:
                    break
        await output.flush()
    finally:
        await matcher.close()
    return 0


async def _all(
    context: Context, lines: list[Line], last: float, wanted: _Wanted, follow: bool, output: _Output
) -> AsyncGenerator[Line, None]:
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
                if wanted(line):
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
