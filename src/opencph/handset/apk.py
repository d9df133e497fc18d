"""Reads the metadata of an APK: a program of its own (`python -m opencph.handset.apk < APK`), because an APK comes from anywhere,
and a phone's host should not carry an XML parser. Prints one line of JSON; on failure one line of words and exit code 1.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any

from opencph.handset import apk_limits

MEMORY_BYTES = 512 << 20
CPU_SECONDS = 20
LIST_MAX = 500


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _number(value: Any) -> int:
    text = str(value or "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def read() -> dict[str, object]:
    """What standard input says of itself. Any exception means that it is no APK that can be read."""
    from pyaxmlparser import APK

    with os.fdopen(os.dup(0), "rb") as file:
        apk_limits.check(file)
    apk = APK("/proc/self/fd/0", skip_analysis=False)
    manifest = apk.get_android_manifest_xml()
    split = manifest.get("split") if manifest is not None else None
    main = apk.get_main_activity()
    return {
        "package": str(apk.packagename or ""),
        "version_code": _number(apk.version_code),
        "version_name": str(apk.version_name or "")[:64],
        "label": "" if split else str(apk.get_app_name() or "")[:128],
        "split": str(split or ""),
        "min_sdk": _number(apk.get_min_sdk_version()),
        "target_sdk": _number(apk.get_target_sdk_version()),
        "permissions": [str(one) for one in apk.get_permissions()][:LIST_MAX],
        "activities": [str(one) for one in apk.get_activities()][:LIST_MAX],
        "main_activity": str(main or ""),
    }


def main() -> int:
    """The program."""
    _limit()
    try:
        found = read()
    except MemoryError:
        print("it takes too much memory to read")
        return 1
    except apk_limits.NotApkError as error:
        print(str(error)[:200])
        return 1
    except BaseException as error:
        print(f"{type(error).__name__}: {error}".splitlines()[0][:200])
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
