"""deviceidle and batterystats, for `dumpsys` and `cmd`: a handset is always plugged in, never dozes and counts no charge."""

from __future__ import annotations

import time

from opencph.handset import package_states, packages
from opencph.handset.clock import local
from opencph.handset.commands import Context, battery
from opencph.handset.commands.options import FAILED, Given, Refusal, shown
from opencph.handset.commands.table import entry

WHITELIST = "deviceidle whitelist"
USAGE = (
    "Device idle controller (deviceidle) commands:\n  help\n  get [light|deep|force|screen|charging|network]\n"
    "  step|force-idle [light|deep]\n  unforce\n  enabled [light|deep|all]\n  enable|disable [light|deep|all]\n"
    "  whitelist [+PACKAGE|-PACKAGE|=PACKAGE]..."
)
_DAY = 86_400_000


async def deviceidle(context: Context, words: list[str]) -> list[str]:
    """dumpsys deviceidle: the state, or a command as `cmd deviceidle` has it."""
    if words and words[0] == "-h":
        return [USAGE]
    if words and not words[0].startswith("-"):
        await _idle_command(context, words)
        return []
    phone = context.phone
    return [
        "  Settings:",
        "    light_after_inactive_to=+3m0s0ms",
        "    inactive_to=+30m0s0ms",
        *(f"  Whitelist user app: {name}" for name in _listed(context)),
        "  mLightEnabled=false  mDeepEnabled=false",
        "  mForceIdle=false",
        f"  mScreenOn={str(phone.running_screen.on).lower()}",
        f"  mScreenLocked={str(phone.running_screen.locked).lower()}",
        "  mNetworkConnected=false",
        f"  mCharging={str(battery.powered(phone)).lower()}",
        "  mState=ACTIVE mLightState=ACTIVE",
    ]


def _listed(context: Context) -> list[str]:
    return [name for name in context.phone.until_reboot.get(WHITELIST, "").split(",") if name]


async def _idle_command(context: Context, words: list[str]) -> int:
    phone = context.phone
    facts = {
        "light": "ACTIVE",
        "deep": "ACTIVE",
        "force": "false",
        "screen": str(phone.running_screen.on).lower(),
        "charging": str(battery.powered(phone)).lower(),
        "network": "false",
    }
    match words:
        case ["get", name] if name in facts:
            context.out(facts[name])
        case ["step" | "force-idle", *rest] if rest in ([], ["light"], ["deep"]):
            kind = rest[0] if rest else "deep"
            raise Refusal(f"Unable to go {kind} idle; not enabled", FAILED)
        case ["unforce"]:
            context.out("Light state: ACTIVE, deep state: ACTIVE")
        case ["enabled", *_]:
            context.out("0")
        case ["enable", *_]:
            raise Refusal("deviceidle: a handset never dozes: there is nothing that its apps could save", FAILED)
        case ["disable", *_]:
            context.out("Deep and light idle mode disabled")
        case ["whitelist", *rest]:
            await _whitelist(context, rest)
        case _:
            context.out(USAGE)
            return FAILED
    return 0


async def _whitelist(context: Context, words: list[str]) -> None:
    """Kept until the next reboot, and without effect. Raises Refusal."""
    names = _listed(context)
    known = {name: one.uid for name, one in (await packages.installed(context.phone)).items()}
    known |= {name: one.uid for name, one in package_states.SYSTEM.items()}
    for word in words:
        sign, name = word[:1], word[1:]
        if sign not in ("+", "-", "="):
            raise Refusal(f"Package must be prefixed with +, -, or =: {shown(word)}", FAILED)
        if sign == "=":
            context.out(str(name in names).lower())
        elif sign == "+" and name in known:
            names += [] if name in names else [name]
            context.out(f"Added: {name}")
        elif sign == "-" and name in names:
            names.remove(name)
            context.out(f"Removed: {name}")
        elif sign == "+":
            context.out(f"Unknown package: {shown(name)}")
    if words:
        context.phone.until_reboot[WHITELIST] = ",".join(names)
    else:
        for name in names:
            context.out(f"user,{name},{known.get(name, 0)}")


@entry(
    "cmd deviceidle",
    None,
    does="get NAME, whitelist [+PACKAGE|-PACKAGE]..., enabled, unforce; force-idle and step are refused: a handset never dozes",
)
async def cmd_deviceidle(context: Context, given: Given) -> int:
    """As `dumpsys deviceidle` with these words."""
    return await _idle_command(context, given.words)


async def batterystats(context: Context, words: list[str]) -> list[str]:
    """dumpsys batterystats: nothing was ever drained."""
    if "-h" in words:
        return ["Battery stats (batterystats) dump options:\n  [--reset] [--charged] [--history] [-c|--checkin] [PACKAGE]"]
    if "--reset" in words:
        return ["Battery stats reset."]
    for verb, said in (("--enable", "Enabled"), ("--disable", "Disabled")):
        if verb in words:
            return [f"{said}: {shown(' '.join(words[words.index(verb) + 1 :][:1]))}"]
    phone = context.phone
    milliseconds = int(phone.uptime * 1000)
    begun = time.strftime("%Y-%m-%d-%H-%M-%S", local(phone, time.time() - phone.uptime))
    if {"-c", "--checkin"} & set(words):
        return [
            "9,0,i,vers,35,177,handset,handset",
            f"9,0,l,bt,0,0,0,{milliseconds},{milliseconds},{int(time.time() * 1000) - milliseconds},0,0,0,0,0,0",
        ]
    up = f"{milliseconds // _DAY}d {milliseconds // 3_600_000 % 24}h {milliseconds // 60_000 % 60}m {milliseconds // 1000 % 60}s"
    return [
        "Battery History (0% used, 0 used of 4096KB, 0 strings using 0):",
        f"                    0 (9) RESET:TIME: {begun}",
        f"                    0 (2) {battery.value(phone, 'level'):03} status=full health=good plug=ac",
        "",
        "Statistics since last charge:",
        "  System starts: 1, currently on battery: false",
        "  Time on battery: 0ms (0.0%) realtime, 0ms (0.0%) uptime",
        f"  Total run time: {up} realtime, {up} uptime",
        "  Discharge: 0 mAh",
        f"  Start clock time: {begun}",
        "",
        "  Estimated power use (mAh):",
        "    Capacity: 0, Computed drain: 0, actual drain: 0",
    ]
