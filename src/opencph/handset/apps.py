"""Apps as a phone's user meets them: on the home screen, started, stopped. A started app is a card; nothing is executed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opencph.handset import package_states, words
from opencph.handset.package_states import LAUNCHER, SYSTEM, SystemPackage
from opencph.handset.screen_state import App

if TYPE_CHECKING:
    from opencph.handset.packages import Package
    from opencph.handset.phone import Phone

SHOWN_MAX = 3  # permissions and features named on a card
NAME_MAX = 40  # characters of each
PAGE_TASKS = {"home": 1, "settings": 2, "files": 3}  # the numbers of their tasks
MAIN, CATEGORY = "android.intent.action.MAIN", "android.intent.category."


async def refresh(phone: Phone) -> tuple[App, ...]:
    """What is installed, as the screen shows it from now on. A phone whose disk nobody touched is not touched either."""
    screen = phone.running_screen
    try:
        stamp = (phone.config.directory / "data" / "app").stat().st_mtime_ns
    except OSError:
        stamp = 0
    if stamp == screen.apps_stamp and screen.apps_locale == words.locale(phone):
        return screen.apps
    from opencph.handset import packages

    speech = words.speech(phone)
    found = [_app(phone, speech, package) for package in (await packages.installed(phone)).values()] if stamp else []
    screen.apps = tuple(app for app in found if package_states.usable(phone, app.package))
    screen.apps_stamp, screen.apps_locale = stamp, words.locale(phone)
    gone = {app.package for app in screen.recent if not app.page} - {app.package for app in screen.apps}
    for name in gone:
        screen.close_app(name)
    fresh = {app.package: app for app in screen.apps}
    screen.recent = [app if app.page else fresh[app.package] for app in screen.recent]
    if screen.app is not None:
        screen.app = fresh.get(screen.app.package)
    screen.version += 1
    return screen.apps


def _app(phone: Phone, speech: words.Speech, package: Package) -> App:
    from opencph.handset import packages

    name = package.package
    activity = package.main_activity or (package.activities[0] if package.activities else "")
    needs = speech.say("Android with SDK {0} or newer", package.min_sdk or 1)
    processor = speech.say("a processor for {0}", ", ".join(package.abis)) if package.abis else speech.say("any processor")
    lines = [needs, processor]
    if package.features:
        features = _some([feature.rpartition(".")[2][:NAME_MAX] for feature in package.features])
        lines.append(speech.say("features: {0}", features))
    if package.permissions:
        allowed = {True: speech.say("allowed"), False: speech.say("not allowed")}
        named = [
            f"{permission.rpartition('.')[2].lower()[:NAME_MAX]} ({allowed[package_states.granted(phone, package, permission)]})"
            for permission in package.permissions
        ]
        lines.append(speech.say("permissions: {0}", _some(named)))
    else:
        lines.append(speech.say("no permissions"))
    lines.append(speech.say("Signed with scheme v{0}", package.scheme) if package.scheme else speech.say("Not signed"))
    return App(
        name,
        speech.label(package.labels, package.label) or name,
        activity,
        package.version_name,
        needs,
        tuple(lines),
        packages.icon(phone, package),
        package_states.of(phone, name).suspended,
        package.activities,
        package.uid,
    )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN_MAX])
    return f"{shown} +{len(names) - SHOWN_MAX}" if len(names) > SHOWN_MAX else shown


def find(phone: Phone, package: str) -> App | None:
    """An app by its package; `refresh` comes before. Disabled and hidden ones are not there."""
    return next((app for app in phone.running_screen.apps if app.package == package), None)


def system_page(phone: Phone, package: str) -> SystemPackage | None:
    """A page of the handset's own by the package that it answers as, unless that is disabled."""
    found = SYSTEM.get(package)
    return found if found is not None and found.page and package_states.usable(phone, package) else None


def resolve(phone: Phone, component: str, package: str, action: str, categories: list[str]) -> list[str]:
    """The components, in their short form, that an intent's fields mean; `refresh` comes before."""
    if component:
        name, _, full = long(component).partition("/")
        page, app = system_page(phone, name), find(phone, name)
        if page is not None:
            return [_component(page)] if full == page.activity else []
        if app is not None and (not app.activity or full in (*app.activities, app.activity)):
            return [short(name, full)]
        return []
    if action.startswith("android.settings."):
        page = system_page(phone, "com.android.settings")
        return [_component(page)] if page is not None and package in ("", page.package) else []
    if action not in ("", MAIN) or not (package or action):
        return []
    wanted = {category.removeprefix(CATEGORY) for category in categories}
    if "HOME" in wanted:
        return [_component(LAUNCHER)] if package in ("", LAUNCHER.package) else []
    if wanted - {"LAUNCHER", "DEFAULT", "INFO", "MONKEY"}:
        return []
    pages = [page for name in SYSTEM if (page := system_page(phone, name)) is not None]
    names = [(page.package, page.activity) for page in pages if package or page.page != "home"]
    names += [(app.package, app.activity) for app in phone.running_screen.apps if app.activity]
    return [short(name, activity) for name, activity in names if package in ("", name)]


def open_component(phone: Phone, found: str) -> None:
    """Bring what `resolve` found to the front, on a screen that is awake."""
    package = found.partition("/")[0]
    page = system_page(phone, package)
    app = find(phone, package)
    screen = phone.running_screen
    screen.on, screen.locked = True, False
    if page is not None:
        screen.show(page.page)
    elif app is not None:
        screen.show("app", app)
    phone.note("ActivityTaskManager", f"START u0 {{cmp={found}}}: {'a page' if page else 'a card, for this is not Android'}")


def open_app(phone: Phone, app: App) -> None:
    """Show its card."""
    open_component(phone, component(app))


def short(package: str, activity: str) -> str:
    """package/activity, the activity in its short form."""
    return f"{package}/{activity.removeprefix(package) if activity.startswith(package + '.') else activity}"


def long(component: str) -> str:
    """package/activity in either form, the activity in its long form."""
    package, _, activity = component.partition("/")
    return f"{package}/{package + activity if activity.startswith('.') else activity}"


def _component(page: SystemPackage) -> str:
    return short(page.package, page.activity)


def component(app: App) -> str:
    """Its launcher activity in its short form."""
    return short(app.package, app.activity or f"{app.package}.Main")


def in_front(phone: Phone) -> str:
    """The component on the screen."""
    screen = phone.running_screen
    if screen.page == "app" and screen.app is not None:
        return component(screen.app)
    page = next((one for one in SYSTEM.values() if one.page == screen.page and one.page), None)
    return _component(page or LAUNCHER)


def tasks(phone: Phone) -> list[tuple[int, str, int, int]]:
    """(task, component, pid, uid) of what is open, the front one first. Cards have a number like a process, but are none."""
    screen = phone.running_screen
    front = in_front(phone)
    rows: list[tuple[int, str, int, int]] = []
    if screen.page != "app":
        page = SYSTEM[front.partition("/")[0]]
        rows.append((PAGE_TASKS[page.page], front, 0, page.uid))
    for app in sorted(screen.recent, key=lambda one: one != screen.app or screen.page != "app"):
        pid = screen.pids.get(app.package, 0)
        if not app.page or component(app) != front:
            rows.append((pid or PAGE_TASKS[app.page], component(app), pid, app.uid))
    return rows
