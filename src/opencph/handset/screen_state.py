"""What a phone's screen shows and how it reacts to fingers and keys, as facts. Where things are is in `screen_layout.py`."""

from __future__ import annotations

from typing import NamedTuple

from opencph.handset import package_states

TEXT_MAX = 256
FIRST_PID = 20_001
POWER, HOME, BACK, MENU, RECENTS, ENTER, DELETE, SPACE, TAB = 26, 3, 4, 82, 187, 66, 67, 62, 61
SLEEP, WAKE_UP, FORWARD_DELETE, ESCAPE, SETTINGS, NOTIFICATION = 223, 224, 112, 111, 176, 83


class App(NamedTuple):
    """An installed app, as the home screen and its card show it."""

    package: str
    label: str
    activity: str = ""
    version: str = ""
    needs: str = ""
    lines: tuple[str, ...] = ()  # what it would need, a line each
    icon: bytes = b""  # 96 x 96 pixels of RGBA; empty: its letter
    suspended: bool = False
    activities: tuple[str, ...] = ()
    uid: int = 0
    page: str = ""  # of the handset, which is no card


PAGES = {
    one.page: App(one.package, one.label, one.activity, uid=one.uid, page=one.page)
    for one in (package_states.SETTINGS, package_states.FILES)
}


class ScreenState:
    """The screen of a running phone. `version` changes with every change, so that a picture is drawn once."""

    __slots__ = (
        "app",
        "apps",
        "apps_locale",
        "apps_stamp",
        "cached",
        "cached_for",
        "focused",
        "locked",
        "on",
        "page",
        "pids",
        "recent",
        "scroll",
        "shade",
        "text",
        "touch",
        "upper",
        "version",
    )

    def __init__(self) -> None:
        self.on = True
        self.locked = False
        self.page = "home"  # home, settings, files, recents, app
        self.app: App | None = None  # whose card is shown on page app
        self.apps: tuple[App, ...] = ()
        self.apps_stamp = 0  # of the directory that they were read from
        self.apps_locale = ""  # the language that they were read in
        self.recent: list[App] = []  # what is open: cards, and pages that were
        self.pids: dict[str, int] = {}  # of the cards that are open, by package: numbers as processes have them
        self.shade = False  # the notification shade is pulled down
        self.focused = False  # the search field: the keyboard is there
        self.upper = False
        self.scroll = 0  # pixels
        self.text = ""
        self.touch: tuple[int, int] | None = None
        self.version = 0
        self.cached = b""
        self.cached_for: tuple[object, ...] = ()

    def show(self, page: str, app: App | None = None) -> None:
        """Bring a page to the front."""
        self.page, self.app = page, app
        self.shade = self.focused = False
        self.scroll = 0
        opened = app or PAGES.get(page)
        if opened is not None:
            self.recent = [opened, *(each for each in self.recent if each.package != opened.package)][:8]
        if app is not None:
            self.pids.setdefault(app.package, max(self.pids.values(), default=FIRST_PID - 1) + 1)
        self.version += 1

    def close_app(self, package: str) -> None:
        """The app is stopped: its card goes, or its page."""
        shown = PAGES.get(self.page) or self.app
        self.recent = [each for each in self.recent if each.package != package]
        self.pids.pop(package, None)
        if shown is not None and shown.package == package:
            self.show("home")

    def act(self, action: str) -> None:
        """What a tap on an item of the layout does."""
        kind, _, rest = action.partition(":")
        if kind == "page":
            self.show(rest)
        elif kind == "app":
            self.show("app", next((each for each in (*self.apps, *self.recent) if each.package == rest), None))
        elif kind == "key":
            self.key(int(rest))
        elif kind == "type":
            self.type(rest)
        elif kind == "focus":
            self.focused = True
        elif kind == "shift":
            self.upper = not self.upper
        elif kind == "unlock":
            self.locked = False
        elif kind == "clear-recent":
            self.recent, self.pids = [], {}
        elif kind == "blank":
            self.focused = self.shade = False
        self.version += 1

    def tap(self, x: int, y: int, action: str = "") -> None:
        """A finger at x, y (pixels), on whatever is there."""
        if not self.on:
            return
        self.touch = (x, y)
        self.act(action or "blank")

    def swipe(self, start: tuple[int, int], end: tuple[int, int], height: int) -> None:
        """A finger that moves: up unlocks and scrolls, down from the top pulls the shade."""
        if not self.on:
            return
        self.touch = end
        down = end[1] - start[1]
        if self.locked:
            self.locked = down > -height // 8
        elif start[1] < height // 20 and down > height // 8:
            self.shade = True
        elif self.shade and down < 0:
            self.shade = False
        elif start[1] > height * 19 // 20 and down < -height // 8:
            self.show("home")
        else:
            self.scroll = max(0, min(self.scroll - down, 4 * height))
        self.version += 1

    def type(self, text: str) -> None:
        """Characters from the keyboard."""
        if self.on and not self.locked:
            self.text = (self.text + text)[-TEXT_MAX:]
            self.version += 1

    def key(self, code: int) -> None:
        """A key, by its Android code."""
        if code == POWER:
            code = SLEEP if self.on else WAKE_UP
        if code == SLEEP:
            self.on, self.locked, self.focused = False, True, False
        elif code == WAKE_UP:
            self.on = True
        elif self.on and self.locked:
            self.locked = code != MENU
        elif self.on:
            self._key_on(code)
        self.version += 1

    def _key_on(self, code: int) -> None:
        if code in (DELETE, FORWARD_DELETE):
            self.text = self.text[:-1]
        elif code == ENTER:
            self.text = ""
            self.focused = False
        elif code in (BACK, ESCAPE):
            if self.focused or self.shade:
                self.focused = self.shade = False
            elif self.page == "home":
                self.text, self.touch = "", None
            else:
                self.show("home")
        elif code == HOME:
            self.text, self.touch = "", None
            self.show("home")
        elif code == RECENTS:
            self.show("recents")
        elif code == SETTINGS:
            self.show("settings")
        elif code == NOTIFICATION:
            self.shade = True
        elif 29 <= code <= 54:
            self.type(chr(code - 29 + ord("a")))
        elif 7 <= code <= 16:
            self.type(chr(code - 7 + ord("0")))
        elif code in (SPACE, TAB):
            self.type(" ")
