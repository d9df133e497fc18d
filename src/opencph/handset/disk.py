"""The size of a phone's disk: how much of it is used, and who may still write. Counting trees is `trees.py`."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from opencph.handset.trees import TooDeepError, Usage, measure

STALE_SECONDS = 0.25  # how old a count may be while processes of the phone run


class Disk:
    """Counts what data/ and cache/ take against the limit. Counted when first asked, then kept up to date by the writers."""

    __slots__ = ("_counted_at", "_grew", "_largest", "_roots", "_used", "limit", "others_write")

    def __init__(self, directory: Path, limit: int) -> None:
        self._roots = [directory / "data", directory / "cache"]
        self.limit = limit
        self._used = -1
        self._largest = 0
        self._grew = False  # files may be larger than _largest
        self._counted_at = 0.0
        self.others_write = False  # processes in the sandbox live: what we know ages

    def forget(self) -> None:
        """Count again when asked next."""
        self._used = -1

    def used(self) -> int:
        """Bytes taken, in whole blocks."""
        if self._used < 0 or (self.others_write and time.monotonic() - self._counted_at > STALE_SECONDS):
            self.count()
        return self._used

    def count(self) -> None:
        """Count now."""
        usage = Usage()
        try:
            for _ in measure(self._roots, usage):
                pass
        except TooDeepError:
            usage.used = max(usage.used, self.limit)
        self.counted(usage)

    def counted(self, usage: Usage) -> None:
        """A count that somebody else has made."""
        self._used, self._largest, self._counted_at = usage.used, usage.largest, time.monotonic()
        self._grew = False

    @property
    def roots(self) -> list[Path]:
        """What counts."""
        return self._roots

    @property
    def largest(self) -> int:
        """Size of the largest file at the last count."""
        return self._largest

    def remaining(self) -> int:
        """Bytes that may still be written."""
        return max(0, self.limit - self.used())

    def take(self, count: int) -> None:
        """Count `count` bytes as taken (or given back, when negative). Raises OSError (ENOSPC) when they are not there."""
        if count > 0 and count > self.remaining():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._used = max(0, self.used() + count)
        self._grew = self._grew or count > 0

    def file_size_limit(self) -> int:
        """RLIMIT_FSIZE for the phone's processes: the largest file that may exist, so that the disk is not overrun.

        A file that is larger than what remains may still grow by what remains.
        """
        if self._grew:
            self.count()
        remaining = self.remaining()
        if not remaining:
            return 0
        return remaining if self._largest <= remaining else self._largest + remaining
