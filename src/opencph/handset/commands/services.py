"""cmd and svc: Android's ways to its services. Those that are commands of their own are called; the small ones are here."""

from __future__ import annotations

import re

from opencph.handset import apps
from opencph.handset.commands import Context, battery, idling
from opencph.handset.commands import settings as stored
from opencph.handset.commands.options import FAILED, Given, Refusal, shown, text
from opencph.handset.commands.service_names import INTERFACES, NOT_FOUND, SAME, running
from opencph.handset.commands.table import TABLE, entry, refuse

__all__ = ["battery", "idling"]

NO_RADIO = "a handset has no radio: switching changes the setting (wifi_on, mobile_data, bluetooth_on), and nothing else"
SETTINGS = {"wifi": "wifi_on", "data": "mobile_data", "bluetooth": "bluetooth_on", "nfc": "nfc_on"}  # of the radios


@entry(
    "cmd",
    None,
    does="SERVICE ARGUMENTS, or -l for the services; package, activity, window, settings, input, input_method, media_session and "
    "device_config are pm, am, wm, settings, input, ime, media and device_config",
)
async def cmd(context: Context, given: Given) -> int:
    """A service by name."""
    words = given.words[1:] if given.words[:1] == ["-w"] else given.words
    if not words:
        raise Refusal(
            "cmd: No service specified; use -l to list all running services. -w to start and wait for the service.", NOT_FOUND
        )
    name, *rest = words
    if name == "-l":
        context.out(running())
        return 0
    if name in SAME:
        return await context.call(SAME[name], *rest)
    if name in INTERFACES and name not in TABLE["cmd"]:
        context.error("No shell command implementation.")  # as Binder answers for a service that has none
        return 0
    if not name or name not in TABLE["cmd"]:
        raise Refusal(f"cmd: Can't find service: {shown(name)}", NOT_FOUND)
    one = TABLE["cmd"][name]
    return await one.run(context, one.spec.parse(one.name, rest))


def _help(context: Context, service: str, usage: str) -> int:
    context.out(f"{service} commands:\n  help\n  {usage}")
    return FAILED


@entry("cmd statusbar", None, does="expand-notifications, expand-settings, collapse")
async def statusbar(context: Context, given: Given) -> int:
    """The shade."""
    match given.words:
        case ["expand-notifications" | "expand-settings"]:
            context.phone.running_screen.shade = True
        case ["collapse"]:
            context.phone.running_screen.shade = False
        case _:
            return _help(context, "Status bar", "expand-notifications | expand-settings | collapse")
    context.phone.running_screen.version += 1
    return 0


def _switch(context: Context, radio: str, verb: str) -> None:
    stored.put(context.phone, "global", SETTINGS[radio], "1" if verb == "enable" else "0")


@entry("cmd connectivity", None, does="airplane-mode [enable|disable]: the setting")
async def connectivity(context: Context, given: Given) -> int:
    """Only the setting: there is no radio."""
    match given.words:
        case ["airplane-mode"]:
            context.out("enabled" if stored.every(context.phone, "global")["airplane_mode_on"] == "1" else "disabled")
        case ["airplane-mode", ("enable" | "disable") as verb]:
            stored.put(context.phone, "global", "airplane_mode_on", "1" if verb == "enable" else "0")
        case _:
            return _help(context, "Connectivity service", "airplane-mode [enable|disable]")
    return 0


@entry("cmd wifi", None, does=f"status, set-wifi-enabled enabled|disabled: {NO_RADIO}")
async def wifi(context: Context, given: Given) -> int:
    """What `dumpsys wifi` says."""
    match given.words:
        case ["status"]:
            on = stored.every(context.phone, "global")["wifi_on"] != "0"
            context.out(f"Wifi is {'enabled' if on else 'disabled'}\nWifi is not connected")
        case ["set-wifi-enabled", ("enabled" | "disabled") as verb]:
            _switch(context, "wifi", verb.removesuffix("d"))
        case ["list-networks"]:
            context.out("No networks")
        case _:
            return _help(context, "Wi-Fi (wifi)", "status | set-wifi-enabled enabled|disabled | list-networks")
    return 0


@entry("cmd uimode", None, does="night [yes|no|auto]: kept as a setting; the screen is always dark")
async def uimode(context: Context, given: Given) -> int:
    """The setting ui_night_mode."""
    modes = {"auto": "0", "no": "1", "yes": "2"}
    match given.words:
        case ["night", mode] if mode in modes:
            stored.put(context.phone, "secure", "ui_night_mode", modes[mode])
        case ["night"]:
            pass
        case _:
            return _help(context, "UiModeManager service (uimode)", "night [yes|no|auto]")
    names = {number: name for name, number in modes.items()}
    context.out(f"Night mode: {names.get(stored.every(context.phone, 'secure')['ui_night_mode'], 'no')}")
    return 0


@entry("cmd power", None, does="set-mode 0|1 (low power, a setting)")
async def power(context: Context, given: Given) -> int:
    """The setting low_power."""
    match given.words:
        case ["set-mode", ("0" | "1") as mode]:
            stored.put(context.phone, "global", "low_power", mode)
        case _:
            return _help(context, "Power manager (power)", "set-mode 0|1")
    return 0


@entry("cmd notification", None, does="list; posting is refused, for no app listens")
async def notification(context: Context, given: Given) -> int:
    """What is in the shade."""
    match given.words:
        case ["list"]:
            if context.phone.running_properties.get("ro.com.cph.notification_disable") != "1":
                context.out("0|android|1|null|1000")
        case ["post" | "snooze" | "allow_listener" | "disallow_listener" | "set_dnd" | "allow_assistant", *_]:
            raise Refusal(f"notification: {given.words[0]}: a handset has one notification of its own and keeps no others", FAILED)
        case _:
            return _help(context, "Notification service", "list")
    return 0


@entry("cmd appops", None, does="get PACKAGE: nothing is restricted; set is refused")
async def appops(context: Context, given: Given) -> int:
    """No app runs whose doings could be allowed."""
    match given.words:
        case ["get", package, *_]:
            await apps.refresh(context.phone)
            if apps.find(context.phone, package) is None:
                raise Refusal(f"Error: No UID for {shown(package)} in user 0", FAILED)
            context.out("No operations.")
        case ["set" | "reset" | "start" | "stop" | "write-settings", *_]:
            raise Refusal("appops: no app runs whose operations could be allowed or denied; `pm grant` is for permissions", FAILED)
        case _:
            return _help(context, "AppOps service (appops)", "get PACKAGE")
    return 0


@entry("appops", None, does="what `cmd appops` says")
async def appops_command(context: Context, given: Given) -> int:
    """The same."""
    return await context.call("cmd", "appops", *given.words)


@entry(
    "cmd display",
    None,
    does="set-brightness 0 to 1 (the setting screen_brightness); reset-brightness-configuration and logging have no effect",
)
async def display(context: Context, given: Given) -> int:
    """The picture is never darker for it."""
    match given.words:
        case ["set-brightness", text] if re.fullmatch(r"[01](\.[0-9]{1,9})?|\.[0-9]{1,9}", text) and float(text) <= 1:
            stored.put(context.phone, "system", "screen_brightness", str(round(float(text) * 255)))
        case ["set-brightness", *_]:
            raise Refusal("Error: brightness should be a number between 0 and 1", 1)
        case [
            "reset-brightness-configuration"
            | "ab-logging-enable"
            | "ab-logging-disable"
            | "dwb-logging-enable"
            | "dwb-logging-disable"
        ]:
            pass
        case _:
            return _help(context, "Display manager", "set-brightness BRIGHTNESS | reset-brightness-configuration")
    return 0


@entry(
    "device_config",
    None,
    does="get|delete NAMESPACE KEY, put NAMESPACE KEY VALUE [default], list [NAMESPACE]: kept; nothing reads it",
)
async def device_config(context: Context, given: Given) -> int:
    """Flags of Android's parts, which a handset has not."""
    kept = context.phone.running_state.settings.get("config", {})
    match [text(word) for word in given.words]:
        case ["get", space, key]:
            context.out(kept.get(f"{space}/{key}", "null"))
        case ["put", space, key, value, *rest] if rest in ([], ["default"]) and "/" not in space:
            stored.put(context.phone, "config", f"{space}/{key}", value)
        case ["delete", space, key]:
            gone = stored.delete(context.phone, "config", f"{space}/{key}")
            context.out(f"{'Successfully deleted' if gone else 'Failed to delete'} {shown(key)} from {shown(space)}")
        case ["list", space]:
            for name, value in sorted(kept.items()):
                if name.startswith(f"{space}/"):
                    context.out(f"{name.removeprefix(f'{space}/')}={value}")
        case ["list"]:
            for name, value in sorted(kept.items()):
                context.out(f"{name}={value}")
        case ["reset", "untrusted_defaults" | "untrusted_clear" | "trusted_defaults", *space]:
            stored.delete(context.phone, "config", *(name for name in kept if not space or name.startswith(f"{space[0]}/")))
        case _:
            return _help(context, "Device Config (device_config)", "get | put | delete | list | reset")
    return 0


refuse("getevent", "a handset has no /dev/input: `input` is how fingers and keys come")
refuse("sendevent", "a handset has no /dev/input: `input tap|swipe|keyevent` sends events")
refuse("locksettings", "a handset's lock has no pattern, PIN or password")
refuse("bmgr", "a handset backs nothing up: the API's export and restore are for that")
refuse("dpm", "a handset has no device owner: no app runs on it")


@entry("cmd overlay", None, does="list: there are none")
async def overlay(context: Context, given: Given) -> int:
    """A handset has no themes."""
    match given.words:
        case ["list", *_]:
            return 0
        case ["enable" | "disable" | "enable-exclusive" | "set-priority", *words] if words:
            raise Refusal(f"Error: no overlay {shown(words[-1])}", 1)
        case _:
            return _help(context, "Overlay manager (overlay)", "list")


@entry(
    "cmd clipboard|phone|jobscheduler|netpolicy|shortcut|role|font|bluetooth_manager|webviewupdate|lock_settings|backup|"
    "device_policy|procstats|netstats|usagestats",
    None,
    does="refused: Android has these services, a handset has not",
)
async def absent(context: Context, _: Given) -> int:
    """Not there."""
    raise Refusal(f"cmd: Can't find service: {context.args[0]}: a handset is not Android", NOT_FOUND)


_STAY = {"true": "7", "false": "0", "usb": "2", "ac": "1", "wireless": "4"}


@entry("svc power", None, does="reboot [REASON], shutdown (as `reboot -p`), stayon true|false|usb|ac|wireless (the setting)")
async def svc_power(context: Context, given: Given) -> int:
    """The phone's power."""
    match given.words:
        case ["shutdown"]:
            return await context.call("reboot", "-p")
        case ["reboot", *_]:
            return await context.call("reboot")
        case ["stayon", how] if how in _STAY:
            stored.put(context.phone, "global", "stay_on_while_plugged_in", _STAY[how])
            return 0
        case _:
            raise Refusal(
                "usage: svc power stayon [true|false|usb|ac|wireless] | svc power reboot [reason] | svc power shutdown", 1
            )


@entry("svc wifi|data|bluetooth|nfc", None, does=f"enable|disable: {NO_RADIO}")
async def svc_radio(context: Context, given: Given) -> int:
    """Remembered, and shown by dumpsys."""
    radio = context.args[0]
    if given.words not in (["enable"], ["disable"]):
        raise Refusal(f"usage: svc {radio} [enable|disable]", 1)
    _switch(context, radio, given.words[0])
    return 0


@entry("svc usb", None, does="getFunctions, setFunctions [FUNCTIONS]: refused but for `adb`, for a handset has no USB")
async def svc_usb(context: Context, given: Given) -> int:
    """ADB over TCP is all there is."""
    match given.words:
        case ["getFunctions"]:
            context.out("adb")
        case ["setFunctions"] | ["setFunctions", "adb" | "none"] | ["resetUsbGadget"]:
            pass
        case ["setFunctions", *_]:
            raise Refusal(f"svc: {shown(' '.join(given.words[1:]))}: a handset has no USB", 1)
        case _:
            raise Refusal("usage: svc usb setFunctions [function] | svc usb getFunctions | svc usb resetUsbGadget", 1)
    return 0


refuse("svc system-server", "a handset has no system server")
