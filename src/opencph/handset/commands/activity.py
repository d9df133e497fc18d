"""am and monkey: what starts, stops and pokes apps. A started app is an honest card on the screen."""

from __future__ import annotations

import time

from opencph.handset import apps
from opencph.handset.commands import Context
from opencph.handset.screen_layout import size
from opencph.handset.screen_state import App

NO_APPS = "an OpenCPH handset is not Android and runs no apps"
MONKEY_EVENTS_MAX = 10_000
WITH_VALUE = frozenset(
    ("-a", "-d", "-t", "-c", "-n", "-f", "-p", "--user", "--display", "--windowingMode", "-P", "--es", "--ei", "--ez")
)
TWO_VALUES = frozenset(("--es", "--ei", "--ez", "--el", "--ef", "--eu", "-e"))


class _Intent:
    """What follows `am start` and its kin."""

    def __init__(self, words: list[str]) -> None:
        self.action = self.data = self.component = self.package = ""
        self.categories: list[str] = []
        self.wait = self.stop_first = False
        at = 0
        while at < len(words):
            word = words[at]
            value = words[at + 1] if at + 1 < len(words) else ""
            if word == "-a":
                self.action = value
            elif word == "-d":
                self.data = value
            elif word == "-n":
                self.component = value
            elif word == "-p":
                self.package = value
            elif word == "-c":
                self.categories.append(value)
            elif word == "-W":
                self.wait = True
            elif word == "-S":
                self.stop_first = True
            elif not word.startswith("-"):
                if "/" in word and ":" not in word:
                    self.component = word
                elif ":" in word:
                    self.data = word
                else:
                    self.package = word
            at += 3 if word in TWO_VALUES else 2 if word in WITH_VALUE else 1

    def __str__(self) -> str:
        parts = [f"act={self.action}" if self.action else "", *(f"cat=[{each}]" for each in self.categories)]
        parts += [f"dat={self.data}" if self.data else "", f"pkg={self.package}" if self.package else ""]
        parts.append(f"cmp={_short(self.component)}" if self.component else "")
        return "Intent { " + " ".join(part for part in parts if part) + " }"


def _short(component: str) -> str:
    package, _, activity = component.partition("/")
    return f"{package}/{activity.removeprefix(package) if activity.startswith(package + '.') else activity}"


async def am(context: Context) -> int:
    """start, force-stop, broadcast, startservice, instrument, stack list, get-current-user, switch-user."""
    match context.args:
        case ["get-current-user"]:
            context.out("0")
        case ["force-stop" | "kill" | "stop-app", *words] if words:
            context.phone.running_screen.close_app(words[-1])
        case ["kill-all" | "idle-maintenance" | "clear-watch-heap" | "set-debug-app" | "clear-debug-app", *_]:
            pass
        case ["switch-user", "0"]:
            pass
        case ["start" | "start-activity", *words] if words:
            return await _start(context, _Intent(words))
        case ["startservice" | "start-service" | "start-foreground-service" | "startforegroundservice", *words]:
            context.out(f"Starting service: {_Intent(words)}")
            return context.error(f"Error: Not found; no service started: {NO_APPS}")
        case ["stopservice" | "stop-service", *words]:
            context.out(f"Stopping service: {_Intent(words)}")
            return context.error("Service not stopped: was not running.")
        case ["broadcast", *words]:
            context.out(f"Broadcasting: {_Intent(words)}\nBroadcast completed: result=0")
        case ["instrument", *words] if words:
            context.out(f"INSTRUMENTATION_STATUS: Error=Unable to find instrumentation info for: {words[-1]}: {NO_APPS}")
            context.out(f"INSTRUMENTATION_STATUS_CODE: -1\nINSTRUMENTATION_FAILED: {words[-1]}")
            return 1
        case ["stack" | "task", "list", *_]:
            context.out(f"Stack id=0 displayId=0 userId=0\n  taskId=1: {apps.in_front(context.phone)} visible=true")
        case _:
            return context.error(f"am: unknown command {' '.join(context.args[:1])!r}: {NO_APPS}")
    return 0


async def _start(context: Context, intent: _Intent) -> int:
    phone = context.phone
    begun = time.monotonic()
    await apps.refresh(phone)
    package = intent.component.partition("/")[0] or intent.package
    context.out(f"Starting: {intent}")
    app = apps.find(phone, package)
    page = _page(intent, package)
    if page:
        screen = phone.running_screen
        screen.on, screen.locked = True, False
        screen.show(page)
    elif app is not None and (not intent.component or _has(app, intent.component)):
        if intent.stop_first:
            phone.running_screen.close_app(package)
        apps.open_app(phone, app)
    elif intent.component:
        activity = intent.component.partition("/")[2]
        full = f"{package}/{package + activity if activity.startswith('.') else activity}"
        context.error(f"Error type 3\nError: Activity class {{{full}}} does not exist.")
        return 1
    else:
        context.error(f"Error: Activity not started, unable to resolve {intent}")
        return 1
    if intent.wait:
        taken = round((time.monotonic() - begun) * 1000)
        where = apps.in_front(phone)
        context.out(f"Status: ok\nLaunchState: COLD\nActivity: {where}\nTotalTime: {taken}\nWaitTime: {taken}\nComplete")
    return 0


def _page(intent: _Intent, package: str) -> str:
    """A page of the handset's own that the intent means."""
    if package == "com.android.settings" or intent.action.startswith("android.settings."):
        return "settings"
    if package == "com.android.documentsui":
        return "files"
    if "android.intent.category.HOME" in intent.categories or package == apps.LAUNCHER.partition("/")[0]:
        return "home"
    return ""


def _has(app: App, component: str) -> bool:
    activity = component.partition("/")[2]
    full = app.package + activity if activity.startswith(".") else activity
    return not app.activity or full in (app.activity, app.package + app.activity)


async def monkey(context: Context) -> int:
    """-p PACKAGE ... COUNT opens an app; without a package it is that many random taps. -s SEED makes them the same again."""
    phone, words = context.phone, context.args
    packages = [words[at + 1] for at, word in enumerate(words[:-1]) if word == "-p"]
    seeds = [words[at + 1] for at, word in enumerate(words[:-1]) if word == "-s"]
    count = words[-1] if words else ""
    if not count.isdecimal() or (seeds and not seeds[0].isdecimal()):
        return context.error("usage: monkey [-p PACKAGE] [-c CATEGORY] [-s SEED] [--throttle MS] [-v] COUNT")
    if int(count) > MONKEY_EVENTS_MAX:
        return context.error(f"monkey: COUNT is at most {MONKEY_EVENTS_MAX}")
    begun = time.monotonic()
    await apps.refresh(phone)
    if packages:
        app = apps.find(phone, packages[0])
        if app is None:
            context.out("** No activities found to run, monkey aborted.")
            return 252
        apps.open_app(phone, app)
    else:
        apps.monkey_taps(phone, int(count), int(seeds[0]) if seeds else 0, *size(phone))
    taken = round((time.monotonic() - begun) * 1000)
    context.out(
        f"Events injected: {count}\n## Network stats: elapsed time={taken}ms (0ms mobile, 0ms wifi, {taken}ms not connected)"
    )
    return 0
