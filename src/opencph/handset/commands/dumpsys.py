"""dumpsys: the services that a handset has facts for, in the lines that scripts look for. Activities and packages are elsewhere."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from opencph.handset import apps
from opencph.handset.clock import local
from opencph.handset.commands import Context, battery, dumpsys_activity, dumpsys_package, idling, sound
from opencph.handset.commands import settings as stored
from opencph.handset.commands.options import Given, shown
from opencph.handset.commands.service_names import INTERFACES, running
from opencph.handset.commands.settings import KEYBOARD
from opencph.handset.commands.table import entry
from opencph.handset.screen_layout import density, rotation, size

Lines = Callable[[Context, list[str]], Awaitable[list[str]]]


@entry(
    "dumpsys",
    "-l -T= -t= --help --pid --skip= --proto --priority= --clients --dump --thread",
    first_word_ends=True,
    does="[-l] [SERVICE [ARGUMENTS]]: what is known of a service, or of all",
    refused={"--proto": "a handset writes no protocol buffers"},
)
async def dumpsys(context: Context, given: Given) -> int:
    """A service by name, all of them, or -l for their names."""
    await apps.refresh(context.phone)
    if given.has("-l"):
        context.out(running())
        return 0
    if given.words:
        name, *rest = given.words
        if name not in INTERFACES:
            context.error(f"Can't find service: {shown(name)}")
            return 0  # as Android's
        lines = await SERVICES[name](context, rest) if name in SERVICES else []
        if lines:
            context.out("\n".join(lines))
        return 0
    skipped = given.value("--skip").split(",")
    names = [name for name in sorted(SERVICES) if name not in skipped]
    context.out("Currently running services:\n" + "\n".join(f"  {name}" for name in names))
    for name in names:
        context.out(f"{'-' * 79}\nDUMP OF SERVICE {name}:")
        begun = time.monotonic()
        context.out("\n".join(await SERVICES[name](context, [])))
        taken = time.monotonic() - begun
        ended = time.strftime("%Y-%m-%d %H:%M:%S", local(context.phone))
        context.out(f"--------- {taken:.3f}s was the duration of dumpsys {name}, ending at: {ended}")
        await context.drain()
    return 0


async def _cpuinfo(context: Context, _: list[str]) -> list[str]:
    return [f"Load is not counted per phone. CPUs: {context.phone.booted.cpu} (of the model, not reserved)"]


async def _display(context: Context, _: list[str]) -> list[str]:
    width, height = size(context.phone)
    state, dpi, turn = "ON" if context.phone.running_screen.on else "OFF", density(context.phone), rotation(context.phone)
    viewport = (
        "DisplayViewport{type=INTERNAL, valid=true, isActive=true, displayId=0, uniqueId='local:0', physicalPort=0, "
        f"orientation={turn}, logicalFrame=Rect(0, 0 - {width}, {height}), physicalFrame=Rect(0, 0 - {width}, {height}), "
        f"deviceWidth={width}, deviceHeight={height}}}"
    )
    return [
        "DISPLAY MANAGER (dumpsys display)",
        f"  mViewports=[{viewport}]",
        f"  mDefaultDisplayDefaultColorMode=0\n  mScreenState={state}",
        "Display Devices: size=1",
        f'  DisplayDeviceInfo{{"Built-in Screen": uniqueId="local:0", {width} x {height}, modeId 1, defaultModeId 1, '
        f"density {dpi}, {dpi}.0 x {dpi}.0 dpi, state {state}, type INTERNAL}}",
        "Logical Displays: size=1",
        "  Display 0:",
        '    mBaseDisplayInfo=DisplayInfo{"Built-in Screen", displayId 0, '
        f"real {width} x {height}, mode 1, rotation {turn}, density {dpi}}}",
        f"  orientation={turn}",
        f"  mCurrentOrientation={turn}",
    ]


async def _input_method(context: Context, _: list[str]) -> list[str]:
    visible = str(context.phone.running_screen.focused).lower()
    return [
        "Current Input Method Manager state:",
        f"  mCurMethodId={KEYBOARD}",
        f"  mShowRequested={visible} mShowExplicitlyRequested={visible} mInputShown={visible}",
        f"  mIsInputViewShown={visible}",
    ]


async def _input(context: Context, _: list[str]) -> list[str]:
    width, height = size(context.phone)
    return [
        "INPUT MANAGER (dumpsys input)",
        "Input Manager State:\n  Interactive: " + str(context.phone.running_screen.on).lower(),
        "Event Hub State:",
        "  Devices:",
        "    1: handset-touchscreen\n      Classes: TOUCH | TOUCH_MT",
        "    2: handset-keyboard\n      Classes: KEYBOARD | ALPHAKEY",
        "Input Reader State:",
        "  Device 1: handset-touchscreen",
        f"      SurfaceWidth: {width}px\n      SurfaceHeight: {height}px\n      SurfaceOrientation: {rotation(context.phone)}",
        "Input Dispatcher State:",
        f"  FocusedApplications:\n    displayId=0, name='ActivityRecord{{1 u0 {apps.in_front(context.phone)} t1}}'",
    ]


async def _surface_flinger(context: Context, words: list[str]) -> list[str]:
    width, height = size(context.phone)
    layers = [f"{apps.in_front(context.phone)}#0", "StatusBar#0", "NavigationBar0#0"]
    if "--list" in words:
        return layers
    if "--display-id" in words:
        return ['Display 0 (HWC display 0): port=0 pnpId=OCP displayName="handset"']
    if "--latency" in words:
        return ["16666666"]
    return [
        "SurfaceFlinger: drawn by the handset when somebody looks",
        f"Display 0: {width} x {height}",
        "Layers:",
        *(f"  {one}" for one in layers),
    ]


async def _gfxinfo(context: Context, words: list[str]) -> list[str]:
    made = [
        "Applications Graphics Acceleration Info:",
        f"Uptime: {int(context.phone.uptime * 1000)} Realtime: {int(context.phone.uptime * 1000)}",
    ]
    for app in context.phone.running_screen.recent:
        if not app.page and (not words or app.package == words[0]):
            pid = context.phone.running_screen.pids.get(app.package, 0)
            made += [
                f"\n** Graphics info for pid {pid} [{app.package}] **\n",
                "Total frames rendered: 0",
                "Janky frames: 0 (0.00%)",
            ]
    return made if len(made) > 2 or not words else [f"No process found for: {shown(words[0])}"]


async def _diskstats(context: Context, _: list[str]) -> list[str]:
    disk = context.phone.disk
    free, total = max(0, disk.limit - disk.used()) // 1024, disk.limit // 1024
    percent = 100 * free // total if total else 0
    return [
        f"Data-Free: {free}K / {total}K total = {percent}% free",
        f"Cache-Free: {free}K / {total}K total = {percent}% free",
        "System-Free: 0K / 0K total = 0% free",
    ]


async def _meminfo(context: Context, words: list[str]) -> list[str]:
    if words and not words[0].startswith("-"):
        return [f"No process found for: {shown(words[0])}"]
    return [f"Total RAM: {context.phone.booted.memory_bytes // 1024:,}K (the most that its processes get; not reserved)"]


async def _notification(context: Context, _: list[str]) -> list[str]:
    made = ["Current Notification Manager state:", "  Notification List:"]
    if context.phone.running_properties.get("ro.com.cph.notification_disable") != "1":
        made.append(
            "    NotificationRecord(0x1: pkg=android user=UserHandle{0} id=1 tag=null importance=2 key=0|android|1|null|1000: "
            "Notification(channel=DEVELOPER_IMPORTANT text=ADB connected))"
        )
    return made


async def _connectivity(context: Context, _: list[str]) -> list[str]:
    return [
        "NetworkProviders for:",
        "Active default network: none",
        "Current Networks:",
        "  (a handset's programs have a loopback only)",
    ]


async def _telephony(context: Context, _: list[str]) -> list[str]:
    get = context.phone.running_properties.get
    numeric = get("gsm.operator.numeric")
    return [
        "last known state:",
        "  Phone Id=0",
        "    mCallState=0",
        "    mRingingCallState=0",
        "    mCallIncomingNumber=",
        "    mServiceState={mVoiceRegState=1(OUT_OF_SERVICE), mDataRegState=1(OUT_OF_SERVICE), "
        f"mOperatorAlphaLong={get('gsm.operator.alpha')}, "
        f"mOperatorAlphaShort={get('gsm.operator.alpha')}, mOperatorNumeric={numeric}}}",
        "    mDataConnectionState=0",
        "  (operator and numbers are properties for apps to read: a handset has no modem)",
    ]


async def _power(context: Context, _: list[str]) -> list[str]:
    on = context.phone.running_screen.on
    yes = str(on).lower()
    stay = context.phone.running_state.settings.get("global", {}).get("stay_on_while_plugged_in", "0")
    return [
        "POWER MANAGER (dumpsys power)",
        "",
        "Power Manager State:",
        f"  mDirty=0x0\n  mWakefulness={'Awake' if on else 'Asleep'}",
        f"  mWakefulnessChanging=false\n  mInteractive={yes}",
        f"  mIsPowered={str(battery.powered(context.phone)).lower()}\n  mStayOn={str(stay != '0').lower()}",
        f"  mHoldingWakeLockSuspendBlocker=false\n  mHoldingDisplaySuspendBlocker={yes}",
        "",
        "Settings and Configuration:",
        f"  mStayOnWhilePluggedInSetting={stay}",
        "Wake Locks: size=0",
        f"Display Power: state={'ON' if on else 'OFF'}",
    ]


async def _wifi(context: Context, _: list[str]) -> list[str]:
    name = context.phone.running_properties.get("sys.prop.writewifissid")
    state = "disabled" if stored.every(context.phone, "global")["wifi_on"] == "0" else "enabled"
    return [f"Wi-Fi is {state}", f'mWifiInfo SSID: "{name}", state: shown to apps only; a handset has no radio']


async def _alarm(_: Context, __: list[str]) -> list[str]:
    return ["Current Alarm Manager state:", "  0 pending alarms: no app runs that could set one"]


SERVICES: dict[str, Lines] = {
    "SurfaceFlinger": _surface_flinger,
    "activity": dumpsys_activity.activity,
    "alarm": _alarm,
    "audio": sound.audio,
    "battery": battery.dump,
    "batterystats": idling.batterystats,
    "connectivity": _connectivity,
    "cpuinfo": _cpuinfo,
    "deviceidle": idling.deviceidle,
    "diskstats": _diskstats,
    "display": _display,
    "gfxinfo": _gfxinfo,
    "input": _input,
    "input_method": _input_method,
    "media_session": sound.sessions,
    "meminfo": _meminfo,
    "notification": _notification,
    "package": dumpsys_package.package,
    "power": _power,
    "telephony.registry": _telephony,
    "wifi": _wifi,
    "window": dumpsys_activity.window,
}
