"""Phone properties: which keys a caller may set and what their values may be (cph-api.md 10.11). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from opencph.wire.errors import CphError, shown

#: Longest `property` text of a purchase or a change, in characters (seed page).
PROPERTY_MAX_CHARACTERS = 8192
#: Largest `property` of a phone in the form in which it is kept and shown, `compact` (phone detail page).
PROPERTY_MAX_BYTES = 2048
#: Largest `property` and `custom_property` of one phone together (cph-api.md section 4, number 23).
PROPERTIES_MAX_BYTES = 7800
#: What Android itself allows ("OS properties must follow OS rules"); the value of a name in `ro.` may be longer.
CUSTOM_NAME = re.compile(r"[A-Za-z0-9_\-@:]+(\.[A-Za-z0-9_\-@:]+)*")
CUSTOM_VALUE_MAX_BYTES = 91

_FLAG = (re.compile(r"[01]"), "must be 0 or 1")
_SIM = (re.compile(r"[A-Za-z,]{0,10}"), "must be at most 10 letters and commas")
_OPERATOR = (re.compile(r"[A-Za-z,]{0,20}"), "must be at most 20 letters and commas")
# The page says letters and commas, while its own default is 46000.
_NUMERIC = (re.compile(r"[A-Za-z0-9,]{0,10}"), "must be at most 10 letters, digits and commas")
_URL = (re.compile(r"(?=.{1,256}\Z)https?://[a-zA-Z0-9_.,/:-]+"), "must be an http or https URL of at most 256 characters")
_PORT = (re.compile(r"10\d{3}|11000", re.ASCII), "must be 10000 to 11000")
# No longer documented with rules, yet clients still send them.
_DEPRECATED = (re.compile(r"[\x20-\x7e]{0,91}"), "must be at most 91 printable ASCII characters")

#: key -> what its value, as text, must match, and the same in words
RULES: dict[str, tuple[re.Pattern[str], str]] = {
    **dict.fromkeys(
        (
            "com.cph.mainkeys",
            "disable.status.bar",
            "ro.permission.changed",
            "ro.install.auto",
            "ro.com.cph.non_root",
            "ro.com.cph.notification_disable",
            "com.cph.disable_fb_permission",
            "ro.com.cph.toast_enable",
            "ro.horizontal.screen",
            "ro.com.cph.cloud_app_engine",
        ),
        _FLAG,
    ),
    "com.cph.bandwidth_limit": (re.compile(r"-1|[1-9][0-9]{0,7}"), "must be 1 to 99999999 (kbit/s), or -1 for none"),
    "com.cph.cam_local_pic_path": (
        re.compile(r"[A-Za-z0-9_\-\u4e00-\u9fff@#.:/ ]{1,90}"),
        "must be 1 to 90 letters, digits, Chinese characters and - _ @ # . : / space",
    ),
    "persist.sys.locale": (re.compile(r"[A-Za-z0-9-]{1,64}"), "must be 1 to 64 letters, digits and -"),
    "sys.prop.writeimsi": (re.compile(r"[0-9]{0,15}"), "must be at most 15 digits"),
    "sys.prop.writephonenum": (re.compile(r"[0-9]{0,20}"), "must be at most 20 digits"),
    "sys.prop.writewifissid": (
        re.compile(r"[A-Za-z0-9_\-./@#: ]{1,64}"),
        "must be 1 to 64 letters, digits and - _ . / @ # : space",
    ),
    "gsm.sim.operator.iso-country": _SIM,
    "gsm.sim.operator.numeric": _NUMERIC,
    "gsm.sim.operator.alpha": _OPERATOR,
    "gsm.operator.iso-country": _SIM,
    "gsm.operator.numeric": _NUMERIC,
    "gsm.operator.alpha": _OPERATOR,
    "com.cph.cg.sign_check_url": _URL,
    "com.cph.cg.event_notify_url": _URL,
    "com.cph.cg.heartbeat_url": _URL,
    "com.cph.cg.heartbeat_interval": (re.compile(r"[0-9]{1,10}"), "must be 1 to 10 digits (seconds)"),
    "com.cph.cg.app_port": _PORT,
    "com.cph.cg.h5_port": _PORT,
    **dict.fromkeys(
        (
            "ro.hardware.gpurenderer",
            "ro.board.platform",
            "ro.build.product",
            "ro.product.device",
            "ro.com.cph.sfs_enable",
            "ro.product.manufacturer",
            "ro.product.name",
            "qemu.hw.mainkeys",
        ),
        _DEPRECATED,
    ),
}


def check_properties(text: str) -> dict[str, str]:
    """The properties of a `property` text, values as text; "" has none.

    Raises CphError: CPS.0078 no JSON object or too long, CPS.0163 unknown key, CPS.0164 bad value.
    """
    if not text:
        return {}
    if len(text) > PROPERTY_MAX_CHARACTERS:
        raise CphError("CPS.0078", f"property has {len(text)} characters: at most {PROPERTY_MAX_CHARACTERS}")
    try:
        given = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise CphError("CPS.0078", f"property is not JSON: {error}") from error
    if not isinstance(given, dict):
        raise CphError("CPS.0078", "property must be a JSON object in a string")
    return {key: _check_value(key, value) for key, value in given.items()}


def compact(text: str) -> str:
    """A `property` text that passed `check_properties`, as it is kept and shown: no white space, each key once; "" stays "".

    Raises CphError CPS.0078: more than PROPERTY_MAX_BYTES in that form.
    """
    if not text:
        return ""
    kept = msgspec.json.encode(msgspec.json.decode(text))
    if len(kept) > PROPERTY_MAX_BYTES:
        raise CphError("CPS.0078", f"property has {len(kept)} bytes without white space: at most {PROPERTY_MAX_BYTES} for a phone")
    return kept.decode()


def check_custom_properties(given: Mapping[str, str]) -> None:
    """Check user-defined properties: Android's rules, and the documented ones for the names that have some.

    Raises CphError CPS.0164.
    """
    for key, value in given.items():
        if CUSTOM_NAME.fullmatch(key) is None:
            rule = "custom_property names are letters, digits, - _ @ : in parts that single dots separate"
            raise CphError("CPS.0164", rule, subject=shown(key)[1:-1])
        if key in RULES:
            _check_value(key, value)
        if "\0" in value:
            raise CphError("CPS.0164", f"{shown(value)} must not contain the character U+0000", subject=key)
        if not key.startswith("ro.") and len(value.encode()) > CUSTOM_VALUE_MAX_BYTES:
            said = f"its value has {len(value.encode())} bytes: at most {CUSTOM_VALUE_MAX_BYTES} bytes"
            raise CphError("CPS.0164", said, subject=shown(key)[1:-1])


def _check_value(key: str, value: object) -> str:
    rule = RULES.get(key)
    if rule is None:
        raise CphError("CPS.0163", subject=shown(key)[1:-1])
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise CphError("CPS.0164", "must be a string or an integer", subject=key)
    pattern, words = rule
    if pattern.fullmatch(str(value)) is None:
        raise CphError("CPS.0164", f"{shown(value)} {words}", subject=key)
    return str(value)
