"""The compressions of the file service: which of them this machine offers, and streams of each. Two need the extra `compression`.

No library is imported before a peer asks for it; what is not installed is not offered. zstd is there for who names it and
not offered: stock adb would choose it always, which halves the speed on the same machine.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from opencph.adb import sync_protocol as wire

OUTPUT_BYTES = 1024 * 1024  # at most so much comes out of a decoder at once
_LIBRARIES = {wire.FLAG_BROTLI: ("brotli", "brotli"), wire.FLAG_LZ4: ("lz4", "lz4.frame")}
_ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
ZSTD_WINDOW_LOG_MAX = 23  # 8 MiB, what every decoder must support
COMPRESSIONS = wire.FLAG_BROTLI | wire.FLAG_LZ4 | wire.FLAG_ZSTD


class Encoder(Protocol):
    """Compresses."""

    def encode(self, data: memoryview) -> bytes:
        """What comes out for now."""
        ...

    def end(self) -> bytes:
        """The rest."""
        ...


class Decoder(Protocol):
    """Decompresses."""

    def decode(self, data: memoryview) -> Iterator[bytes]:
        """The pieces that come out. Raises OSError (EPROTO) when it is not what it should be."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the compressed stream came to its end."""
        ...


@cache
def offered() -> dict[int, str]:
    """Flags and feature names of what can be used here."""
    return {
        flag: f"sendrecv_v2_{name}"
        for flag, (name, module) in _LIBRARIES.items()
        if find_spec(module.partition(".")[0]) is not None
    }


def _library(flag: int) -> Any:
    if flag == wire.FLAG_ZSTD:
        return import_module(_ZSTD)
    if flag not in offered():
        raise OSError(errno.EOPNOTSUPP, "this compression is not offered by this phone")
    return import_module(_LIBRARIES[flag][1])


def encoder(flag: int) -> Encoder:
    """For one file. Raises OSError when it is not offered."""
    library = _library(flag)
    if flag == wire.FLAG_BROTLI:
        return _Brotli(library.Compressor(quality=1))
    if flag == wire.FLAG_ZSTD:
        return _Zstd(library.ZstdCompressor(level=1))
    return _Lz4(library.LZ4FrameCompressor())


def decoder(flag: int) -> Decoder:
    """For one file. Raises OSError when it is not offered."""
    library = _library(flag)
    if flag == wire.FLAG_BROTLI:
        return _BrotliDecoder(library.Decompressor(), library.error)
    if flag == wire.FLAG_ZSTD:
        options = {library.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG_MAX}
        return _StreamDecoder(library.ZstdDecompressor(options=options), library.ZstdError)
    return _StreamDecoder(library.LZ4FrameDecompressor(), RuntimeError, ValueError)


class _Brotli:
    def __init__(self, compressor: Any) -> None:
        self._compressor = compressor

    def encode(self, data: memoryview) -> bytes:
        return bytes(self._compressor.process(bytes(data)))

    def end(self) -> bytes:
        return bytes(self._compressor.finish())


class _Zstd:
    def __init__(self, compressor: Any) -> None:
        self._compressor = compressor

    def encode(self, data: memoryview) -> bytes:
        return bytes(self._compressor.compress(data))

    def end(self) -> bytes:
        return bytes(self._compressor.flush())


class _Lz4:
    def __init__(self, compressor: Any) -> None:
        self._compressor = compressor
        self._begun = False

    def encode(self, data: memoryview) -> bytes:
        head = b"" if self._begun else self._compressor.begin()
        self._begun = True
        return bytes(head + self._compressor.compress(data))

    def end(self) -> bytes:
        head = b"" if self._begun else self._compressor.begin()
        return bytes(head + self._compressor.flush())


def _damaged(error: Exception) -> OSError:
    return OSError(errno.EPROTO, f"decompress failed: {error}")


class _BrotliDecoder:
    def __init__(self, decompressor: Any, error: type[Exception]) -> None:
        self._decompressor, self._error = decompressor, error

    def decode(self, data: memoryview) -> Iterator[bytes]:
        rest = bytes(data)
        try:
            while rest or not self._decompressor.can_accept_more_data():
                piece = self._decompressor.process(rest, output_buffer_limit=OUTPUT_BYTES)
                rest = b""
                yield piece
        except self._error as error:
            raise _damaged(error) from None

    @property
    def ended(self) -> bool:
        return bool(self._decompressor.is_finished())


class _StreamDecoder:
    """With a decompressor made as those of the standard library, and what it raises for damaged data."""

    def __init__(self, decompressor: Any, *errors: type[Exception]) -> None:
        self._decompressor = decompressor
        self._errors: tuple[type[Exception], ...] = (EOFError, *errors)

    def decode(self, data: memoryview) -> Iterator[bytes]:
        rest = bytes(data)
        try:
            while rest or not (self._decompressor.needs_input or self._decompressor.eof):
                piece = self._decompressor.decompress(rest, max_length=OUTPUT_BYTES)
                rest = b""
                yield piece
        except self._errors as error:
            raise _damaged(error) from None

    @property
    def ended(self) -> bool:
        return bool(self._decompressor.eof)
