"""getprop, setprop and watchprops."""

from __future__ import annotations

import asyncio

from opencph.handset.commands import Context
from opencph.handset.commands.options import Given, Refusal, shown, text
from opencph.handset.commands.table import entry

_NUMBERS = ("service.adb.tcp.port", "ro.sf.lcd_density", "ro.build.version.sdk")
LOOK_SECONDS = 0.5
ANSWER_SECONDS = 0.05  # for the answer to leave before the connection ends


def _kind(name: str, value: str) -> str:
    if name in _NUMBERS:
        return "int"
    if value in ("0", "1", "true", "false") and (name.startswith(("ro.", "sys.", "persist.")) or "enable" in name):
        return "bool" if value in ("true", "false") else "string"
    return "string"


def _label(name: str) -> str:
    return "u:object_r:default_prop:s0" if not name.startswith("ro.build") else "u:object_r:build_prop:s0"


@entry(
    "getprop",
    "-T -Z",
    does="[NAME [DEFAULT]]: all properties, or one; -T their types, -Z their SELinux labels",
    bundled=True,
    first_word_ends=True,
)
async def getprop(context: Context, given: Given) -> int:
    """As Android lists them."""
    properties = context.phone.running_properties

    def shown(name: str, value: str) -> str:
        return _kind(name, value) if given.has("-T") else _label(name) if given.has("-Z") else value

    if not given.words:
        context.out("\n".join(f"[{name}]: [{shown(name, value)}]" for name, value in properties.all().items()))
        return 0
    if len(given.words) > 2:
        raise Refusal("usage: getprop [-TZ] [NAME [DEFAULT]]", 1)
    name = given.words[0]
    value = properties.get(name) or (given.words[1] if len(given.words) > 1 else "")
    context.out(shown(name, value) if given.has("-T", "-Z") else value)
    return 0


@entry(
    "setprop",
    "",
    does="NAME VALUE: `persist.` ones outlive a reboot, `ro.` ones cannot be changed; sys.powerctl reboot|shutdown and, for root, "
    "ctl.restart adbd do it",
    bundled=True,
    first_word_ends=True,
)
async def setprop(context: Context, given: Given) -> int:
    """Set a property."""
    if len(given.words) != 2:
        raise Refusal("usage: setprop NAME VALUE", 1)
    name, value = map(text, given.words)
    if name == "sys.powerctl":
        return await _power(context, value)
    if name.startswith("ctl."):
        return _control(context, name, value)
    properties = context.phone.running_properties
    if why_not := properties.refusal(name, value):
        raise Refusal(f"setprop: {why_not}", 1)
    if name.startswith("persist."):
        with context.phone.changing_state() as state:
            state.properties[name] = value
    else:
        properties.set(name, value)
    context.phone.running_screen.version += 1  # the screen may follow it
    return 0


async def _power(context: Context, value: str) -> int:
    """What init does for this property."""
    what = value.partition(",")[0]
    if what not in ("reboot", "shutdown"):
        raise Refusal(f"setprop: sys.powerctl takes reboot or shutdown, not '{shown(value)}'", 1)
    return await context.call("reboot", *(["-p"] if what == "shutdown" else []))


def _control(context: Context, name: str, value: str) -> int:
    """What init does for a service: a handset has adbd only, and the shell of Android may not ask."""
    phone = context.phone
    if not phone.adb_root:
        raise Refusal(f"Failed to set property '{shown(name)}' to '{shown(value)}'.\nSee dmesg for error reason.", 1)
    if (name, value) != ("ctl.restart", "adbd"):
        raise Refusal(f"setprop: {shown(name)}: a handset has no service {shown(value)} of init that could be switched", 1)

    async def later() -> None:
        await asyncio.sleep(ANSWER_SECONDS)
        if phone.daemon is not None:
            phone.daemon.disconnect_all()

    phone.run(later())
    return 0


@entry("watchprops", "", does="prints every property that changes, until it is ended")
async def watchprops(context: Context, _: Given) -> int:
    """For as long as somebody reads."""
    before = context.phone.running_properties.all()
    while True:
        await context.drain()
        await asyncio.sleep(LOOK_SECONDS)
        now = context.phone.running_properties.all()
        for name, value in now.items():
            if before.get(name) != value:
                context.out(f"{int(context.phone.uptime)} {name} = '{value}'")
        before = now
