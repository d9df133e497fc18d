"""The battery, which a handset only plays: `dumpsys battery set` and `cmd battery` change what it says until the next reboot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opencph.handset.commands import Context
from opencph.handset.commands.options import Given, Refusal, shown, whole
from opencph.handset.commands.table import entry

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

_FACTS = {
    "ac": 1,
    "usb": 0,
    "wireless": 0,
    "status": 5,
    "health": 2,
    "present": 1,
    "level": 100,
    "scale": 100,
    "counter": 0,
    "voltage": 5000,
    "temp": 250,
    "invalid": 0,
}
_SET = ("present", "ac", "usb", "wireless", "status", "level", "counter", "temp", "invalid")
UPDATES_STOPPED = "  (UPDATES STOPPED -- use 'reset' to restart)"
_NAMES = "|".join(_SET)
USAGE = f"Battery service (battery) commands:\n  help\n  set [-f] [{_NAMES}] VALUE\n  get [{_NAMES}]\n  unplug [-f]\n  reset [-f]"


def value(phone: Phone, name: str) -> int:
    """One of its facts."""
    return int(phone.until_reboot.get(f"battery {name}", _FACTS[name]))


def powered(phone: Phone) -> bool:
    """Whether it is plugged in."""
    return any(value(phone, name) for name in ("ac", "usb", "wireless"))


async def dump(context: Context, words: list[str]) -> list[str]:
    """dumpsys battery: the state, or a command as `cmd battery` has it."""
    if words and not words[0].startswith("-"):
        change(context, words)
        return []
    phone = context.phone
    stopped = any(name.startswith("battery ") for name in phone.until_reboot)
    yes = {name: str(bool(value(phone, name))).lower() for name in ("ac", "usb", "wireless", "present")}
    return [
        "Current Battery Service state:",
        *([UPDATES_STOPPED] if stopped else []),
        f"  AC powered: {yes['ac']}",
        f"  USB powered: {yes['usb']}",
        f"  Wireless powered: {yes['wireless']}",
        "  Max charging current: 0",
        "  Max charging voltage: 0",
        f"  Charge counter: {value(phone, 'counter')}",
        f"  status: {value(phone, 'status')}",
        f"  health: {value(phone, 'health')}",
        f"  present: {yes['present']}",
        f"  level: {value(phone, 'level')}",
        f"  scale: {value(phone, 'scale')}",
        f"  voltage: {value(phone, 'voltage')}",
        f"  temperature: {value(phone, 'temp')}",
        "  technology: none",
    ]


def change(context: Context, words: list[str]) -> int:
    """set, get, unplug, reset. Raises Refusal."""
    kept = context.phone.until_reboot
    words = [word for word in words if word != "-f"]
    match words:
        case ["unplug"]:
            kept.update({f"battery {name}": "0" for name in ("ac", "usb", "wireless")}, **{"battery status": "3"})
        case ["reset"]:
            for name in [name for name in kept if name.startswith("battery ")]:
                del kept[name]
        case ["set"]:
            raise Refusal("No property specified")
        case ["set", name, *given]:
            if name not in _SET:
                raise Refusal(f"Unknown set option: {shown(name)}")
            number = whole(given[0], -(1 << 31), (1 << 31) - 1) if given else None
            if number is None:
                raise Refusal("No value specified" if not given else f"Bad value: {shown(given[0])}")
            kept[f"battery {name}"] = str(number)
        case ["get", name]:
            if name not in _SET:
                raise Refusal(f"Unknown get option: {shown(name)}")
            context.out(str(value(context.phone, name)))
        case _:
            context.out(USAGE)
            return 255
    return 0


@entry("cmd battery", None, does="set|get NAME [VALUE], unplug, reset: what it says until the next reboot")
async def battery(context: Context, given: Given) -> int:
    """As `dumpsys battery` with these words."""
    return change(context, given.words)
