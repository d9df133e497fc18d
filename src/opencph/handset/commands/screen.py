"""screencap and wm: pictures of the screen, its size and density."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

from opencph.handset import apps
from opencph.handset.commands import Context
from opencph.handset.commands.options import FAILED, Given, Refusal, shown
from opencph.handset.commands.table import entry, refuse
from opencph.handset.packages import write_file
from opencph.handset.screen_layout import rotation, turns_by_itself

if TYPE_CHECKING:
    from opencph.handset.state import State

SIDE_MAX = 4096  # pixels
FIXED = "wm fixed-to-user-rotation"


@entry(
    "screencap",
    "-p -h -d=",
    does="[-p] [-d DISPLAY] [FILE]: a PNG with -p or for a FILE.png, else raw pixels; to stdout without FILE",
    bundled=True,
)
async def screencap(context: Context, given: Given) -> int:
    """A PNG, else raw RGBA behind Android's 16-byte header; to a file or stdout."""
    from opencph.handset import drawing

    if given.has("-h"):
        raise Refusal("usage: screencap [-hp] [-d display-id] [FILENAME]", 1)
    if given.value("-d", default="0") != "0":
        raise Refusal(f"Display Id '{shown(given.value('-d'))}' is not valid: a handset has display 0", 1)
    files = given.words
    if len(files) > 1:
        raise Refusal("usage: screencap [-hp] [-d display-id] [FILENAME]", 1)
    if files and lacks_directory(context, files[0]):
        raise Refusal(f"Error opening file: {shown(files[0])} (No such file or directory)", 1)
    as_png = given.has("-p") or (bool(files) and files[0].endswith(".png"))
    await apps.refresh(context.phone)
    data = await drawing.png(context.phone) if as_png else await drawing.raw(context.phone)
    if not files:
        context.out(data)
        return 0
    try:
        write_file(context.phone, files[0], data, int(time.time()))
    except OSError as error:
        return context.error(f"screencap: {files[0]}: {error.strerror or os.strerror(error.errno or 5)}")
    return 0


def lacks_directory(context: Context, path: str) -> bool:
    """Whether the directory of a file is missing: pushing a file makes it, a command that writes one does not."""
    return context.phone.files.stat(path.rpartition("/")[0] or "/").error != 0


refuse("screenrecord", "an OpenCPH handset has no video encoder; take pictures with `screencap -p`")


@entry(
    "wm",
    None,
    does="size|density [VALUE|reset], user-rotation [free|lock [0-3]], dismiss-keyguard, reset; set-fix-to-user-rotation "
    "[enabled|disabled|default] is remembered until the next reboot: nothing but the user turns the screen",
)
async def wm(context: Context, given: Given) -> int:
    """size, density and user-rotation: show, set, reset."""
    phone = context.phone
    words = list(given.words)
    if "-d" in words:
        at = words.index("-d")
        if words[at + 1 : at + 2] != ["0"]:
            raise Refusal("Error: display id must be 0: a handset has one display", FAILED)
        del words[at : at + 2]
    match words:
        case ["size"]:
            context.out(f"Physical size: {phone.booted.width}x{phone.booted.height}")
            if phone.running_state.size:
                context.out(f"Override size: {phone.running_state.size}")
        case ["density"]:
            context.out(f"Physical density: {phone.booted.dpi}")
            if phone.running_state.density:
                context.out(f"Override density: {phone.running_state.density}")
        case ["user-rotation" | "set-user-rotation"]:
            context.out("free" if turns_by_itself(phone) else f"lock {rotation(phone)}")
        case ["set-fix-to-user-rotation" | "fixed-to-user-rotation"]:
            context.out(phone.until_reboot.get(FIXED, "default"))
        case ["set-fix-to-user-rotation" | "fixed-to-user-rotation", ("enabled" | "disabled" | "default") as how]:
            phone.until_reboot[FIXED] = how
        case ["overscan", *_]:
            raise Refusal("Unknown command: overscan: Android 11 has it no more", FAILED)
        case ["dismiss-keyguard"]:
            phone.running_screen.locked = False
            phone.running_screen.version += 1
        case _:
            with phone.changing_state() as state:
                _change(state, words, rotation(phone))
            if words == ["reset"]:
                phone.until_reboot.pop(FIXED, None)
            phone.running_screen.version += 1
    return 0


def _change(state: State, words: list[str], turned: int) -> None:
    """What is kept of the screen; it is `turned` as of now. Raises Refusal."""
    system = state.settings.setdefault("system", {})
    match words:
        case ["size", "reset"]:
            state.size = ""
        case ["size", value] if _is_size(value):
            state.size = value
        case ["density", "reset"]:
            state.density = ""
        case ["density", value] if value.isascii() and value.isdecimal() and len(value) < 5 and 72 <= int(value) <= 1000:
            state.density = value
        case ["user-rotation" | "set-user-rotation", "free"]:
            system["accelerometer_rotation"] = "1"
        case ["user-rotation" | "set-user-rotation", "lock", *value] if value in ([], ["0"], ["1"], ["2"], ["3"]):
            system["accelerometer_rotation"] = "0"
            system["user_rotation"] = value[0] if value else str(turned)
        case ["reset"]:
            state.size = state.density = ""
            for name in ("accelerometer_rotation", "user_rotation"):
                system.pop(name, None)
        case _:
            sizes = f"wm size [WxH|reset] (sides of 200 to {SIDE_MAX})"
            raise Refusal(
                f"usage: {sizes} | wm density [72-1000|reset] | wm user-rotation [free|lock [0-3]] | "
                "wm dismiss-keyguard | wm reset",
                FAILED,
            )


def _is_size(value: str) -> bool:
    found = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", value)
    return found is not None and all(200 <= int(side) <= SIDE_MAX for side in found.groups())
