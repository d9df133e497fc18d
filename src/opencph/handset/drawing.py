"""Draws a phone's screen from its layout. Imported when the first picture is asked for; draws again only the boxes that changed."""

from __future__ import annotations

import asyncio
import struct
import sys
import time
import unicodedata
import zlib
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageDraw, ImageFont

from opencph.handset.fonts import chinese_font, letters_font
from opencph.handset.screen_layout import Item, layout, size

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Box = tuple[int, int, int, int]
PIXEL_FORMAT_RGBA_8888 = 1
PNG_FILTER_UP = 2
ICON_SIDE = 96  # pixels, as `packages.ICON_BYTES` has them
PROBE_PIXELS = 16  # at which a letter is compared with the box that stands for what a font has not
NOWHERE = "\U0010ffff"  # no letter, so that every font has a box for it
PICTURES_KEPT = 4  # of this process, 3 bytes a pixel each
SWITCH_SECONDS = 0.0005  # for how long at most the painter keeps the interpreter from the event loop
REPAINT_MAX = 16  # changed boxes; with more everything is painted

_pictures: OrderedDict[str, tuple[list[Item], Image.Image]] = OrderedDict()  # by phone


@lru_cache(maxsize=96)
def _font(pixels: int, path: str = "") -> Font:
    """A font of the machine; without a path Pillow's own."""
    return ImageFont.truetype(path, pixels) if path else ImageFont.load_default(pixels)


@lru_cache(maxsize=8)
def _probe(path: str) -> tuple[Font, tuple[tuple[int, int], bytes]]:
    """A font to look letters up in, and its box. Plain layout: with the other one, marks that a font has not look like others."""
    font = ImageFont.truetype(path, PROBE_PIXELS, layout_engine=ImageFont.Layout.BASIC) if path else _font(PROBE_PIXELS)
    return font, _shape(font, NOWHERE)


def _shape(font: Font, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


@lru_cache(maxsize=8192)
def _has(path: str, letter: str) -> bool:
    font, box = _probe(path)
    return _shape(font, letter) != box


def _path(letters: str) -> str:
    """The first font that has a letter and its marks, or the letter alone; Pillow's own when none has, for it draws a box too."""
    for path in ("", *filter(None, (letters_font(), chinese_font()))):
        if all(_has(path, letter) for letter in letters):
            return path
    return _path(letters[0]) if len(letters) > 1 else ""


@lru_cache(maxsize=1024)
def _runs(text: str) -> tuple[tuple[str, str], ...]:
    """Fonts, and what of a line they write. Spaces go with what is before them, so that words of one script stay one run."""
    clusters: list[str] = []
    for letter in unicodedata.normalize("NFC", text):
        kind = unicodedata.category(letter)
        if clusters and unicodedata.combining(letter):
            clusters[-1] += letter
        elif kind != "Cf":  # format characters have no picture
            clusters.append(" " if kind in ("Cc", "Cs", "Zl", "Zp") else letter)
    runs: list[tuple[str, str]] = []
    for cluster in clusters:
        path = runs[-1][0] if runs and cluster == " " else _path(cluster)
        if runs and runs[-1][0] == path:
            runs[-1] = (path, runs[-1][1] + cluster)
        else:
            runs.append((path, cluster))
    return tuple(runs)


@lru_cache(maxsize=96)
def _foot(pixels: int) -> float:
    """How far below the middle of a line of Pillow's own font its letters stand."""
    own = _font(pixels)
    return own.getbbox("H", anchor="lm")[3] - own.getbbox("H", anchor="ls")[3]


def _write(pen: ImageDraw.ImageDraw, x: int, y: int, item: Item) -> None:
    """A line of text: each run of letters in the font that has them, all on the line on which Pillow's own would stand."""
    runs = _runs(item.text)
    own = _font(item.size)
    if not any(path for path, _ in runs):
        pen.text((x, y), "".join(letters for _, letters in runs), fill=item.colour, font=own, anchor=item.anchor[:2])
        return
    fonts = [_font(item.size, path) for path, _ in runs]
    lengths = [font.getlength(letters) for font, (_, letters) in zip(fonts, runs, strict=True)]
    at = x - {"l": 0.0, "m": sum(lengths) / 2, "r": sum(lengths)}[item.anchor[0]]
    foot = y + _foot(item.size)
    for font, (_, letters), length in zip(fonts, runs, lengths, strict=True):
        pen.text((at, foot), letters, fill=item.colour, font=font, anchor="ls")
        at += length


@lru_cache(maxsize=64)
def _icon(pixels: bytes, width: int, height: int) -> Image.Image:
    return Image.frombytes("RGBA", (ICON_SIDE, ICON_SIDE), pixels).resize((width, height), Image.Resampling.LANCZOS)


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _paint(items: list[Item], area: Box) -> Image.Image:
    """What of the items lies in the area."""
    left, top, right, bottom = area
    image = Image.new("RGB", (right - left, bottom - top), "black")
    pen = ImageDraw.Draw(image)
    for item in items:
        if not _meet(item.box, area):
            continue
        box = (item.box[0] - left, item.box[1] - top, item.box[2] - left - 1, item.box[3] - top - 1)
        if item.kind == "fill":
            pen.rectangle(box, fill=item.colour)
        elif item.kind == "rounded":
            pen.rounded_rectangle(box, radius=item.size, fill=item.colour)
        elif item.kind == "ring":
            pen.ellipse(box, outline=item.colour, width=item.size)
        elif item.kind == "text":
            x, _, y = item.anchor[2:].partition(",")
            _write(pen, int(x) - left, int(y) - top, item)
        elif item.kind == "icon":
            icon = _icon(item.pixels, item.box[2] - item.box[0], item.box[3] - item.box[1])
            image.paste(icon, (item.box[0] - left, item.box[1] - top), icon)
    return image


def _draw(phone_id: str, items: list[Item], width: int, height: int) -> Image.Image:
    """The screen as it is now: painted where it changed since the last time. On the painter's thread only."""
    whole = (0, 0, width, height)
    before, image = _pictures.pop(phone_id, ([], None))
    if image is not None and image.size == (width, height):
        changed = [item.box for item in set(before) ^ set(items) if item.kind != "none"]
        if len(changed) > REPAINT_MAX:
            changed = [whole]
        for left, top, right, bottom in changed:
            box = (max(0, left - 2), max(0, top - 2), min(width, right + 2), min(height, bottom + 2))
            if box[0] < box[2] and box[1] < box[3]:
                image.paste(_paint(items, box), box[:2])
    else:
        image = _paint(items, whole)
    _pictures[phone_id] = (items, image)
    while len(_pictures) > PICTURES_KEPT:
        _pictures.popitem(last=False)
    return image


@cache
def _painter() -> ThreadPoolExecutor:
    """One thread for the pictures of all phones of this process, so that none of them waits for another's."""
    sys.setswitchinterval(SWITCH_SECONDS)
    return ThreadPoolExecutor(1, "painter")


async def _painted(phone: Phone, made_of: Callable[[Image.Image], bytes]) -> bytes:
    width, height = size(phone)
    phone_id, items = phone.config.phone_id, layout(phone)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_painter(), lambda: made_of(_draw(phone_id, items, width, height)))


def encode(image: Image.Image) -> bytes:
    """A PNG whose rows say how they differ from the row above, in runs: several times as fast as the usual way, and as small."""
    width, height = image.size
    above = Image.new("RGB", image.size)
    above.paste(image, (0, 1))
    stride = 3 * width + 1
    rows = bytearray(1) + ImageChops.subtract_modulo(image, above).tobytes("raw", "RGB", stride, 1)
    rows[::stride] = bytes((PNG_FILTER_UP,)) * (height + 1)
    data = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    packed = data.compress(memoryview(rows)[:-1]) + data.flush()
    head = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


async def png(phone: Phone) -> bytes:
    """The screen as PNG; made again only when something on it changed, and then beside the event loop."""
    screen = phone.running_screen
    seen = (screen.version, time.time() // 60, phone.config.name)
    if screen.cached_for != seen:
        screen.cached, screen.cached_for = await _painted(phone, encode), seen
    return screen.cached


async def raw(phone: Phone) -> bytes:
    """The screen as `screencap` without -p gives it: width, height, format, colour space, then RGBA."""
    width, height = size(phone)
    return struct.pack("<4I", width, height, PIXEL_FORMAT_RGBA_8888, 1) + await pixels(phone)


async def pixels(phone: Phone) -> bytes:
    """The screen as RGBA, row by row."""
    return await _painted(phone, lambda image: image.convert("RGBA").tobytes())
