"""screencap and wm: pictures of the screen, its size and density."""

from __future__ import annotations

import os
import re
import stat

from opencph.handset import apps
from opencph.handset.commands import Context
from opencph.handset.screen_layout import rotation
from opencph.handset.transfers import Upload

SIDE_MAX = 4096  # pixels


async def screencap(context: Context) -> int:
    """A PNG (with -p, or when the file's name ends in .png), else raw RGBA behind Android's 16-byte header; to a file or stdout."""
    from opencph.handset import drawing

    args = context.args
    files = [word for word in args if not word.startswith("-")]
    if args[:1] == ["-h"] or len(files) > 1:
        return context.error("usage: screencap [-p] [FILE]")
    as_png = "-p" in args or (bool(files) and files[0].endswith(".png"))
    await apps.refresh(context.phone)
    data = await drawing.png(context.phone) if as_png else drawing.raw(context.phone)
    if not files:
        context.out(data)
        return 0
    try:
        upload = Upload(context.phone.files, context.phone.disk, files[0], stat.S_IFREG | 0o644)
        try:
            upload.write([memoryview(data)])
            upload.finish(drawing.now())
        except OSError:
            upload.abandon()
            raise
    except OSError as error:
        return context.error(f"screencap: {files[0]}: {error.strerror or os.strerror(error.errno or 5)}")
    return 0


async def screenrecord(context: Context) -> int:
    """Refused: there is no video encoder here, and what nothing plays would not be a video."""
    return context.error("screenrecord: an OpenCPH handset has no video encoder; take pictures with `screencap -p`")


async def wm(context: Context) -> int:
    """size, density and user-rotation: show, set, reset."""
    phone = context.phone
    state = phone.running_state
    system = state.settings.setdefault("system", {})
    match context.args:
        case ["size"]:
            context.out(f"Physical size: {phone.booted.width}x{phone.booted.height}")
            if state.size:
                context.out(f"Override size: {state.size}")
            return 0
        case ["size", "reset"]:
            state.size = ""
        case ["size", value] if _is_size(value):
            state.size = value
        case ["density"]:
            context.out(f"Physical density: {phone.booted.dpi}")
            if state.density:
                context.out(f"Override density: {state.density}")
            return 0
        case ["density", "reset"]:
            state.density = ""
        case ["density", value] if value.isdecimal() and 72 <= int(value) <= 1000:
            state.density = value
        case ["user-rotation" | "set-user-rotation"]:
            context.out(f"lock {rotation(phone)}")
            return 0
        case ["user-rotation" | "set-user-rotation", "free"]:
            system.pop("user_rotation", None)
        case ["user-rotation" | "set-user-rotation", "lock", *value] if value in ([], ["0"], ["1"], ["2"], ["3"]):
            system["user_rotation"] = value[0] if value else str(rotation(phone))
        case ["dismiss-keyguard"]:
            phone.running_screen.locked = False
            phone.running_screen.version += 1
            return 0
        case _:
            sizes = f"wm size [WxH|reset] (sides of 200 to {SIDE_MAX})"
            return context.error(
                f"usage: {sizes} | wm density [72-1000|reset] | wm user-rotation [free|lock [0-3]] | wm dismiss-keyguard"
            )
    phone.running_screen.version += 1
    phone.save_state()
    return 0


def _is_size(value: str) -> bool:
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", value)
    return found is not None and all(200 <= int(side) <= SIDE_MAX for side in found.groups())
