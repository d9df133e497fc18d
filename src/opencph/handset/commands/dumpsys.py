"""dumpsys: the services that a handset has facts for, in the lines that scripts look for."""

from __future__ import annotations

from opencph.handset import apps
from opencph.handset.commands import Context
from opencph.handset.screen_layout import density, rotation, size

SERVICES = ("activity", "battery", "cpuinfo", "display", "input_method", "meminfo", "package", "power", "wifi", "window")


async def dumpsys(context: Context) -> int:
    """A service by name, or -l for their names."""
    words = [word for word in context.args if word not in ("-l", "-t") and not word.isdecimal()]
    if not words:
        context.out("Currently running services:\n" + "\n".join(f"  {name}" for name in SERVICES))
        return 0
    name, *rest = words
    if name not in SERVICES:
        return context.error(f"Can't find service: {name}")
    if name == "package":
        return await _package(context, rest)
    lines = {
        "activity": _activity,
        "battery": _battery,
        "cpuinfo": _cpuinfo,
        "display": _display,
        "input_method": _input_method,
        "meminfo": _meminfo,
        "power": _power,
        "wifi": _wifi,
        "window": _window,
    }[name](context)
    context.out("\n".join(lines))
    return 0


def _activity(context: Context) -> list[str]:
    front = apps.in_front(context.phone)
    package = front.partition("/")[0]
    return [
        "ACTIVITY MANAGER ACTIVITIES (dumpsys activity activities)",
        "Display #0 (activities from top to bottom):",
        f"  * TaskRecord{{1 #1 A={package} U=0 StackId=0 sz=1}}",
        f"    mResumedActivity: ActivityRecord{{1 u0 {front} t1}}",
        f"  topResumedActivity=ActivityRecord{{1 u0 {front} t1}}",
        f"  mFocusedApp=ActivityRecord{{1 u0 {front} t1}}",
    ]


def _battery(_: Context) -> list[str]:
    return [
        "Current Battery Service state:",
        "  AC powered: true",
        "  USB powered: false",
        "  Wireless powered: false",
        "  status: 5",
        "  health: 2",
        "  present: false",
        "  level: 100",
        "  scale: 100",
        "  voltage: 5000",
        "  temperature: 250",
        "  technology: none",
    ]


def _cpuinfo(context: Context) -> list[str]:
    return [f"Load is not counted per phone. CPUs: {context.phone.booted.cpu} (of the model, not reserved)"]


def _display(context: Context) -> list[str]:
    width, height = size(context.phone)
    state = "ON" if context.phone.running_screen.on else "OFF"
    return [
        "DISPLAY MANAGER (dumpsys display)",
        "Display Devices: size=1",
        f"  DisplayDeviceInfo: {width} x {height}, density {density(context.phone)}, state {state}",
        f"  mScreenState={state}",
        f"  orientation={rotation(context.phone)}",
        f"  mCurrentOrientation={rotation(context.phone)}",
    ]


def _input_method(context: Context) -> list[str]:
    shown = str(context.phone.running_screen.focused).lower()
    return ["Current Input Method Manager state:", f"  mInputShown={shown}", f"  mIsInputViewShown={shown}"]


def _meminfo(context: Context) -> list[str]:
    return [f"Total RAM: {context.phone.booted.memory_bytes // 1024:,}K (the most that its processes get; not reserved)"]


def _power(context: Context) -> list[str]:
    on = context.phone.running_screen.on
    return [
        "POWER MANAGER (dumpsys power)",
        f"  mWakefulness={'Awake' if on else 'Asleep'}",
        f"  mWakefulnessChanging=false\n  mInteractive={str(on).lower()}",
        f"Display Power: state={'ON' if on else 'OFF'}",
    ]


def _wifi(context: Context) -> list[str]:
    name = context.phone.running_properties.get("sys.prop.writewifissid")
    return ["Wi-Fi is enabled", f'mWifiInfo SSID: "{name}", state: shown to apps only; a handset has no radio']


def _window(context: Context) -> list[str]:
    phone = context.phone
    screen = phone.running_screen
    width, height = size(phone)
    front = "StatusBar" if screen.locked else apps.in_front(phone)
    locked = str(screen.locked).lower()
    return [
        "WINDOW MANAGER (dumpsys window)",
        f"  init={phone.booted.width}x{phone.booted.height} {phone.booted.dpi}dpi cur={width}x{height} app={width}x{height}",
        f"  mCurrentFocus=Window{{1 u0 {front}}}",
        f"  mFocusedApp=ActivityRecord{{1 u0 {apps.in_front(phone)} t1}}",
        f"  mShowingLockscreen={locked} mDreamingLockscreen={locked} isStatusBarKeyguard={locked}",
        f"  mScreenState={'ON' if screen.on else 'OFF'} mAwake={str(screen.on).lower()}",
        f"  mCurrentRotation=ROTATION_{90 * rotation(phone)} mRotation={rotation(phone)}",
        f"  SurfaceOrientation: {rotation(phone)}",
    ]


async def _package(context: Context, words: list[str]) -> int:
    from opencph.handset import packages

    found = await packages.installed(context.phone) if (context.phone.config.directory / "data" / "app").exists() else {}
    wanted = words[0] if words else ""
    if not wanted:
        context.out("Packages:\n  Package [android] (0)\n" + "\n".join(f"  Package [{name}] (0)" for name in found))
        return 0
    package = found.get(wanted)
    if package is None:
        context.out(f"Unable to find package: {wanted}")
        return 0
    lines = [
        "Packages:",
        f"  Package [{wanted}] (0):",
        f"    codePath=/data/app/{package.directory}",
        f"    versionCode={package.version_code} minSdk={package.min_sdk} targetSdk={package.target_sdk}",
        f"    versionName={package.version_name}",
        f"    dataDir=/data/user/0/{wanted}",
        "    requested permissions:",
        *(f"      {permission}" for permission in package.permissions),
    ]
    context.out("\n".join(lines))
    return 0
