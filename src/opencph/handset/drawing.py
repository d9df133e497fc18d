"""Draws a phone's screen: status bar, clock, name, home screen, the last touch. Imported when the first picture is asked for."""

from __future__ import annotations

import io
import struct
import time
from functools import lru_cache
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from opencph.handset.commands.screen import density, size

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
BACKGROUND, BAR, TEXT, DIM, FIELD, FINGER = "#10232f", "#0a171f", "#f4f7f8", "#8fa6b2", "#1d3a4b", "#ffb454"
ICONS = (("Shell", "#3d8b7d"), ("Files", "#c28840"), ("Settings", "#6d7fb5"), ("Camera", "#a3567a"))
PIXEL_FORMAT_RGBA_8888 = 1


def now() -> int:
    """Seconds since the epoch."""
    return int(time.time())


@lru_cache(maxsize=16)
def _font(pixels: int) -> Font:
    return ImageFont.load_default(pixels)


def draw(phone: Phone) -> Image.Image:
    """The screen as it is now, width x height pixels."""
    width, height = size(phone)
    screen = phone.running_screen
    if not screen.on:
        return Image.new("RGB", (width, height), "black")
    image = Image.new("RGB", (width, height), BACKGROUND)
    pen = ImageDraw.Draw(image)
    unit = max(4, min(width, height) // 36)
    if phone.running_properties.get("disable.status.bar") != "1":
        pen.rectangle((0, 0, width, 2 * unit), fill=BAR)
        pen.text((unit, unit), time.strftime("%H:%M", time.gmtime()), fill=TEXT, font=_font(unit), anchor="lm")
        pen.text((width - unit, unit), "100%  ADB", fill=TEXT, font=_font(unit), anchor="rm")
    pen.text((width // 2, height // 5), time.strftime("%H:%M", time.gmtime()), fill=TEXT, font=_font(6 * unit), anchor="mm")
    date = time.strftime("%a %d %b %Y, UTC", time.gmtime())
    pen.text((width // 2, height // 5 + 5 * unit), date, fill=DIM, font=_font(unit * 3 // 2), anchor="mm")
    top = height * 2 // 5
    pen.rounded_rectangle((2 * unit, top, width - 2 * unit, top + 3 * unit), radius=unit, fill=FIELD)
    shown = screen.text or "Search"
    pen.text((3 * unit, top + unit * 3 // 2), shown[:40], fill=TEXT if screen.text else DIM, font=_font(unit * 3 // 2), anchor="lm")
    step = (width - 4 * unit) // len(ICONS)
    for number, (label, colour) in enumerate(ICONS):
        x, y = 2 * unit + step * number + step // 2, height * 3 // 4
        pen.rounded_rectangle((x - 2 * unit, y - 2 * unit, x + 2 * unit, y + 2 * unit), radius=unit, fill=colour)
        pen.text((x, y + 3 * unit), label, fill=TEXT, font=_font(unit), anchor="mm")
    config = phone.config
    pen.text((width // 2, height * 9 // 10 - unit), config.name, fill=TEXT, font=_font(unit * 3 // 2), anchor="mm")
    facts = f"OpenCPH handset, not Android  ·  {config.model_name}  ·  {width}x{height}, {density(phone)} dpi"
    pen.text((width // 2, height * 9 // 10 + unit), facts, fill=DIM, font=_font(max(8, unit * 4 // 5)), anchor="mm")
    if phone.running_properties.get("com.cph.mainkeys") != "1":
        for x in (width // 4, width // 2, width * 3 // 4):
            pen.ellipse((x - unit // 2, height - 2 * unit, x + unit // 2, height - unit), outline=DIM, width=2)
    if screen.touch is not None:
        x, y = screen.touch
        pen.ellipse((x - unit, y - unit, x + unit, y + unit), outline=FINGER, width=max(2, unit // 5))
    return image


def png(phone: Phone) -> bytes:
    """The screen as PNG; drawn again only when something on it changed."""
    screen = phone.running_screen
    seen = (screen.version, time.time() // 60, phone.config.name)
    if screen.cached_for != seen:
        data = io.BytesIO()
        draw(phone).save(data, "PNG", compress_level=1)
        screen.cached, screen.cached_for = data.getvalue(), seen
    return screen.cached


def raw(phone: Phone) -> bytes:
    """The screen as `screencap` without -p gives it: width, height, format, colour space, then RGBA."""
    image = draw(phone).convert("RGBA")
    return struct.pack("<4I", *image.size, PIXEL_FORMAT_RGBA_8888, 1) + image.tobytes()
