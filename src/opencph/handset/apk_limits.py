"""What of an APK may be unpacked in memory: looked at before a parser gets any of it."""

from __future__ import annotations

import zipfile
import zlib
from typing import IO

MANIFEST = "AndroidManifest.xml"
#: Unpacked bytes. The largest of real apps have some 0.5 MiB and 30 MiB.
BYTES_MAX = {MANIFEST: 4 << 20, "resources.arsc": 64 << 20}
ENTRIES_MAX = 200_000
PIECE_BYTES = 1 << 16


class NotApkError(Exception):
    """This is no APK that is read. The message names the part and the limit."""


def check(file: IO[bytes]) -> None:
    """Look at the directory of the zip, and whether its larger parts are what it says. Raises NotApkError."""
    try:
        with zipfile.ZipFile(file) as archive:
            _check(archive)
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError, EOFError, RuntimeError) as error:
        raise NotApkError(f"it is no zip archive that can be read: {error}") from error


def _check(archive: zipfile.ZipFile) -> None:
    parts = {info.filename: info for info in archive.infolist()}
    if len(parts) > ENTRIES_MAX:
        raise NotApkError(f"it has {len(parts)} files: at most {ENTRIES_MAX}")
    if MANIFEST not in parts:
        raise NotApkError(f"there is no {MANIFEST} in it")
    for name, limit in BYTES_MAX.items():
        if name not in parts:
            continue
        if parts[name].file_size > limit:
            raise NotApkError(f"its {name} unpacks to {parts[name].file_size} bytes: at most {limit}")
        with archive.open(name) as contents:
            while contents.read(PIECE_BYTES):  # more than the directory says is a wrong checksum
                pass
