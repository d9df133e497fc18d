"""The `framebuffer:` service, which older tools read the screen with."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from opencph.adb.device import Service, Stream

if TYPE_CHECKING:
    from opencph.handset.phone import Phone


class FramebufferService(Service):
    """One picture, then the end. Source of the header: AOSP `daemon/framebuffer_service.cpp`, version 1."""

    __slots__ = ("_stream",)

    def __init__(self, stream: Stream, phone: Phone) -> None:
        self._stream = stream
        phone.run(self._send(phone))

    async def _send(self, phone: Phone) -> None:
        from opencph.handset import drawing
        from opencph.handset.screen_layout import size

        width, height = size(phone)
        pixels = await drawing.pixels(phone)
        # version, bits per pixel, bytes, width, height, then offset and length of red, blue, green, alpha
        self._stream.write(struct.pack("<13I", 1, 32, len(pixels), width, height, 0, 8, 16, 8, 8, 8, 24, 8))
        self._stream.write(pixels)
        self._stream.close()
