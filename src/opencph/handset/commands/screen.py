"""screencap and wm: pictures of the screen, its size and density."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from opencph.handset.commands import Context
from opencph.handset.transfers import Upload

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

SIDE_MAX = 4096  # pixels


def size(phone: Phone) -> tuple[int, int]:
    """Width and height in pixels, with `wm size` and ro.horizontal.screen counted in."""
    override = phone.running_state.size
    if override:
        width, height = map(int, override.split("x"))
    else:
        width, height = phone.booted.width, phone.booted.height
    if phone.running_properties.get("ro.horizontal.screen") == "1" and width < height:
        return height, width
    return width, height


def density(phone: Phone) -> int:
    """Dots per inch."""
    return int(phone.running_state.density or phone.booted.dpi)


async def screencap(context: Context) -> int:
    """A PNG (with -p, or when the file's name ends in .png), else raw RGBA behind Android's 16-byte header; to a file or stdout."""
    from opencph.handset import drawing

    args = context.args
    files = [word for word in args if not word.startswith("-")]
    if args[:1] == ["-h"] or len(files) > 1:
        return context.error("usage: screencap [-p] [FILE]")
    as_png = "-p" in args or (bool(files) and files[0].endswith(".png"))
    data = drawing.png(context.phone) if as_png else drawing.raw(context.phone)
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


async def wm(context: Context) -> int:
    """size and density: show, set, reset."""
    phone = context.phone
    state = phone.running_state
    match context.args:
        case ["size"]:
            context.out(f"Physical size: {phone.booted.width}x{phone.booted.height}")
            if state.size:
                context.out(f"Override size: {state.size}")
        case ["size", "reset"]:
            state.size = ""
        case ["size", value] if _is_size(value):
            state.size = value
        case ["density"]:
            context.out(f"Physical density: {phone.booted.dpi}")
            if state.density:
                context.out(f"Override density: {state.density}")
        case ["density", "reset"]:
            state.density = ""
        case ["density", value] if value.isdecimal() and 72 <= int(value) <= 1000:
            state.density = value
        case _:
            return context.error(f"usage: wm size [WxH|reset] (sides of 200 to {SIDE_MAX}) | wm density [72-1000|reset]")
    if len(context.args) == 2:
        phone.running_screen.version += 1
        phone.save_state()
    return 0


def _is_size(value: str) -> bool:
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", value)
    return found is not None and all(200 <= int(side) <= SIDE_MAX for side in found.groups())
