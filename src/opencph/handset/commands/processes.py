"""ps, pidof and uptime: the phone's processes, which are those in its sandbox, and the cards that are open, which are none."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from opencph.handset.clock import local
from opencph.handset.commands import COMMANDS, Context
from opencph.handset.commands.options import Given, Refusal, shown
from opencph.handset.commands.table import entry

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

USER_HZ = 100
HEADS = {
    "USER": 12,
    "UID": -5,
    "PID": -5,
    "PPID": -5,
    "TID": -5,
    "VSZ": -10,
    "RSS": -6,
    "WCHAN": 16,
    "ADDR": -8,
    "S": 1,
    "NAME": 0,
    "CMD": 0,
    "ARGS": 0,
    "COMM": 0,
    "CMDLINE": 0,
    "TIME": -8,
    "PRI": -3,
    "NI": -3,
    "GROUP": 12,
    "TTY": 8,
    "STIME": -5,
    "LABEL": 30,
    "SID": -5,
    "PGID": -5,
}
NORMAL = ("USER", "PID", "PPID", "VSZ", "RSS", "WCHAN", "ADDR", "S", "NAME")
FULL = ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")


class Process(NamedTuple):
    """A line of ps."""

    user: str
    pid: int
    parent: int
    vsz: int  # KiB
    rss: int  # KiB
    state: str
    name: str
    command: str
    seconds: int  # of CPU time
    started: time.struct_time  # on the phone's clock
    terminal: bool = False
    tid: int = 0
    session: int = 0
    group: int = 0  # of processes


def _status(path: Path) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in (path / "status").read_text("utf-8", "replace").splitlines() if ":\t" in line)


def _read(phone: Phone, path: Path, user: str, pids: dict[int, int]) -> Process | None:
    """A process by its directory in the machine's /proc; None when it is gone. `pids` are the phone's numbers of the machine's."""
    with suppress(OSError, KeyError, ValueError, IndexError):
        facts = _status(path)
        fields = (path / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        vsz, rss = (int(facts.get(name, "0 kB").split()[0]) for name in ("VmSize", "VmRSS"))
        ticks = int(fields[11]) + int(fields[12])
        started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + int(fields[19]) / USER_HZ
        pid = int(facts["NSpid"].split()[-1])
        parent = pids.get(int(facts["PPid"]), 0)
        name = facts["Name"]
        return Process(
            user,
            int(facts.get("NStgid", facts["NSpid"]).split()[-1]),
            parent,
            vsz,
            rss,
            facts["State"][0],
            name,
            words or f"[{name}]",
            ticks // USER_HZ,
            local(phone, started),
            int(fields[4]) != 0,
            pid,
            pids.get(int(fields[3]), 0),
            pids.get(int(fields[2]), 0),
        )
    return None


def processes(context: Context, threads: bool = False) -> list[Process]:
    """Those in the sandbox by their numbers there, and a line for every card."""
    phone = context.phone
    made: list[Process] = []
    sandbox = phone.sandbox
    user = "root" if phone.adb_root else "shell"
    host = sorted(sandbox.host_pids()) if sandbox is not None else []
    inner: dict[int, int] = {}
    for pid in host:
        with suppress(OSError, KeyError, ValueError):
            inner[pid] = int(_status(Path(f"/proc/{pid}"))["NSpid"].split()[-1])
    for pid in host:
        paths = [Path(f"/proc/{pid}")]
        if threads:
            with suppress(OSError):
                paths = sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda path: int(path.name))
        made += [one for path in paths if (one := _read(phone, path, user, inner)) is not None]
    for app in phone.running_screen.recent:
        if app.page:  # of the handset itself
            continue
        pid = phone.running_screen.pids.get(app.package, 0)
        made.append(
            Process(
                f"u0_a{app.uid - 10000}",
                pid,
                0,
                0,
                0,
                "S",
                app.package,
                app.package,
                0,
                local(phone, time.time() - phone.uptime),
                False,
                pid,
            )
        )
    return made


_FIELDS: dict[str, Callable[[Process], str]] = {
    "USER": lambda one: one.user,
    "UID": lambda one: one.user,
    "GROUP": lambda one: one.user,
    "PID": lambda one: str(one.pid),
    "TID": lambda one: str(one.tid),
    "PPID": lambda one: str(one.parent),
    "VSZ": lambda one: str(one.vsz),
    "RSS": lambda one: str(one.rss),
    "WCHAN": lambda _: "0",
    "ADDR": lambda _: "0",
    "S": lambda one: one.state,
    "C": lambda _: "0",
    "NAME": lambda one: one.name if one.name in COMMANDS else one.command.split(" ")[0].rpartition("/")[2] or one.name,
    "CMD": lambda one: one.name,
    "COMM": lambda one: one.name,
    "ARGS": lambda one: one.command,
    "CMDLINE": lambda one: one.command,
    "TIME": lambda one: f"{one.seconds // 3600:02}:{one.seconds // 60 % 60:02}:{one.seconds % 60:02}",
    "STIME": lambda one: time.strftime("%H:%M", one.started),
    "TTY": lambda one: "pts/0" if one.terminal else "?",
    "LABEL": lambda _: "-",  # SELinux is disabled
    "SID": lambda one: str(one.session),
    "PGID": lambda one: str(one.group),
    "PRI": lambda _: "19",
    "NI": lambda _: "0",
}


@entry(
    "ps",
    "-A -e -f -l -T -w -Z -n -o=, -p=, -u=, -g=, -s=, -t=, -k=, -G=, -P=, -O=, -U=,",
    bundled=True,
    does="[-AefTZn] [-o|-O FIELD,...] [-k [-]FIELD,...] [-p|-P PID,...] [-u|-U|-g|-G USER,...] [-s SESSION,...] [-t TTY,...] "
    "[PID|NAME]...: without -A or -e, those of the shell",
)
async def ps(context: Context, given: Given) -> int:
    """In the columns of Android's toybox."""
    fields, heads = _columns(given)
    rows = processes(context, threads=given.has("-T"))
    shell = "root" if context.phone.adb_root else "shell"
    chosen = given.has(*_CHOICES)
    if chosen or given.words:
        rows = [one for one in rows if _chosen(one, given)]
    elif not given.has("-A", "-e", "-T"):
        rows = [one for one in rows if one.user == shell]
    for word in reversed(given.value("-k").replace(" ", ",").split(",")):
        name = word.lstrip("+-").upper()
        if name in _FIELDS:
            rows.sort(key=lambda one, name=name: _order(_FIELDS[name](one)), reverse=word.startswith("-"))  # type: ignore[misc]
        elif word:
            raise Refusal(f"ps: bad -k '{shown(word)}': {', '.join(sorted(_FIELDS))}", 1)
    if any(heads):
        context.out(_line(fields, heads))
    for one in rows:
        context.out(_line(fields, [_shown_field(name, one, given.has("-n")) for name in fields]))
    return 0 if rows or not (given.has("-p") or given.words) else 1


_CHOICES = ("-p", "-P", "-u", "-U", "-g", "-G", "-s", "-t")


def _order(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isascii() and text.isdecimal() else (0, text)


def _number(user: str) -> str:
    """The uid of a user's name."""
    return {"root": "0", "shell": "2000"}.get(user) or str(10000 + int(user[4:]))


def _shown_field(name: str, one: Process, numbers: bool) -> str:
    return _number(one.user) if numbers and name in ("USER", "UID", "GROUP") else _FIELDS[name](one)


def _chosen(one: Process, given: Given) -> bool:
    """Whether any of the options that choose, or a word, means it."""
    terminal = {_FIELDS["TTY"](one), _FIELDS["TTY"](one).rpartition("/")[2]}
    user = {one.user, _number(one.user)}
    facts: dict[str, set[str]] = {
        "-p": {str(one.pid)},
        "-P": {str(one.parent)},
        "-s": {str(one.session)},
        "-t": terminal - {"?"},
        **dict.fromkeys(("-u", "-U", "-g", "-G"), user),
    }
    if any(given.has(option) and facts[option] & set(given.value(option).replace(" ", ",").split(",")) for option in _CHOICES):
        return True
    names = {str(one.pid), one.name, _FIELDS["NAME"](one)}
    return any(word in names for word in given.words)


def _columns(given: Given) -> tuple[list[str], list[str]]:
    """The fields, and what stands above them."""
    fields: list[str] = []
    heads: list[str] = []
    if not given.has("-o"):
        fields = list(FULL if given.has("-f") else NORMAL)
        if given.has("-T"):
            fields.insert(fields.index("PID") + 1, "TID")
        if given.has("-Z"):
            fields.insert(0, "LABEL")
        heads = list(fields)
    for word in f"{given.value('-o')},{given.value('-O')}".replace(" ", ",").split(","):
        name, equals, head = word.partition("=")
        name = name.upper()
        if not name:
            continue
        if name not in _FIELDS:
            raise Refusal(f"ps: bad -{'o' if given.has('-o') else 'O'} '{shown(word)}': {', '.join(sorted(_FIELDS))}", 1)
        fields.append(name)
        heads.append(head if equals else name)
    return fields, heads


def _line(fields: list[str], values: list[str]) -> str:
    made = []
    for name, value in zip(fields, values, strict=True):
        width = HEADS.get(name, -1)
        made.append(value.ljust(width) if width >= 0 else value.rjust(-width))
    return " ".join(made).rstrip()


@entry("pidof", "-s -o=, -x", does="[-s] NAME...: the numbers of processes, and of open cards", bundled=True)
async def pidof(context: Context, given: Given) -> int:
    """Exit code 1 when there is none."""
    left_out = given.value("-o").split(",")
    names = {word.rpartition("/")[2] for word in given.words}
    found = [
        str(one.pid) for one in processes(context) if {_FIELDS["NAME"](one), one.name} & names and str(one.pid) not in left_out
    ]
    if not found:
        return 1
    context.out(found[-1] if given.has("-s") else " ".join(reversed(found)))
    return 0


@entry("uptime", "-p -s", does="the time, how long the phone has been up, and the machine's load", bundled=True)
async def uptime(context: Context, given: Given) -> int:
    """How long the phone, not the machine, has been up."""
    phone = context.phone
    minutes = int(phone.uptime) // 60
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    if given.has("-s"):
        context.out(time.strftime("%Y-%m-%d %H:%M:%S", local(phone, time.time() - phone.uptime)))
        return 0
    if given.has("-p"):
        parts = [
            f"{count} {name}{'' if count == 1 else 's'}"
            for count, name in ((days, "day"), (hours, "hour"), (rest, "minute"))
            if count
        ]
        context.out(f"up {', '.join(parts) or '0 minutes'}")
        return 0
    long = f"{days} day{'' if days == 1 else 's'}, " if days else ""
    up = f"{long}{hours:2}:{rest:02}" if hours else f"{long}{rest} min"
    load = ", ".join(Path("/proc/loadavg").read_text().split()[:3])
    context.out(f" {time.strftime('%H:%M:%S', local(phone))} up {up},  0 users,  load average: {load}")
    return 0
