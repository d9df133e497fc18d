"""settings: get, put, delete, list and reset in the namespaces system, secure and global. Kept until the phone is reset."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from opencph.handset.commands import Context
from opencph.handset.commands.options import FAILED, Given, Refusal, check_user, shown, text
from opencph.handset.commands.table import entry
from opencph.handset.screen_layout import rotation

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

KEYBOARD = "com.opencph.handset.keyboard/.Keyboard"  # the drawn one, the only one
NAMESPACES = ("system", "secure", "global")
KEY_MAX = 200  # characters
VALUE_MAX_BYTES = 4096
COUNT_MAX = 512
# what Android 11 has before anybody changes it, as far as scripts ask for it and a handset can say it truly
_DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "system": {
        "accelerometer_rotation": "0",
        "font_scale": "1.0",
        "haptic_feedback_enabled": "0",
        "screen_brightness": "255",
        "screen_brightness_mode": "0",
        "screen_off_timeout": "2147483647",
        "sound_effects_enabled": "0",
        "time_12_24": "24",
        "volume_music": "0",
    },
    "secure": {
        "accessibility_enabled": "0",
        "default_input_method": KEYBOARD,
        "enabled_input_methods": KEYBOARD,
        "install_non_market_apps": "1",
        "location_mode": "0",
        "lockscreen.disabled": "0",
        "show_ime_with_hard_keyboard": "1",
        "ui_night_mode": "1",
        "user_setup_complete": "1",
    },
    "global": {
        "adb_enabled": "1",
        "airplane_mode_on": "0",
        "always_finish_activities": "0",
        "animator_duration_scale": "1.0",
        "auto_time": "1",
        "auto_time_zone": "0",
        "bluetooth_on": "0",
        "data_roaming": "0",
        "development_settings_enabled": "1",
        "device_provisioned": "1",
        "http_proxy": ":0",
        "low_power": "0",
        "mobile_data": "0",
        "mode_ringer": "0",
        "package_verifier_enable": "0",
        "stay_on_while_plugged_in": "0",
        "transition_animation_scale": "1.0",
        "usb_mass_storage_enabled": "0",
        "verifier_verify_adb_installs": "0",
        "wifi_on": "1",
        "window_animation_scale": "1.0",
    },
}
USAGE = (
    "Settings provider (settings) commands:\n  help\n  get|put|delete|list|reset [--user USER] system|secure|global [KEY [VALUE]]"
)


def defaults(phone: Phone, namespace: str) -> dict[str, str]:
    """What holds while nobody put anything else."""
    values = dict(_DEFAULTS[namespace])
    if namespace == "secure":
        values["android_id"] = hashlib.sha256(f"android_id {phone.booted.phone_id}".encode()).hexdigest()[:16]
    elif namespace == "global":
        values["device_name"] = phone.config.name
        values["boot_count"] = str(phone.boots)
    else:
        values["user_rotation"] = str(rotation(phone))
    return values


def every(phone: Phone, namespace: str) -> dict[str, str]:
    """The namespace's values."""
    return {**defaults(phone, namespace), **phone.running_state.settings.get(namespace, {})}


def put(phone: Phone, namespace: str, name: str, value: str) -> None:
    """Keep a value. Raises Refusal when it is too much, HandsetError when it cannot be kept."""
    name, value = text(name), text(value)
    there = phone.running_state.settings.get(namespace, {})
    if len(name) > KEY_MAX or len(value.encode()) > VALUE_MAX_BYTES or (name not in there and len(there) >= COUNT_MAX):
        raise Refusal(f"settings: at most {COUNT_MAX} values of {VALUE_MAX_BYTES} bytes, names of {KEY_MAX} characters", 1)
    with phone.changing_state() as state:
        state.settings.setdefault(namespace, {})[name] = value
    phone.running_screen.version += 1  # the screen may follow it


def delete(phone: Phone, namespace: str, *names: str) -> bool:
    """Back to what held before; whether anything was put. Raises HandsetError when it cannot be kept."""
    put_here = phone.running_state.settings.get(namespace, {})
    gone = [name for name in map(text, names) if name in put_here]
    if gone:
        with phone.changing_state() as state:
            for name in gone:
                del state.settings[namespace][name]
        phone.running_screen.version += 1
    return bool(gone)


@entry("settings", None, does="[--user USER] get|put|delete|list|reset system|secure|global [KEY [VALUE]]")
async def settings(context: Context, given: Given) -> int:
    """As Android's, for the one user."""
    words = list(given.words)
    user = [at for at, word in enumerate(words[:3]) if word == "--user"]
    if user:
        check_user("settings", [*words, "", ""][user[0] + 1])
        del words[user[0] : user[0] + 2]
    if not words or words[0] in ("help", "-h", "--help"):
        context.out(USAGE)
        return FAILED
    verb, *rest = words
    if verb not in ("get", "put", "delete", "list", "reset"):
        context.out(f"Unknown command: {shown(verb)}")
        return FAILED
    if not rest or rest[0] not in NAMESPACES:
        raise Refusal(f"Invalid namespace '{shown(rest[0])}'" if rest else "Bad arguments: no namespace")
    phone = context.phone
    namespace, *rest = rest
    match verb, rest:
        case "list", []:
            for name, value in sorted(every(phone, namespace).items()):
                context.out(f"{name}={value}")
        case "get", [name, *_]:
            context.out(every(phone, namespace).get(text(name), "null"))
        case "put", [name, value, *more] if all(word in ("default", "--lineage") for word in more[:1]):
            put(phone, namespace, name, value)
        case "delete", [name]:
            context.out(f"Deleted {int(delete(phone, namespace, name))} rows")
        case "reset", [_, *_]:
            if namespace == "system":
                raise Refusal("Invalid namespace 'system': reset is for secure and global")
            delete(phone, namespace, *phone.running_state.settings.get(namespace, {}))
        case _:
            raise Refusal(f"Bad arguments\n{USAGE}")
    return 0
