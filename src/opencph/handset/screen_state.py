"""What a phone's screen shows and how it is touched, as facts. Drawing it is `drawing.py`'s business."""

from __future__ import annotations


class ScreenState:
    """The screen of a running phone. `version` changes with every change, so that a picture is drawn once."""

    __slots__ = ("cached", "cached_for", "on", "text", "touch", "version")

    def __init__(self) -> None:
        self.on = True
        self.text = ""  # typed into the search field
        self.touch: tuple[int, int] | None = None
        self.version = 0
        self.cached = b""
        self.cached_for: tuple[object, ...] = ()

    def tap(self, x: int, y: int) -> None:
        """A finger at x, y (pixels)."""
        self.touch = (x, y)
        self.version += 1

    def type(self, text: str) -> None:
        """Characters from the keyboard."""
        self.text = (self.text + text)[-64:]
        self.version += 1

    def key(self, code: int) -> None:
        """A key, by its Android code: 26 power, 3 home, 67 delete, 66 enter, 223 sleep, 224 wake up."""
        if code == 26:
            self.on = not self.on
        elif code == 223:
            self.on = False
        elif code == 224:
            self.on = True
        elif code == 67:
            self.text = self.text[:-1]
        elif code in (3, 4, 66):
            self.text = ""
            self.touch = None
        self.version += 1
