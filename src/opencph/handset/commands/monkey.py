"""monkey: opens apps and pokes the screen at random, and prints what it does. The events are in `monkey_events.py`."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

from opencph.handset import apps
from opencph.handset.clock import local
from opencph.handset.commands import Context
from opencph.handset.commands.monkey_events import SHARES, Bounds, Event, Source, shares, turn
from opencph.handset.commands.options import FAILED, Given, Refusal, shown, whole
from opencph.handset.commands.table import entry
from opencph.handset.screen_layout import rotation

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

EVENTS_MAX = 10_000_000
THROTTLE_MAX = 3_600_000  # milliseconds
TIME_MAX = 24 * 3600.0  # seconds that one call may take
LIST_MAX = 1 << 16  # bytes of a file of package names
PAUSE_SECONDS = 0.001  # between gestures, for the other phones of the host
NO_ACTIVITIES = 252
USAGE = """usage: monkey [-p ALLOWED_PACKAGE [-p ALLOWED_PACKAGE] ...]
              [-c MAIN_CATEGORY [-c MAIN_CATEGORY] ...]
              [--ignore-crashes] [--ignore-timeouts]
              [--ignore-security-exceptions]
              [--monitor-native-crashes] [--ignore-native-crashes]
              [--kill-process-after-error] [--bugreport] [--hprof]
              [--pct-touch PERCENT] [--pct-motion PERCENT]
              [--pct-trackball PERCENT] [--pct-syskeys PERCENT]
              [--pct-nav PERCENT] [--pct-majornav PERCENT]
              [--pct-appswitch PERCENT] [--pct-flip PERCENT]
              [--pct-anyevent PERCENT] [--pct-pinchzoom PERCENT]
              [--pct-rotation PERCENT] [--pct-permission 0]
              [--pkg-blacklist-file PACKAGE_BLACKLIST_FILE]
              [--pkg-whitelist-file PACKAGE_WHITELIST_FILE]
              [--dbg-no-events] [--throttle MILLISEC] [--randomize-throttle]
              [-s SEED] [-v [-v] ...] [-h] COUNT"""
VALUES = frozenset(
    ("-c", "-p", "-s", "--throttle", "--pkg-blacklist-file", "--pkg-whitelist-file", *(f"--pct-{kind}" for kind in SHARES))
)
#: nothing runs that could crash, hang or be measured
WITHOUT_EFFECT = frozenset(
    (
        *("--ignore-crashes", "--ignore-timeouts", "--ignore-security-exceptions", "--ignore-native-crashes"),
        *("--monitor-native-crashes", "--kill-process-after-error", "--bugreport"),
    )
)
FLAGS = WITHOUT_EFFECT | {"-v", "-h", "--hprof", "--dbg-no-events", "--randomize-throttle"}
REFUSED = {
    **dict.fromkeys(("-f", "--setup", "--script-log", "--profile-wait", "--randomize-script", "--port"), "takes no scripts"),
    **dict.fromkeys(("--wait-dbg", "--match-description"), "has no processes to look into"),
}


@entry(
    "monkey",
    None,
    does="[-p PACKAGE]... [-c CATEGORY]... [-s SEED] [--throttle MS] [--pct-KIND PERCENT]... [-v]... COUNT: random fingers, keys "
    "and apps; each line that -v prints is something that it did; -h for all options",
)
async def monkey(context: Context, given: Given) -> int:
    """Waits for --throttle milliseconds after every gesture, as Android's does."""
    if "-h" in given.words:
        context.error(USAGE)
        return FAILED
    words = _Words(given.words)
    phone = context.phone
    begun = time.monotonic()
    await apps.refresh(phone)
    context.error(f"args: [{', '.join(shown(word) for word in given.words)}]")
    bounds = Bounds(phone, words.packages | _listed(phone, words.only_file), _listed(phone, words.without_file))
    parts = shares(words.shares)
    if words.verbose:
        _introduce(context, words)
    if words.hprof:
        context.error("** --hprof: nothing is written, for no app runs on a handset")
    found = [
        one for package in sorted(words.packages) or [""] for one in apps.resolve(phone, "", package, apps.MAIN, words.categories)
    ]
    matches = [one for one in found if bounds.allows(one)]
    if not matches:
        context.out("** No activities found to run, monkey aborted.")
        return NO_ACTIVITIES
    if words.verbose:
        context.out("// Event percentages:")
        for number, (name, share) in enumerate(parts.items()):
            unused = not share and (name in words.shares or not SHARES[name])
            context.out(f"//   {number}: {'-0.0' if unused else round(share, 6)}%")
    before = rotation(phone)
    run = _Run(context, words, bounds)
    try:
        await run.all(Source(phone, words.seed, parts, run.switch, matches))
    finally:
        if words.shares.get("rotation") and phone.state_data is not None:
            turn(phone, None)
    taken = round((time.monotonic() - begun) * 1000)
    context.out(f"Events injected: {run.done}")
    if words.verbose:
        dropped = " ".join(
            f"{name}={run.dropped.get(name, 0)}" for name in ("keys", "pointers", "trackballs", "flips", "rotations")
        )
        context.out(f":Sending rotation degree={before}, persist=false\n:Dropped: {dropped}")
    context.out(f"## Network stats: elapsed time={taken}ms (0ms mobile, 0ms wifi, {taken}ms not connected)")
    if words.verbose:
        context.out("// Monkey finished")
    return 0


def _introduce(context: Context, words: _Words) -> None:
    context.out(f":Monkey: seed={words.seed} count={words.count}")
    for package in sorted(words.packages):
        context.out(f":AllowPackage: {shown(package)}")
    for category in words.categories or ["android.intent.category.LAUNCHER", "android.intent.category.MONKEY"]:
        context.out(f":IncludeCategory: {shown(category)}")


class _Run:
    """One call at work."""

    def __init__(self, context: Context, words: _Words, bounds: Bounds) -> None:
        self._context, self._words, self._bounds = context, words, bounds
        self.done = 0
        self.dropped: dict[str, int] = {}

    def switch(self, component: str) -> Event:
        """Opening an app."""
        package = component.partition("/")[0]
        intent = "act=android.intent.action.MAIN cat=[android.intent.category.LAUNCHER]"
        line = (
            ":Switch: #Intent;action=android.intent.action.MAIN;category=android.intent.category.LAUNCHER;"
            f"launchFlags=0x10200000;component={component};end\n"
            f"    // Allowing start of Intent {{ {intent} cmp={component} }} in package {package}"
        )
        return Event(line, 1, lambda: apps.open_component(self._context.phone, component), last=True)

    async def all(self, source: Source) -> None:
        """As many events as were asked for, unless it takes too long."""
        words, context = self._words, self._context
        ends = time.monotonic() + TIME_MAX
        events = source.events()
        while self.done < words.count:
            event = next(events)
            if words.verbose and self.done and not self.done % 100:
                now, uptime = time.time(), int(context.phone.uptime * 1000)
                clock = time.strftime("%Y-%m-%d %H:%M:%S", local(context.phone, now))
                context.out(f"    //[calendar_time:{clock}.{int(now % 1 * 1000):03d}  system_uptime:{uptime}]")
                context.out(f"    // Sending event #{self.done}")
            self._one(event)
            if not event.last:
                continue
            await context.drain()
            wait = words.throttle / 1000
            await asyncio.sleep(max(PAUSE_SECONDS, wait * source.chance() if words.randomized else wait))
            if time.monotonic() > ends:
                context.error(f"** Monkey aborted: {TIME_MAX / 3600:.0f} hours are over")
                return

    def _one(self, event: Event) -> None:
        self.done += 1
        if self._words.verbose >= event.verbose:
            self._context.out(event.line)
        if event.dropped:
            self.dropped[event.dropped] = self.dropped.get(event.dropped, 0) + 1
        if event.act is None or self._words.idle:
            return
        event.act()
        if (left := self._bounds.left()) and self._words.verbose:
            self._context.out(f"    // Rejecting start of Intent {{ cmp={left} }} in package {left.partition('/')[0]}")


def _listed(phone: Phone, path: str) -> frozenset[str]:
    """The package names in a file of the phone, one a line. Raises Refusal."""
    if not path:
        return frozenset()
    try:
        with os.fdopen(phone.files.open_read(path), "rb") as file:
            lines = file.read(LIST_MAX).decode("utf-8", "replace").splitlines()
    except OSError as error:
        raise Refusal(f"** Error: {shown(path)}: {error.strerror}", FAILED) from None
    return frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))


class _Words:
    """The words of one call: some options may be there several times. Raises Refusal."""

    def __init__(self, words: list[str]) -> None:
        packages: list[str] = []
        self.categories: list[str] = []
        self.verbose = 0
        values: dict[str, str] = {}
        flags: set[str] = set()
        rest: list[str] = []
        following = iter(words)
        for word in following:
            if word in VALUES:
                value = next(following, None)
                if value is None:
                    raise _wrong(f"Option {word} requires an argument")
                if word == "-p":
                    packages.append(value)
                elif word == "-c":
                    self.categories.append(value)
                else:
                    values[word] = value
            elif word in FLAGS:
                flags.add(word)
                self.verbose += word == "-v"
            elif word in REFUSED:
                raise _wrong(f"{word}: a handset's monkey {REFUSED[word]}")
            elif set(word) == {"-", "v"} and word.startswith("-v"):
                self.verbose += len(word) - 1
            elif word.startswith("-"):
                raise _wrong(f"Unknown option: {shown(word)}")
            else:
                rest.append(word)
        if not rest:
            raise _wrong("Count not specified")
        count = whole(rest[0], 0, EVENTS_MAX) if len(rest) == 1 else None
        if count is None:
            raise _wrong(f'"{shown(rest[0])}" is not a number from 0 to {EVENTS_MAX}')
        seed = whole(values.get("-s", "0"), -(1 << 62), 1 << 62)
        throttle = whole(values.get("--throttle", "0"), 0, THROTTLE_MAX)
        if seed is None or throttle is None:
            raise _wrong(f"-s takes a number, --throttle milliseconds up to {THROTTLE_MAX}")
        self.count, self.seed, self.throttle = count, seed, throttle
        self.packages = frozenset(packages)
        self.only_file, self.without_file = values.get("--pkg-whitelist-file", ""), values.get("--pkg-blacklist-file", "")
        if self.without_file and (self.packages or self.only_file):
            raise _wrong("you can not specify a package blacklist together with a whitelist or individual packages (via -p).")
        self.idle, self.randomized, self.hprof = (name in flags for name in ("--dbg-no-events", "--randomize-throttle", "--hprof"))
        self.shares = {kind: _percent(values[f"--pct-{kind}"]) for kind in SHARES if f"--pct-{kind}" in values}


def _percent(text: str) -> int:
    share = whole(text, 0, 100)
    if share is None:
        raise _wrong(f'"{shown(text)}" is not a number of percent')
    return share


def _wrong(what: str) -> Refusal:
    return Refusal(f"** Error: {what}\n{USAGE}", FAILED)
