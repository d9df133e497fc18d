"""Reads an APK: a program of its own (`python -m opencph.handset.apk SDK < APK`), because an APK comes from anywhere,
and a phone's host should not carry parsers of XML, certificates and pictures. Prints one line of JSON; on failure one line
"INSTALL_..: words" and exit code 1. Who signed is `apk_signatures.py`, the picture `apk_icon.py`.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
from typing import Any

from opencph.handset import apk_limits, apk_resources
from opencph.handset.apk_resources import ANDROID

MEMORY_BYTES = 512 << 20
CPU_SECONDS = 20
LIST_MAX = 500
LABELS_MAX = 200
NOT_APK, BAD_MANIFEST = "INSTALL_PARSE_FAILED_NOT_APK", "INSTALL_PARSE_FAILED_BAD_MANIFEST"
_LOCALE = re.compile(r"([a-z]{2,3})(?:-r([A-Z]{2}|[0-9]{3}))?")
_LIBRARY = re.compile(r"lib/([A-Za-z0-9_-]{1,32})/[^/]+\.so")


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _text(value: Any, length: int) -> str:
    """Something a manifest says, as characters that can be printed and sent."""
    return "".join(c for c in str(value or "")[:length] if c.isprintable()).encode("utf-8", "replace").decode()


def _number(value: Any) -> int:
    text = str(value or "0")
    if text.startswith("0x"):
        text = str(int(text, 16))
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def _true(value: Any) -> bool:
    return str(value).lower() in ("true", "1", "-1", "0xffffffff", "4294967295")


def _labels(apk: Any, manifest: Any) -> dict[str, str]:
    """The application's label by language ("zh", "zh-CN"); "" is the one without a language."""
    application = manifest.find("application")
    value = application.get(f"{ANDROID}label") if application is not None else None
    if not value:
        return {}
    if not value.startswith("@"):
        return {"": _text(value, 128)}
    found: dict[str, str] = {}
    for config, text in apk_resources.resolve(apk, value)[:LABELS_MAX]:
        match = _LOCALE.fullmatch(str(config.get_language_and_region()).replace("\0", ""))
        tag = "-".join(part for part in match.groups() if part) if match else ""
        if match or not config.locale:
            found.setdefault(tag, _text(text, 128))
    return found


def _names(apk: Any, manifest: Any, path: str, *, required: bool = False) -> list[str]:
    """The android:name of every such element; with `required`, of those that are not marked as optional."""
    found = []
    for one in manifest.findall(path):
        name = one.get(f"{ANDROID}name")
        if name and not (required and str(one.get(f"{ANDROID}required", "true")).lower() in ("false", "0")):
            found.append(_text(apk._format_value(name) if path.startswith("application/activity") else name, 256))
    return list(dict.fromkeys(found))[:LIST_MAX]


def _instrumentation(manifest: Any) -> list[tuple[str, str]]:
    """(runner, the package that it tests)."""
    found = [
        (_text(one.get(f"{ANDROID}name"), 256), _text(one.get(f"{ANDROID}targetPackage"), 256))
        for one in manifest.findall("instrumentation")
    ]
    return found[:LIST_MAX]


def _icon(apk: Any, reference: str) -> str:
    from opencph.handset import apk_icon  # brings Pillow, which an app without an icon needs not wait for

    return apk_icon.read(apk, reference)


def read(sdk: int) -> dict[str, object]:
    """What standard input says of itself. Raises SignatureError; any other exception means that it is no APK that can be read."""
    from pyaxmlparser import APK

    from opencph.handset import apk_signatures

    with os.fdopen(os.dup(0), "rb") as file:
        apk_limits.check(file)
    apk = APK("/proc/self/fd/0", skip_analysis=False)
    manifest = apk.get_android_manifest_xml()
    if manifest is None or manifest.tag != "manifest":
        raise ValueError("its AndroidManifest.xml cannot be read")
    split = manifest.get("split")
    application = manifest.find("application")
    uses_sdk = manifest.find("uses-sdk")
    low = _number(uses_sdk.get(f"{ANDROID}minSdkVersion")) if uses_sdk is not None else 0
    target = _number(uses_sdk.get(f"{ANDROID}targetSdkVersion")) if uses_sdk is not None else 0
    attributes = application.attrib if application is not None else {}
    with os.fdopen(os.dup(0), "rb") as file:
        signed = apk_signatures.check(file, sdk, target or low)
    labels = {} if split else _labels(apk, manifest)
    return {
        "package": str(apk.packagename or ""),
        "version_code": _number(apk.version_code) | _number(manifest.get(f"{ANDROID}versionCodeMajor")) << 32,
        "version_name": _text(apk.version_name, 64),
        "label": "" if split else labels.get("") or next(iter(labels.values()), "") or _text(apk.get_app_name(), 128),
        "labels": {tag: text for tag, text in labels.items() if tag},
        "split": str(split or ""),
        "min_sdk": low or 1,
        "target_sdk": target or low or 1,
        "permissions": _names(apk, manifest, "uses-permission") + _names(apk, manifest, "uses-permission-sdk-23"),
        "activities": [*_names(apk, manifest, "application/activity"), *_names(apk, manifest, "application/activity-alias")],
        "main_activity": _text(apk.get_main_activity(), 256),
        "features": _names(apk, manifest, "uses-feature", required=True),
        "libraries": _names(apk, manifest, "application/uses-library", required=True),
        "instrumentation": _instrumentation(manifest),
        "abis": sorted({found[1] for name in apk.zip.namelist() if (found := _LIBRARY.fullmatch(name))})[:16],
        "debuggable": _true(attributes.get(f"{ANDROID}debuggable")),
        "test_only": _true(attributes.get(f"{ANDROID}testOnly")),
        "scheme": signed.scheme,
        "signers": list(signed.signers),
        "lineage": [list(one) for one in signed.lineage],
        "icon": _icon(apk, icon) if not split and (icon := attributes.get(f"{ANDROID}icon")) else "",
    }


def main() -> int:
    """The program."""
    _limit()
    from opencph.handset.apk_signatures import SignatureError

    try:
        found = read(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
    except MemoryError:
        print(f"{NOT_APK}: it takes too much memory to read")
        return 1
    except SignatureError as error:
        print(f"{error.code}: {error}"[:300].splitlines()[0])
        return 1
    except apk_limits.NotApkError as error:
        print(f"{NOT_APK}: {error}"[:200])
        return 1
    except BaseException as error:
        print(f"{NOT_APK}: {type(error).__name__}: {error}".splitlines()[0][:200])
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
