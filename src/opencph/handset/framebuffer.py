"""The `framebuffer:` service, which older tools read the screen with."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from opencph.adb.device import Service, Stream

if TYPE_CHECKING:
    from opencph.handset.phone import Phone


class FramebufferService(Service):
    """One picture, then the end. Source of the header: AOSP `daemon/framebuffer_service.cpp`, version 1."""

    __slots__ = ()

    def __init__(self, stream: Stream, phone: Phone) -> None:
        from opencph.handset import drawing

        image = drawing.draw(phone).convert("RGBA")
        pixels = image.tobytes()
        width, height = image.size
        # version, bits per pixel, bytes, width, height, then offset and length of red, blue, green, alpha
        stream.write(struct.pack("<13I", 1, 32, len(pixels), width, height, 0, 8, 16, 8, 8, 8, 24, 8))
        stream.write(pixels)
        stream.close()
