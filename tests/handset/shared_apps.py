"""Archives as a phone's server shares them."""

from __future__ import annotations

import io
import tarfile


def archive(*files: tuple[str, bytes]) -> bytes:
    """A tar of files by their paths in the phone."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            made.addfile(info, io.BytesIO(data))
    return out.getvalue()
