"""Apps as a phone's user meets them: on the home screen, started, stopped. A started app is a card; nothing is executed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from opencph.handset.screen_state import App

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

LAUNCHER = "com.opencph.handset.launcher/.Home"
SETTINGS = "com.android.settings/.Settings"
FILES = "com.android.documentsui/.files.FilesActivity"
PAGES = {"settings": SETTINGS, "files": FILES}


async def refresh(phone: Phone) -> tuple[App, ...]:
    """What is installed, as the screen shows it from now on. A phone whose disk nobody touched is not touched either."""
    screen = phone.running_screen
    try:
        stamp = (phone.config.directory / "data" / "app").stat().st_mtime_ns
    except OSError:
        stamp = 0
    if stamp == screen.apps_stamp:
        return screen.apps
    from opencph.handset import packages

    found = []
    for name, package in (await packages.installed(phone)).items() if stamp else ():
        wants = ", ".join(permission.rpartition(".")[2].lower() for permission in package.permissions[:3])
        needs = f"It would need Android with SDK {package.min_sdk or 1} or newer" + (f", and: {wants}" if wants else "")
        activity = package.main_activity or (package.activities[0] if package.activities else "")
        found.append(App(name, package.label or name, activity, package.version_name, needs))
    screen.apps, screen.apps_stamp = tuple(found), stamp
    gone = {app.package for app in screen.recent} - {app.package for app in found}
    for name in gone:
        screen.close_app(name)
    screen.version += 1
    return screen.apps


def find(phone: Phone, package: str) -> App | None:
    """An app by its package; `refresh` comes before."""
    return next((app for app in phone.running_screen.apps if app.package == package), None)


def open_app(phone: Phone, app: App) -> None:
    """Show its card, on a screen that is awake."""
    screen = phone.running_screen
    screen.on, screen.locked = True, False
    screen.show("app", app)
    phone.note("ActivityTaskManager", f"START u0 {{cmp={component(app)}}}: a card, for this is not Android")


def component(app: App) -> str:
    """package/activity, the activity in its short form."""
    activity = app.activity or f"{app.package}.Main"
    return f"{app.package}/{activity.removeprefix(app.package) if activity.startswith(app.package + '.') else activity}"


def in_front(phone: Phone) -> str:
    """The component on the screen."""
    screen = phone.running_screen
    if screen.page == "app" and screen.app is not None:
        return component(screen.app)
    return PAGES.get(screen.page, LAUNCHER)


def monkey_taps(phone: Phone, count: int, seed: int, width: int, height: int) -> None:
    """Random fingers, the same ones for the same seed."""
    from opencph.handset.screen_layout import hit

    chance = random.Random(seed)  # noqa: S311 - a monkey's
    for _ in range(count):
        x, y = chance.randrange(width), chance.randrange(height)
        phone.running_screen.tap(x, y, hit(phone, x, y))
