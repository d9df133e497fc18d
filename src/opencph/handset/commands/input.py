"""input: fingers and keys. What they do on the screen is `screen_state.py`."""

from __future__ import annotations

from opencph.handset import apps
from opencph.handset.commands import Context
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


async def input_(context: Context) -> int:
    """tap, swipe, text, keyevent and motionevent act at once."""
    args = list(context.args)
    if args and args[0] in SOURCES:
        del args[0]
    if args[:1] == ["-d"]:
        del args[:2]
    phone = context.phone
    screen = phone.running_screen
    try:
        match args:
            case ["tap", x, y]:
                await _tap(context, _number(x), _number(y))
            case ["swipe" | "draganddrop", x1, y1, x2, y2, *rest] if len(rest) < 2:
                for number in rest:
                    _number(number)
                start, end = (_number(x1), _number(y1)), (_number(x2), _number(y2))
                if start == end:  # how scripts press for long
                    await _tap(context, *end)
                else:
                    screen.swipe(start, end, size(phone)[1])
            case ["text", *words] if words:
                screen.type(" ".join(words).replace("%s", " "))
            case ["keyevent" | "keycombination", *names] if names:
                for code in [_key(name) for name in names if not name.startswith("--")]:
                    screen.key(code)
            case ["motionevent", ("DOWN" | "MOVE" | "UP" | "CANCEL") as phase, x, y]:
                if phase == "UP":
                    await _tap(context, _number(x), _number(y))
            case ["roll", *_] | ["press", *_]:
                pass
            case _:
                return context.error(USAGE)
    except ValueError as error:
        return context.error(f"input: {error}")
    return 0


async def _tap(context: Context, x: int, y: int) -> None:
    await apps.refresh(context.phone)
    context.phone.running_screen.tap(x, y, hit(context.phone, x, y))


def _number(text: str) -> int:
    value = float(text)
    if not -100_000 < value < 100_000:
        raise ValueError(f"{text} is out of range")
    return int(value)


def _key(name: str) -> int:
    if name.isdecimal() and int(name) <= KEY_MAX:
        return int(name)
    code = KEYS.get(name.removeprefix("KEYCODE_").upper())
    if code is not None:
        return code
    if name.startswith("KEYCODE_"):
        return 0
    raise ValueError(f"unknown key {name!r}")
