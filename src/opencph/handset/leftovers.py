"""What the end of a phone cut short and nobody will finish: taken away when it boots again."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from opencph.handset.packages import APPS, remove_directory

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

#: where the APKs of an installation are until they are a package
_STAGING = re.compile(r"vmdl[0-9]+\.tmp")


def sweep(phone: Phone) -> None:
    """Delete half installations. What resists stays."""
    with suppress(OSError):
        for raw, info in list(phone.files.list(APPS)):
            name = os.fsdecode(raw)
            if _STAGING.fullmatch(name) and stat.S_ISDIR(info.mode):
                remove_directory(phone, f"{APPS}/{name}")
