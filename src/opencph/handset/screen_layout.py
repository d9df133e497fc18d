"""Where things are on a phone's screen: a list of items that is drawn, and asked what a finger hit. No pictures here."""

from __future__ import annotations

import time
import unicodedata
import zlib
from bisect import bisect_right
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from opencph.handset.clock import local
from opencph.handset.package_states import FILES, SETTINGS, usable
from opencph.handset.properties import android_version
from opencph.handset.words import speech

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

BACKGROUND, BAR, TEXT, DIM, FIELD, FINGER, CARD = "#10232f", "#0a171f", "#f4f7f8", "#8fa6b2", "#1d3a4b", "#ffb454", "#17303f"
TILES = ("#3d8b7d", "#c28840", "#6d7fb5", "#a3567a", "#5a8f3c", "#8a5fb0", "#b0563f", "#3f87a6")
COLUMNS = 4
KEY_ROWS = ("qwertyuiop", "asdfghjkl", "^zxcvbnm<", " ")
FILES_SHOWN = 40
MORE = "…"
PARAGRAPH_LINES = 6
TURNED = "rotation of a monkey"
#: how broad letters are in the fonts of `drawing.py`, rounded up: in Pillow's own, then in DejaVu Sans, the broadest with others
_BREADTHS = {
    **dict.fromkeys("' ,.:;ijl!|I-f/\\]`{}([t)r\"·", 0.34),
    **dict.fromkeys("abcdeghknopqsuvxyz0123456789?_*#$+<=>^~FJLSEYZKTRVP…", 0.63),
    **dict.fromkeys("BXAUCDGNHQO%&", 0.75),
}
_FIRST_WIDE = 0x2E80  # from the radicals on, letters are Chinese, Japanese or Korean
_ALPHABETS = (range(0xA0, 0x530), range(0x1E00, 0x2000))  # Latin, Greek and Cyrillic, with all their accents
_OTHER_BREADTHS = {  # by the letter, or else without its accents; the other letters of these alphabets are no broader than O
    **dict.fromkeys("fijlrtıſIJіјІЈ", 0.45),
    **dict.fromkeys("abcdeghknopqsuvxyzßðøþđĸŋFLSETYÞŁŦβγδεζθικλμνξοπρςστυχΓΞΣΤабвгезклорстухчьэяґєѕЕГЅУЗРТҐ", 0.65),
    **dict.fromkeys("MWmwÆæĦŉŒœƊƕƜƠƢƯỚỜỞỠỢỨỪỬỮỰǇǊǋȡȵȸȹɚɯɰɱɶʍʣʤʥʦʩͲΑΕΗΜΟΥΩωϒϖϠϢϣϺ", 1.1),
    **dict.fromkeys("ЉЊЖМФШЩЪЫЮжфшщюљњѠѡѤѦѩѬѭѰѱѸѹѺѽѾѿҖҗҠҡҤҥҦҧҨҴҵҼҾӍӔӕԂԃԄԅԈԉԋԕԖԗԘԙԜԝԠԡԢԣ", 1.1),
    **dict.fromkeys("ǄǅǆǱǲǳǶѨѼԊԔ‰‱", 1.75),
}


class Item(NamedTuple):
    """Something on the screen. `box` is left, top, right, bottom in pixels; `kind` says how it is drawn."""

    kind: str  # fill, rounded, text, ring, icon; none: there, but not drawn
    box: tuple[int, int, int, int]
    text: str = ""
    colour: str = TEXT
    size: int = 0  # of the letters, in pixels
    anchor: str = "mm"
    action: str = ""
    pixels: bytes = b""  # of kind "icon": apps' icons, RGBA
    part: bool = False  # drawn for another item, which has its text and action


def size(phone: Phone) -> tuple[int, int]:
    """Width and height in pixels, with `wm size`, ro.horizontal.screen and the rotation counted in."""
    width, height = upright(phone)
    return (height, width) if rotation(phone) % 2 else (width, height)


def upright(phone: Phone) -> tuple[int, int]:
    """The same without the rotation."""
    override = phone.running_state.size
    width, height = map(int, override.split("x")) if override else (phone.booted.width, phone.booted.height)
    if phone.running_properties.get("ro.horizontal.screen") == "1" and width < height:
        return height, width
    return width, height


def rotation(phone: Phone) -> int:
    """Quarter turns, 0 to 3: `settings put system user_rotation N`, `wm user-rotation lock N`; a monkey's go before those."""
    locked = "0" if turns_by_itself(phone) else phone.running_state.settings.get("system", {}).get("user_rotation", "0")
    value = phone.until_reboot.get(TURNED, locked)
    return int(value) if value in ("1", "2", "3") else 0


def turns_by_itself(phone: Phone) -> bool:
    """Whether the screen is to follow how the phone is held, as `wm user-rotation free` says: nobody does, so it is upright."""
    return phone.running_state.settings.get("system", {}).get("accelerometer_rotation") == "1"


def density(phone: Phone) -> int:
    """Dots per inch."""
    return int(phone.running_state.density or phone.booted.dpi)


@cache
def _other_breadth(letter: str) -> float:
    if unicodedata.combining(letter):
        return 0.0
    broadest = 0.8 if letter.isalpha() and any(ord(letter) in alphabet for alphabet in _ALPHABETS) else 1.1
    return _OTHER_BREADTHS.get(letter) or _OTHER_BREADTHS.get(unicodedata.normalize("NFD", letter)[0], broadest)


def breadth(text: str) -> float:
    """At least how broad a line is drawn, in heights of its letters."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return sum(1.1 if ord(c) >= _FIRST_WIDE else _BREADTHS.get(c) or _other_breadth(c) for c in text)


def fit(text: str, room: float) -> str:
    """As much of a line as is no broader than `room` heights of its letters; what was cut ends in an ellipsis."""
    if breadth(text) <= room:
        return text
    more = breadth(MORE)
    fitting = bisect_right(range(len(text)), room, key=lambda count: breadth(text[:count]) + more)
    return text[: max(0, fitting - 1)].rstrip() + MORE


def wrapped(text: str, room: float, most: int) -> list[str]:
    """A text in lines no broader than `room` heights of its letters; words that are broader are broken. At most `most` lines."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if breadth(joined) <= room:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and breadth(lines[-1] + letter) > room:
                lines.append("")
            lines[-1] += letter
    return lines if len(lines) <= most else [*lines[: most - 1], fit(" ".join(lines[most - 1 :]), room)]


class _Layout:
    def __init__(self, phone: Phone) -> None:
        self.phone = phone
        self.screen = phone.running_screen
        self.speech = speech(phone)
        self.say = self.speech.say
        self.width, self.height = size(phone)
        self.unit = max(4, min(self.width, self.height) // 36)
        self.items: list[Item] = []
        properties = phone.running_properties
        self.bar = 0 if properties.get("disable.status.bar") == "1" else 2 * self.unit
        hidden = "1" in (properties.get("com.cph.mainkeys"), properties.get("qemu.hw.mainkeys"))
        self.keys = 0 if hidden else 3 * self.unit

    def add(self, item: Item) -> None:
        self.items.append(item)

    def text(
        self, x: int, y: int, text: str, size: float, colour: str = TEXT, anchor: str = "mm", action: str = "", part: bool = False
    ) -> None:
        letters = int(size * self.unit)
        room = {"l": self.width - x, "m": 2 * min(x, self.width - x), "r": x}[anchor[0]]
        text = fit(text, room / max(1, letters))
        wide = max(1, int(breadth(text) * letters))
        left = x if anchor[0] == "l" else x - wide if anchor[0] == "r" else x - wide // 2
        box = (max(0, left), max(0, y - letters), min(self.width, left + wide), min(self.height, y + letters))
        self.add(Item("text", box, text, colour, letters, f"{anchor}{x},{y}", action, part=part))

    def tile(self, x: int, y: int, label: str, key: str, action: str, icon: bytes = b"", wide: int = 0) -> None:
        """An icon above its label. What can be tapped is one thing with the label's text, as in a launcher."""
        unit = self.unit
        wide = wide or 8 * unit
        tapped = bool(action)
        box = (x - 2 * unit, y - 2 * unit, x + 2 * unit, y + 2 * unit)
        if tapped:
            self.add(Item("none", (x - wide // 2, y - 2 * unit, x + wide // 2, y + 4 * unit), label, action=action))
        if icon:
            self.add(Item("icon", box, label, pixels=icon, part=tapped))
        else:
            colour = TILES[zlib.crc32(key.encode()) % len(TILES)]
            self.add(Item("rounded", box, "", colour, unit, part=tapped))
            self.text(x, y, (label or key)[:1].upper(), 2.2, part=True)
        self.text(x, y + 3 * unit, fit(label, wide / unit - 0.5), 1, part=tapped)

    def row(self, y: int, left: str, right: str, action: str = "") -> int:
        unit, letters = self.unit, int(1.2 * self.unit)
        room = (self.width - 4 * unit) / letters
        left = fit(left, max(room / 2, room - 1 - breadth(right)) if right else room)
        self.add(Item("rounded", (unit, y, self.width - unit, y + 3 * unit), "", CARD, unit // 2, action=action))
        self.text(2 * unit, y + unit * 3 // 2, left, 1.2, DIM, "lm")
        self.text(self.width - 2 * unit, y + unit * 3 // 2, fit(right, room - 1 - breadth(left)), 1.2, TEXT, "rm")
        return y + unit * 7 // 2

    # pages

    def lock(self) -> None:
        unit, middle = self.unit, self.width // 2
        self.text(middle, self.height // 3, time.strftime("%H:%M", local(self.phone)), 6)
        self.text(middle, self.height // 3 + 5 * unit, self.speech.date(local(self.phone)), 1.5, DIM)
        self.text(middle, self.height * 9 // 10, self.say("Locked. Swipe up, or `input keyevent MENU`"), 1.2, DIM, action="unlock")

    def home(self) -> None:
        unit, middle, top = self.unit, self.width // 2, self.height // 6
        self.text(middle, top, time.strftime("%H:%M", local(self.phone)), 5)
        self.text(middle, top + 4 * unit, self.speech.date(local(self.phone)), 1.5, DIM)
        field = top + 6 * unit
        self.add(Item("rounded", (2 * unit, field, self.width - 2 * unit, field + 3 * unit), "", FIELD, unit, action="focus:"))
        shown = self.screen.text or self.say("Search")
        self.text(3 * unit, field + unit * 3 // 2, shown[-40:], 1.5, TEXT if self.screen.text else DIM, "lm", "focus:")
        wanted = self.screen.text.casefold()
        pages = [page for page in (SETTINGS, FILES) if usable(self.phone, page.package)]
        apps = [(self.say(page.label), page.label, f"page:{page.page}", b"") for page in pages]
        apps += [(app.label or app.package, app.package, f"app:{app.package}", app.icon) for app in self.screen.apps]
        apps = [app for app in apps if wanted in app[0].casefold() or wanted in app[1].casefold()]
        columns = COLUMNS if self.width < self.height else 2 * COLUMNS
        step = (self.width - 4 * unit) // columns
        first = field + 6 * unit - self.screen.scroll
        for number, (label, key, action, icon) in enumerate(apps):
            y = first + number // columns * 8 * unit
            if field + 5 * unit <= y < self.height - 9 * unit:
                self.tile(2 * unit + step * (number % columns) + step // 2, y, label, key, action, icon, step)
        bottom = self.height - self.keys
        self.text(middle, bottom - 3 * unit, self.phone.config.name, 1.5)
        facts = f"{self.say('OpenCPH handset, not Android')}  ·  {self.phone.booted.model_name}"
        self.text(middle, bottom - unit, facts, 0.9, DIM)

    def settings(self) -> None:
        phone, config = self.phone, self.phone.booted
        release, sdk = android_version(config.image_version)
        disk = phone.disk
        turned = ("portrait", "right", "upside down", "left")[rotation(phone)]
        y = self.title(self.say("Settings")) - self.screen.scroll
        rows = (
            ("Name", phone.config.name),
            ("This is", self.say("an OpenCPH handset, not Android")),
            ("Answers as", f"Android {release}, SDK {sdk}"),
            ("Image", config.image_version),
            ("Model", config.model_name),
            ("Address", f"{config.ip}:{phone.adb_port}"),
            ("Screen", f"{self.width}x{self.height}, {density(phone)} dpi, {self.say(turned)}"),
            ("Disk", f"{min(disk.used(), disk.limit) >> 20} of {disk.limit >> 20} MiB"),
            ("Memory", f"{config.memory_bytes >> 20} MiB"),
            ("Network", phone.running_properties.get("sys.prop.writewifissid") or self.say("none")),
            ("Operator", phone.running_properties.get("gsm.operator.alpha")),
            ("Language", self.speech.locale),
            ("Boots", str(phone.boots)),
            ("Apps", str(len(self.screen.apps))),
        )
        for left, right in rows:
            if y >= self.bar + 5 * self.unit:
                self.row(y, self.say(left), right)
            y += self.unit * 7 // 2
            if y > self.height - self.keys - 4 * self.unit:
                break

    def title(self, text: str) -> int:
        self.text(2 * self.unit, self.bar + 2 * self.unit, text, 2, TEXT, "lm")
        return self.bar + 5 * self.unit

    def files(self) -> None:
        y = self.title("/sdcard")
        try:
            names = sorted(
                name.decode("utf-8", "replace") for name, _ in self.phone.files.list("/sdcard") if name not in (b".", b"..")
            )
        except OSError:
            names = []
        for name in names[:FILES_SHOWN]:
            if y > self.height - self.keys - 4 * self.unit:
                break
            y = self.row(y, name, "")

    def recents(self) -> None:
        y = self.title(self.say("Recent apps" if self.screen.recent else "No recent apps"))
        for app in self.screen.recent:
            label = self.say(app.label) if app.page else app.label or app.package
            y = self.row(y, label, app.package, f"page:{app.page}" if app.page else f"app:{app.package}")
        if self.screen.recent:
            self.row(y, self.say("Clear all"), "", "clear-recent:")

    def app(self) -> None:
        app, unit, middle = self.screen.app, self.unit, self.width // 2
        if app is None:
            self.home()
            return
        self.add(Item("rounded", (unit, self.bar + unit, self.width - unit, self.height - self.keys - unit), "", CARD, unit))
        name, say = app.label or app.package, self.say
        if self.width < self.height:
            x, top, room = middle, self.bar + 12 * unit, self.width - 4 * unit
            self.tile(middle, self.bar + 6 * unit, name, app.package, "", app.icon)
        else:
            x, top, room = (self.width + 9 * unit) // 2, self.bar + 3 * unit, self.width - 14 * unit
            self.tile(6 * unit, self.bar + 5 * unit, name, app.package, "", app.icon)
        texts = [
            (app.package, 1.0, DIM),
            (say("version {0}", app.version) if app.version else "", 1.0, DIM),
            (app.activity, 1.0, DIM),
            (say("{0} is installed,", name), 1.3, TEXT),
            (say("but this is an OpenCPH handset, not Android:"), 1.3, TEXT),
            (say("it runs no apps. This card is all there is."), 1.3, TEXT),
            (say("{0} is suspended.", name) if app.suspended else "", 1.3, FINGER),
            (say("It would need:"), 1.0, TEXT),
            *((line, 1.0, DIM) for line in app.lines),
        ]
        self.paragraphs(x, top, room, self.height - self.keys - 2 * unit - top, [one for one in texts if one[0]])

    def paragraphs(self, x: int, y: int, wide: int, high: int, texts: list[tuple[str, float, str]]) -> None:
        """Texts below each other around x, in a space of this size; where it is full, the last line says how many are left out."""
        unit = self.unit
        broken = [wrapped(text, wide / max(1, int(size * unit)), PARAGRAPH_LINES) for text, size, _ in texts]
        count = sum(map(len, broken))
        step = max(unit * 3 // 2, min(2 * unit, high // max(1, count)))
        left = high // step
        for number, ((text, size, colour), lines) in enumerate(zip(texts, broken, strict=True)):
            if len(lines) > left - (number < len(texts) - 1):
                self.text(x, y, f"+{len(texts) - number}", 1.0, DIM)
                return
            if len(lines) > 1:
                self.add(Item("none", (x - wide // 2, y - unit, x + wide // 2, y + step * (len(lines) - 1) + unit), text))
            for line in lines:
                self.text(x, y, line, size, colour, part=len(lines) > 1)
                y += step
            left -= len(lines)

    # over every page

    def shade(self) -> None:
        unit = self.unit
        self.add(Item("rounded", (unit, self.bar, self.width - unit, self.bar + 9 * unit), "", BAR, unit))
        self.text(2 * unit, self.bar + 2 * unit, self.say("Notifications"), 1.5, TEXT, "lm")
        self.text(2 * unit, self.bar + 5 * unit, self.say("ADB connected: this phone can be debugged"), 1.1, DIM, "lm")

    def keyboard(self) -> None:
        unit = self.unit
        top = self.height - self.keys - 14 * unit
        self.add(Item("fill", (0, top, self.width, self.height - self.keys), "", BAR, action="none:"))
        for number, letters in enumerate(KEY_ROWS):
            step = self.width // 10 if letters != " " else self.width * 3 // 5
            left = (self.width - step * len(letters)) // 2
            y = top + unit // 2 + number * 7 * unit // 2
            for position, letter in enumerate(letters):
                key = letter.upper() if self.screen.upper and letter.isalpha() else letter
                action = {"^": "shift:", "<": "key:67"}.get(letter, f"type:{key}")
                x = left + position * step
                self.add(Item("rounded", (x + 3, y, x + step - 3, y + 3 * unit), "", FIELD, unit // 2, action=action))
                self.text(x + step // 2, y + unit * 3 // 2, {"^": "Aa", "<": "Del", " ": self.say("space")}.get(letter, key), 1.5)

    def frame(self) -> None:
        unit = self.unit
        if self.bar:
            self.add(Item("fill", (0, 0, self.width, self.bar), "", BAR))
            self.text(unit, unit, time.strftime("%H:%M", local(self.phone)), 1, TEXT, "lm")
            self.text(self.width - unit, unit, "100%  ADB", 1, TEXT, "rm")
        if self.keys and not self.screen.locked:
            for part, code in ((1, 4), (2, 3), (3, 187)):
                x, y = self.width * part // 4, self.height - unit * 3 // 2
                box = (x - self.width // 8, self.height - self.keys, x + self.width // 8, self.height)
                self.add(Item("none", box, action=f"key:{code}"))
                self.add(Item("ring", (x - unit // 2, y - unit // 2, x + unit // 2, y + unit // 2), "", DIM, 2))


def layout(phone: Phone) -> list[Item]:
    """Everything that is on the screen, from back to front. A screen that is off shows nothing."""
    made = _Layout(phone)
    screen = made.screen
    if not screen.on:
        return [Item("fill", (0, 0, made.width, made.height), "", "#000000")]
    made.add(Item("fill", (0, 0, made.width, made.height), "", BACKGROUND))
    if screen.locked:
        made.lock()
    else:
        page = {"settings": made.settings, "files": made.files, "recents": made.recents, "app": made.app}.get(
            screen.page, made.home
        )
        page()
        if screen.focused:
            made.keyboard()
    made.frame()
    if screen.shade and not screen.locked:
        made.shade()
    if screen.touch is not None:
        x, y = screen.touch
        unit = made.unit
        made.add(Item("ring", (x - unit, y - unit, x + unit, y + unit), "", FINGER, max(2, unit // 5)))
    return made.items


def hit(phone: Phone, x: int, y: int) -> str:
    """The action of what is under a finger; empty where nothing is."""
    for item in reversed(layout(phone)):
        left, top, right, bottom = item.box
        if item.action and left <= x < right and top <= y < bottom:
            return item.action
    return ""
