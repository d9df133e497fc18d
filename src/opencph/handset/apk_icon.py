"""The icon of an APK as a small square of pixels. Runs in the program that reads APKs (`apk.py`), never in a phone's host."""

from __future__ import annotations

import base64
import io
import re
from contextlib import suppress
from typing import Any

from PIL import Image

from opencph.handset import apk_resources
from opencph.handset.apk_resources import ANDROID

SIDE = 96  # pixels
SOURCE_MAX = 2048  # pixels of a side
FILE_MAX = 4 << 20
FORMATS = ("PNG", "WEBP", "JPEG")
SEEN = 72 / 108  # of an adaptive icon's layers
_COLOUR = re.compile(r"#[0-9a-fA-F]{6,8}")


def read(apk: Any, reference: str) -> str:
    """The manifest's icon, SIDE x SIDE pixels of RGBA in base 64; empty when none can be drawn. Vector drawings are not drawn."""
    with suppress(Exception):  # whatever is wrong with a picture, the app is installed without it
        candidates = _files(apk, reference)
        for name in candidates:
            if not name.endswith(".xml") and (image := _bitmap(apk, name)) is not None:
                return _packed(image)
        for name in candidates:
            if name.endswith(".xml") and (image := _adaptive(apk, name)) is not None:
                return _packed(image)
    return ""


def _packed(image: Image.Image) -> str:
    return base64.b64encode(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS).tobytes()).decode()


def _files(apk: Any, value: str) -> list[str]:
    """The files that a value stands for, the densest first."""
    if not value.startswith("@"):
        return [value]
    found = [(config.get_density() & 0xFFFF, str(name)) for config, name in apk_resources.resolve(apk, value)]
    return [name for _, name in sorted(found, key=lambda one: one[0] if one[0] < 0xFFFE else 0, reverse=True)]


def _contents(apk: Any, name: str) -> bytes | None:
    if name not in apk.zip.namelist() or apk.zip.getinfo(name).file_size > FILE_MAX:
        return None
    return bytes(apk.zip.read(name))


def _bitmap(apk: Any, name: str) -> Image.Image | None:
    contents = _contents(apk, name)
    if contents is None:
        return None
    image = Image.open(io.BytesIO(contents), formats=FORMATS)
    if not 0 < max(image.size) <= SOURCE_MAX:
        return None
    return image.convert("RGBA")


def _adaptive(apk: Any, name: str) -> Image.Image | None:
    """<adaptive-icon> of bitmaps and colours: its layers one over the other, cut to what launchers show."""
    from pyaxmlparser.axmlprinter import AXMLPrinter

    contents = _contents(apk, name)
    if contents is None:
        return None
    tree = AXMLPrinter(contents).get_xml_obj()
    if tree is None or tree.tag != "adaptive-icon":
        return None
    side = round(SIDE / SEEN)
    made = Image.new("RGBA", (side, side))
    for part in ("background", "foreground"):
        layer = tree.find(part)
        value = layer.get(f"{ANDROID}drawable") if layer is not None else None
        drawn = _layer(apk, value, side) if value else None
        if drawn is None:
            return None
        made.alpha_composite(drawn)
    edge = (side - SIDE) // 2
    return made.crop((edge, edge, edge + SIDE, edge + SIDE))


def _layer(apk: Any, value: str, side: int) -> Image.Image | None:
    for one in [value] if _COLOUR.fullmatch(value) else _files(apk, value):
        if _COLOUR.fullmatch(one):
            digits = one[1:].rjust(8, "f")
            alpha, red, green, blue = (int(digits[at : at + 2], 16) for at in (0, 2, 4, 6))
            return Image.new("RGBA", (side, side), (red, green, blue, alpha))
        if not one.endswith(".xml") and (image := _bitmap(apk, one)) is not None:
            return image.resize((side, side), Image.Resampling.LANCZOS)
    return None
