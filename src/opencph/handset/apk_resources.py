"""What references of a manifest ("@7F010001") stand for. Runs in the program that reads APKs, never in a phone's host."""

from __future__ import annotations

from typing import Any

ANDROID = "{http://schemas.android.com/apk/res/android}"


def resolve(apk: Any, reference: str) -> list[tuple[Any, Any]]:
    """The values of a resource of this APK, each with its configuration; none when it is another package's."""
    resources = apk.get_android_resources()
    if resources is None:
        return []
    number, package = resources.parse_id(reference)
    if package and package != apk.get_package():
        return []
    return list(resources.get_resolved_res_configs(number))
