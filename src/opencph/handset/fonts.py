"""Where this machine has the fonts that a phone's screen is written in besides Pillow's own, which has ASCII alone. Drawing is
`drawing.py`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

#: fonts with Latin, Greek and Cyrillic letters, where Debian's fonts-dejavu-core, fonts-noto-core and fonts-liberation have
#: them, and other systems the first of these
_LETTERS = (
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf",
    "/usr/share/fonts/TTF/DejaVuSans.ttf",
    "/usr/share/fonts/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/truetype/noto/NotoSans-Regular.ttf",
    "/usr/share/fonts/truetype/liberation/LiberationSans-Regular.ttf",
)
#: fonts with Chinese letters, where Debian's fonts-droid-fallback, fonts-wqy-* and fonts-noto-cjk and other systems have them
_CHINESE = (
    "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
    "/usr/share/fonts-droid-fallback/truetype/DroidSansFallback.ttf",
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/google-noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
)


def _first(paths: Iterable[str]) -> str:
    return next((path for path in paths if Path(path).is_file()), "")


@cache
def letters_font() -> str:
    """A font file with Latin letters that have accents, Greek and Cyrillic; empty when the machine has none."""
    return _first(_LETTERS)


@cache
def chinese_font() -> str:
    """A font file with Chinese letters; empty when the machine has none."""
    return _first(_CHINESE)
