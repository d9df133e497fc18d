"""monkey: opens apps and pokes the screen at random, the same way for the same seed."""

from __future__ import annotations

import asyncio
import random
import time

from opencph.handset import apps
from opencph.handset.commands import Context
from opencph.handset.commands.options import Given, Refusal, shown, whole
from opencph.handset.commands.table import entry
from opencph.handset.screen_layout import size

EVENTS_MAX = 10_000
THROTTLE_MAX = 60_000  # milliseconds
WAIT_MAX = 3600.0  # seconds that all events of one call may take
USAGE = "usage: monkey [-p ALLOWED_PACKAGE [-p ALLOWED_PACKAGE] ...] [-c MAIN_CATEGORY] [-s SEED] [--throttle MILLISEC] [-v] COUNT"
_PERCENTAGES = (15.0, 10.0, 2.0, 15.0, -0.0, -0.0, 25.0, 15.0, 2.0, 2.0, 1.0, 13.0)
OPTIONS = (
    "-v -c= -p= -s= --throttle= --pct-touch= --pct-motion= --pct-trackball= --pct-syskeys= --pct-nav= --pct-majornav= "
    "--pct-appswitch= --pct-flip= --pct-anyevent= --pct-pinchzoom= --pct-permission= --pct-rotation= --ignore-crashes "
    "--ignore-timeouts --ignore-security-exceptions --ignore-native-crashes --monitor-native-crashes "
    "--kill-process-after-error --hprof --dbg-no-events --randomize-throttle --wait-dbg --match-description= "
    "--pkg-blacklist-file= --pkg-whitelist-file= --bugreport"
)


@entry(
    "monkey", None, does="[-p PACKAGE]... [-c CATEGORY]... [-s SEED] [--throttle MS] [-v]... COUNT: opens an app, or taps at random"
)
async def monkey(context: Context, given: Given) -> int:
    """Waits for --throttle milliseconds after every event, as Android's does."""
    words = _Words(given.words)
    phone = context.phone
    begun = time.monotonic()
    await apps.refresh(phone)
    context.error(f"args: [{', '.join(shown(word) for word in given.words)}]")
    if words.verbose:
        context.out(f":Monkey: seed={words.seed} count={words.count}")
        for package in words.packages:
            context.out(f":AllowPackage: {shown(package)}")
        for category in words.categories or ["android.intent.category.LAUNCHER", "android.intent.category.MONKEY"]:
            context.out(f":IncludeCategory: {shown(category)}")
    matches = [one for package in words.packages or [""] for one in apps.resolve(phone, "", package, apps.MAIN, words.categories)]
    if not matches:
        context.out("** No activities found to run, monkey aborted.")
        return 252
    if words.verbose:
        context.out("// Event percentages:")
        for number, part in enumerate(_PERCENTAGES):
            context.out(f"//   {number}: {part}%")
        context.out(
            ":Switch: #Intent;action=android.intent.action.MAIN;category=android.intent.category.LAUNCHER;"
            f"launchFlags=0x10200000;component={matches[0]};end"
        )
        context.out(
            f"    // Allowing start of Intent {{ act=android.intent.action.MAIN cat=[android.intent.category.LAUNCHER] "
            f"cmp={matches[0]} }} in package {matches[0].partition('/')[0]}"
        )
    chance = random.Random(words.seed)  # noqa: S311 - a monkey's
    width, height = size(phone)
    for number in range(words.count):
        if words.packages:
            if not number or apps.in_front(phone).partition("/")[0] not in words.packages:
                apps.open_component(phone, chance.choice(matches) if number else matches[0])
        else:
            apps.monkey_taps(phone, 1, chance.randrange(1 << 30), width, height)
        if words.verbose > 1:
            context.out(
                f":Sending Touch (ACTION_DOWN): 0:({width // 2}.0,{height // 2}.0)"
                if words.packages
                else ":Sending Touch (ACTION_UP)"
            )
        if words.throttle:
            await context.drain()
            await asyncio.sleep(words.throttle / 1000)
    taken = round((time.monotonic() - begun) * 1000)
    context.out(f"Events injected: {words.count}")
    if words.verbose:
        context.out(":Sending rotation degree=0, persist=false\n:Dropped: keys=0 pointers=0 trackballs=0 flips=0 rotations=0")
    context.out(f"## Network stats: elapsed time={taken}ms (0ms mobile, 0ms wifi, {taken}ms not connected)")
    if words.verbose:
        context.out("// Monkey finished")
    return 0


class _Words:
    """The words of one call: some options may be there several times. Raises Refusal."""

    def __init__(self, words: list[str]) -> None:
        known = OPTIONS.split()
        self.packages: list[str] = []
        self.categories: list[str] = []
        self.verbose = 0
        values: dict[str, str] = {}
        rest: list[str] = []
        following = iter(words)
        for word in following:
            if f"{word}=" in known:
                value = next(following, None)
                if value is None:
                    raise Refusal(f"** Error: Option {word} requires an argument\n{USAGE}", 1)
                if word == "-p":
                    self.packages.append(value)
                elif word == "-c":
                    self.categories.append(value)
                else:
                    values[word] = value
            elif word in known:
                self.verbose += word == "-v"
            elif set(word) == {"-", "v"} and word.startswith("-v"):
                self.verbose += len(word) - 1
            elif word.startswith("-"):
                raise Refusal(f"** Error: Unknown option: {shown(word)}\n{USAGE}", 1)
            else:
                rest.append(word)
        count = whole(rest[0], 0, EVENTS_MAX) if len(rest) == 1 else None
        if not rest:
            raise Refusal(f"** Error: Count not specified\n{USAGE}", 1)
        if count is None:
            raise Refusal(f'** Error: "{shown(rest[0])}" is not a number from 0 to {EVENTS_MAX}\n{USAGE}', 1)
        seed = whole(values.get("-s", "0"), -(1 << 62), 1 << 62)
        throttle = whole(values.get("--throttle", "0"), 0, THROTTLE_MAX)
        if seed is None or throttle is None or throttle * count > WAIT_MAX * 1000:
            raise Refusal(f"** Error: -s takes a number, --throttle milliseconds up to {THROTTLE_MAX}, an hour in all\n{USAGE}", 1)
        self.count, self.seed, self.throttle = count, seed, throttle
