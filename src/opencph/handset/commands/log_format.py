"""How logcat writes a line: the formats and what may be added to them. Which lines there are is `log.py`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from opencph.handset.commands.options import Refusal, shown

FORMATS = ("brief", "long", "process", "raw", "tag", "thread", "threadtime", "time")
MODIFIERS = ("color", "colour", "descriptive", "epoch", "monotonic", "nsec", "printable", "uid", "usec", "UTC", "year", "zone")
COLOURS = {"V": 231, "D": 75, "I": 40, "W": 166, "E": 196, "F": 196}
PRIORITIES = "VDIWEFS"


class Line(NamedTuple):
    """One line of the log."""

    at: float  # seconds since the epoch
    tag: str
    text: str
    priority: str = "I"
    buffer: str = "main"
    pid: int = 1


class Format(NamedTuple):
    """What -v asked for."""

    name: str = "threadtime"
    modifiers: frozenset[str] = frozenset()
    booted_at: float = 0.0  # for monotonic time
    local: Callable[[float], time.struct_time] = time.gmtime  # the phone's clock

    @staticmethod
    def parse(text: str, booted_at: float, local: Callable[[float], time.struct_time] = time.gmtime) -> Format:
        """Names and modifiers with commas or spaces between. Raises Refusal."""
        name, modifiers = "threadtime", set()
        for word in text.replace(",", " ").split():
            if word in FORMATS:
                name = word
            elif word in MODIFIERS:
                modifiers.add("color" if word == "colour" else word)
            else:
                raise Refusal(f'logcat: Invalid parameter "{shown(word)}" to -v', 1)
        return Format(name, frozenset(modifiers), booted_at, local)

    def _time(self, at: float) -> str:
        wanted = self.modifiers
        digits = 9 if "nsec" in wanted else 6 if "usec" in wanted else 3
        if "monotonic" in wanted:
            at = max(0.0, at - self.booted_at)
        fraction = f"{int(at % 1 * 10**digits):0{digits}}"
        if "epoch" in wanted or "monotonic" in wanted:
            return f"{int(at):{19 if 'epoch' in wanted else 6}}.{fraction}"
        year = "%Y-" if "year" in wanted else ""
        clock = time.gmtime(at) if "UTC" in wanted else self.local(at)
        zone = time.strftime(" %z", clock) if "zone" in wanted or "UTC" in wanted else ""
        return f"{time.strftime(f'{year}%m-%d %H:%M:%S', clock)}.{fraction}{zone}"

    def line(self, one: Line) -> str:
        """The line, without the newline that ends it."""
        made = self._plain(one)
        if "color" in self.modifiers:
            return f"\x1b[38;5;{COLOURS.get(one.priority, 231)}m{made}\x1b[0m"
        return made

    def _plain(self, one: Line) -> str:
        level, tag, text, pid = one.priority, one.tag, one.text, f"{one.pid:5}"
        uid = "root:" if "uid" in self.modifiers else ""
        if self.name in ("time", "threadtime", "long"):
            stamp = self._time(one.at)
        match self.name:
            case "brief":
                return f"{level}/{tag:<8}({uid}{pid}): {text}"
            case "process":
                return f"{level}({uid}{pid}) {text}  ({tag})"
            case "tag":
                return f"{level}/{tag:<8}: {text}"
            case "thread":
                return f"{level}({uid}{pid}:{pid}) {text}"
            case "raw":
                return text
            case "time":
                return f"{stamp} {level}/{tag:<8}({uid}{pid}): {text}"
            case "long":
                return f"[ {stamp} {uid}{pid}:{pid} {level}/{tag:<8} ]\n{text}\n"
            case _:
                return f"{stamp} {uid}{pid} {pid} {level} {tag:<8}: {text}"
