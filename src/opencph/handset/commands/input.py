"""input: fingers and keys. What they do on the screen is `screen_state.py`."""

from __future__ import annotations

import re

from opencph.handset import apps
from opencph.handset.commands import Context
from opencph.handset.commands.options import Given, Refusal, shown, text, threw, whole
from opencph.handset.commands.table import entry
from opencph.handset.screen_layout import hit, size

SOURCES = ("touchscreen", "keyboard", "touchpad", "mouse", "dpad", "stylus", "gamepad", "joystick", "touchnavigation", "trackball")
USAGE = "usage: input [SOURCE] tap X Y | swipe X1 Y1 X2 Y2 [MS] | text STRING | keyevent KEY... | motionevent DOWN|UP|MOVE X Y"
_NAMES = {
    "HOME": 3, "BACK": 4, "CALL": 5, "ENDCALL": 6, "STAR": 17, "POUND": 18, "DPAD_UP": 19, "DPAD_DOWN": 20, "DPAD_LEFT": 21,
    "DPAD_RIGHT": 22, "DPAD_CENTER": 23, "VOLUME_UP": 24, "VOLUME_DOWN": 25, "POWER": 26, "CAMERA": 27, "CLEAR": 28, "COMMA": 55,
    "PERIOD": 56, "TAB": 61, "SPACE": 62, "ENTER": 66, "DEL": 67, "MENU": 82, "NOTIFICATION": 83, "SEARCH": 84, "PAGE_UP": 92,
    "PAGE_DOWN": 93, "ESCAPE": 111, "FORWARD_DEL": 112, "MOVE_HOME": 122, "MOVE_END": 123, "VOLUME_MUTE": 164, "SETTINGS": 176,
    "APP_SWITCH": 187, "SLEEP": 223, "WAKEUP": 224,
}  # fmt: skip
KEYS = {
    **_NAMES,
    **{str(digit): 7 + digit for digit in range(10)},
    **{chr(ord("A") + n): 29 + n for n in range(26)},
}
KEY_MAX = 320  # of Android's codes


@entry(
    "input",
    None,
    does="[SOURCE] [-d 0] tap X Y | swipe X1 Y1 X2 Y2 [MS] | text STRING | keyevent KEY... | motionevent DOWN|UP|MOVE X Y",
)
async def input_(context: Context, given: Given) -> int:
    """tap, swipe, text, keyevent and motionevent act at once."""
    args = list(given.words)
    if args and args[0] in SOURCES:
        del args[0]
    if args[:1] == ["-d"]:
        if args[1:2] not in (["0"], ["-1"], ["DEFAULT_DISPLAY"], ["INVALID_DISPLAY"]):
            raise Refusal("Error: Invalid arguments for display ID.")
        del args[:2]
    phone = context.phone
    screen = phone.running_screen
    match args:
        case ["tap", x, y]:
            await _tap(context, _number("tap", x), _number("tap", y))
        case ["swipe" | "draganddrop" as verb, x1, y1, x2, y2, *rest] if len(rest) < 2:
            for number in rest:
                _number(verb, number, 10**7)
            start, end = (_number(verb, x1), _number(verb, y1)), (_number(verb, x2), _number(verb, y2))
            if start == end:  # how scripts press for long
                await _tap(context, *end)
            else:
                screen.swipe(start, end, size(phone)[1])
        case ["text", *words] if words:
            screen.type(text(" ".join(words).replace("%s", " ")))
        case ["keyevent" | "keycombination", *names] if names:
            for code in [_key(name) for name in names if not name.startswith("--")]:
                screen.key(code)
        case ["motionevent", ("DOWN" | "MOVE" | "UP" | "CANCEL") as phase, x, y]:
            point = _number("motionevent", x), _number("motionevent", y)
            if phase == "UP":
                await _tap(context, *point)
        case ["press"] | ["roll", _, _]:
            pass
        case ["tap" | "swipe" | "text" | "keyevent" | "motionevent" | "roll" | "draganddrop" as verb, *_]:
            raise Refusal(f"Error: Invalid arguments for command: {verb}")
        case []:
            raise Refusal(USAGE)
        case _:
            raise Refusal(f"Unknown command: {shown(args[0])}\n{USAGE}")
    return 0


async def _tap(context: Context, x: int, y: int) -> None:
    await apps.refresh(context.phone)
    context.phone.running_screen.tap(x, y, hit(context.phone, x, y))


def _number(verb: str, text: str, limit: int = 100_000) -> int:
    if re.fullmatch(r"[+-]?[0-9]{1,9}(\.[0-9]{0,9})?([eE][+-]?[0-9]{1,3})?", text) is None:
        raise threw(verb, "NumberFormatException", f'For input string: "{shown(text)}"')
    value = float(text)
    if not -limit < value < limit:
        raise Refusal(f"Error: {shown(text)} is off every screen")
    return int(value)


def _key(name: str) -> int:
    code = whole(name, 0, KEY_MAX)
    if code is None:
        code = KEYS.get(name.removeprefix("KEYCODE_").upper())
    if code is None:
        raise threw("keyevent", "IllegalArgumentException", f"Unknown keycode: {shown(name)}")
    return code
