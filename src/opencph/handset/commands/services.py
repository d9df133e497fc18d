"""cmd and svc: Android's ways to its services. Those that are commands of their own are called; the small ones are here."""

from __future__ import annotations

from opencph.handset import apps
from opencph.handset.commands import Context, battery
from opencph.handset.commands import settings as stored
from opencph.handset.commands.options import FAILED, Given, Refusal, shown
from opencph.handset.commands.table import TABLE, entry, refuse

__all__ = ["battery"]

SAME = {"package": "pm", "activity": "am", "window": "wm", "settings": "settings", "input": "input"}  # services that are commands
NOT_FOUND = 20  # the exit code of `cmd` for a service that is not there
NO_RADIO = "a handset has no radio: switching changes the setting (wifi_on, mobile_data, bluetooth_on), and nothing else"
SETTINGS = {"wifi": "wifi_on", "data": "mobile_data", "bluetooth": "bluetooth_on", "nfc": "nfc_on"}  # of the radios


@entry(
    "cmd",
    None,
    does="SERVICE ARGUMENTS, or -l for the services; package, activity, window, settings, input are pm, am, wm, settings, input",
)
async def cmd(context: Context, given: Given) -> int:
    """A service by name."""
    words = given.words[1:] if given.words[:1] == ["-w"] else given.words
    if not words:
        raise Refusal(
            "cmd: No service specified; use -l to list all running services. -w to start and wait for the service.", NOT_FOUND
        )
    name, *rest = words
    subs = sorted(sub for sub in TABLE["cmd"] if sub)
    if name == "-l":
        context.out("Currently running services:\n" + "\n".join(f"  {one}" for one in sorted([*SAME, *subs])))
        return 0
    if name in SAME:
        return await context.call(SAME[name], *rest)
    if name not in subs:
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
    settings = context.phone.running_state.settings.setdefault("global", {})
    match given.words:
        case ["airplane-mode"]:
            context.out("enabled" if settings.get("airplane_mode_on") == "1" else "disabled")
        case ["airplane-mode", ("enable" | "disable") as verb]:
            settings["airplane_mode_on"] = "1" if verb == "enable" else "0"
            context.phone.save_state()
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
    secure = context.phone.running_state.settings.setdefault("secure", {})
    modes = {"auto": "0", "no": "1", "yes": "2"}
    match given.words:
        case ["night", mode] if mode in modes:
            secure["ui_night_mode"] = modes[mode]
            context.phone.save_state()
        case ["night"]:
            pass
        case _:
            return _help(context, "UiModeManager service (uimode)", "night [yes|no|auto]")
    names = {number: name for name, number in modes.items()}
    context.out(f"Night mode: {names.get(secure.get('ui_night_mode', '1'), 'no')}")
    return 0


@entry("cmd power", None, does="set-mode 0|1 (low power, a setting)")
async def power(context: Context, given: Given) -> int:
    """The setting low_power."""
    match given.words:
        case ["set-mode", ("0" | "1") as mode]:
            context.phone.running_state.settings.setdefault("global", {})["low_power"] = mode
            context.phone.save_state()
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
    "cmd clipboard|phone|jobscheduler|deviceidle|netpolicy|shortcut|role|font|media_session|bluetooth_manager|webviewupdate",
    None,
    does="refused: Android has these services, a handset has not",
)
async def absent(context: Context, _: Given) -> int:
    """Not there."""
    raise Refusal(f"cmd: Can't find service: {context.args[0]}: a handset is not Android", NOT_FOUND)


_STAY = {"true": "7", "false": "0", "usb": "2", "ac": "1", "wireless": "4"}


@entry("svc power", None, does="reboot [REASON], shutdown, stayon true|false|usb|ac|wireless (the setting)")
async def svc_power(context: Context, given: Given) -> int:
    """The phone's power."""
    match given.words:
        case ["shutdown"]:
            return await context.call("reboot", "-p")
        case ["reboot", *_]:
            return await context.call("reboot")
        case ["stayon", how] if how in _STAY:
            context.phone.running_state.settings.setdefault("global", {})["stay_on_while_plugged_in"] = _STAY[how]
            context.phone.save_state()
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
