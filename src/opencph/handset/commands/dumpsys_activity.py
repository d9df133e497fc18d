"""dumpsys activity and dumpsys window, section by section: what is open, what is in front, how the screen is."""

from __future__ import annotations

from opencph.handset import apps
from opencph.handset.commands import Context
from opencph.handset.commands.options import shown
from opencph.handset.screen_layout import density, rotation, size, upright


async def activity(context: Context, words: list[str]) -> list[str]:
    """All sections, or the one that is named."""
    words = [word for word in words if not word.startswith("-")]
    if not words:
        return [line for section in ACTIVITY.values() for line in [*section(context), "-" * 79]]
    name = {
        "a": "activities",
        "r": "recents",
        "b": "broadcasts",
        "p": "processes",
        "s": "services",
        "i": "intents",
        "prov": "providers",
    }.get(words[0], words[0])
    if name in ACTIVITY:
        return ACTIVITY[name](context)
    if name == "top":
        return _top(context)
    match = [row for row in apps.tasks(context.phone) if words[0] in row[1]]
    if not match:
        return [f"Bad activity command, or no activities match: {shown(words[0])}\nUse -h for help."]
    return [line for row in match for line in _activity(row)]


def _activities(context: Context) -> list[str]:
    rows = apps.tasks(context.phone)
    front = rows[0][1]
    made = ["ACTIVITY MANAGER ACTIVITIES (dumpsys activity activities)", "Display #0 (activities from top to bottom):"]
    for number, (task, component, pid, _) in enumerate(rows):
        package = component.partition("/")[0]
        made += [
            f"  Stack #{task}: type=standard mode=fullscreen",
            f"  * TaskRecord{{{task} #{task} A={package} U=0 StackId={task} sz=1}}",
            f"    * Hist #0: ActivityRecord{{{task} u0 {component} t{task}}}",
            f"        packageName={package} processName={package}",
            f"        state={'RESUMED' if not number else 'STOPPED'} stopped={str(bool(number)).lower()} pid={pid}",
        ]
    task = rows[0][0]
    made += [
        f"    mResumedActivity: ActivityRecord{{{task} u0 {front} t{task}}}",
        f"  ResumedActivity: ActivityRecord{{{task} u0 {front} t{task}}}",
        f"  topResumedActivity=ActivityRecord{{{task} u0 {front} t{task}}}",
        f"  mFocusedApp=ActivityRecord{{{task} u0 {front} t{task}}}",
        f"  mLastPausedActivity=null\n  mSleeping={str(not context.phone.running_screen.on).lower()}",
    ]
    return made


def _recents(context: Context) -> list[str]:
    rows = apps.tasks(context.phone)
    made = ["ACTIVITY MANAGER RECENT TASKS (dumpsys activity recents)", "  Recent tasks:"]
    for number, (task, component, _, uid) in enumerate(rows):
        package = component.partition("/")[0]
        made += [
            f"  * Recent #{number}: Task{{{task} #{task} visible={str(number == 0).lower()} type=standard mode=fullscreen "
            f"A={uid}:{package} U=0 sz=1}}",
            f"    userId=0 effectiveUid={uid} mCallingPackage=com.android.shell",
            f"    realActivity={{{component}}}",
        ]
    return made


def _processes(context: Context) -> list[str]:
    made = ["ACTIVITY MANAGER RUNNING PROCESSES (dumpsys activity processes)", "  Process LRU list: cards, for no app runs"]
    rows = [row for row in apps.tasks(context.phone) if row[2]]
    for number, (_, component, pid, uid) in enumerate(rows):
        package = component.partition("/")[0]
        front = component == apps.in_front(context.phone)
        made += [
            f"  *APP* UID {uid} ProcessRecord{{{pid} {pid}:{package}/u0a{uid - 10000}}}",
            f"    user #0 uid={uid}",
            f"    curProcState={2 if front else 15} pid={pid} starting=false #{number}",
        ]
    return made


def _services(_: Context) -> list[str]:
    return ["ACTIVITY MANAGER SERVICES (dumpsys activity services)", "  (nothing)"]


def _broadcasts(_: Context) -> list[str]:
    return [
        "ACTIVITY MANAGER BROADCAST STATE (dumpsys activity broadcasts)",
        "  Historical broadcasts [foreground]:",
        "  (nothing)",
    ]


def _providers(_: Context) -> list[str]:
    return ["ACTIVITY MANAGER CONTENT PROVIDERS (dumpsys activity providers)", "  (nothing)"]


def _intents(_: Context) -> list[str]:
    return ["ACTIVITY MANAGER PENDING INTENTS (dumpsys activity intents)", "  (nothing)"]


ACTIVITY = {
    "intents": _intents,
    "broadcasts": _broadcasts,
    "providers": _providers,
    "services": _services,
    "recents": _recents,
    "activities": _activities,
    "processes": _processes,
}


def _activity(row: tuple[int, str, int, int]) -> list[str]:
    task, component, pid, _ = row
    package = component.partition("/")[0]
    return [
        f"TASK {package} id={task} userId=0",
        f"  ACTIVITY {component} {task:x} pid={pid}",
        "    Local Activity: a card, for no app runs",
    ]


def _top(context: Context) -> list[str]:
    """From the back to the front, as Android lists them."""
    return [line for row in reversed(apps.tasks(context.phone)) for line in _activity(row)]


async def window(context: Context, words: list[str]) -> list[str]:
    """All sections, or the one that is named."""
    words = [word for word in words if not word.startswith("-")]
    names = {
        "d": "displays",
        "p": "policy",
        "w": "windows",
        "l": "lastanr",
        "t": "tokens",
        "s": "sessions",
        "a": "animator",
        "visible": "windows",
    }
    name = names.get(words[0], words[0]) if words else ""
    if not name:
        return [line for section in (_policy, _displays, _windows) for line in [*section(context), "-" * 79]]
    sections = {"displays": _displays, "policy": _policy, "windows": _windows}
    if name in sections:
        return sections[name](context)
    heads = {
        "lastanr": "WINDOW MANAGER LAST ANR (dumpsys window lastanr)\n  <no ANR has occurred since boot>",
        "tokens": "WINDOW MANAGER TOKENS (dumpsys window tokens)",
        "sessions": "WINDOW MANAGER SESSIONS (dumpsys window sessions)",
        "animator": "WINDOW MANAGER ANIMATOR STATE (dumpsys window animator)",
    }
    return [heads[name]] if name in heads else [f"Bad window command, or no windows match: {shown(name)}\nUse -h for help."]


def _focus(context: Context) -> list[str]:
    phone = context.phone
    front = (
        "StatusBar"
        if phone.running_screen.locked
        else "NotificationShade"
        if phone.running_screen.shade
        else apps.long(apps.in_front(phone))
    )
    task = apps.tasks(phone)[0][0]
    focused = f"ActivityRecord{{{task} u0 {apps.in_front(phone)} t{task}}}"
    return [f"  mCurrentFocus=Window{{{task} u0 {front}}}", f"  mFocusedApp={focused}"]


def _displays(context: Context) -> list[str]:
    phone = context.phone
    width, height = size(phone)
    tall = upright(phone)
    turn = rotation(phone)
    return [
        "WINDOW MANAGER DISPLAY CONTENTS (dumpsys window displays)",
        "  Display: mDisplayId=0",
        f"    init={phone.booted.width}x{phone.booted.height} {phone.booted.dpi}dpi base={tall[0]}x{tall[1]} {density(phone)}dpi "
        f"cur={width}x{height} app={width}x{height} "
        f"rng={min(width, height)}x{min(width, height)}-{max(width, height)}x{max(width, height)}",
        *_focus(context),
        "  DisplayRotation",
        f"    mCurrentRotation=ROTATION_{90 * turn} mRotation={turn}",
        f"    mUserRotation=ROTATION_{90 * turn}",
        f"  DisplayFrames w={width} h={height} r={turn}",
        f"  SurfaceOrientation: {turn}",
    ]


def _policy(context: Context) -> list[str]:
    phone = context.phone
    screen = phone.running_screen
    locked, awake = str(screen.locked).lower(), str(screen.on).lower()
    return [
        "WINDOW MANAGER POLICY STATE (dumpsys window policy)",
        f"    mScreenState={'ON' if screen.on else 'OFF'} mAwake={awake} screenState=SCREEN_STATE_{'ON' if screen.on else 'OFF'}",
        f"    mShowingLockscreen={locked} mDreamingLockscreen={locked} isStatusBarKeyguard={locked}",
        f"    KeyguardServiceDelegate\n      showing={locked}\n      showingAndNotOccluded={locked}",
        f"      inputRestricted={locked}",
        f"      interactiveState={'INTERACTIVE_STATE_AWAKE' if screen.on else 'INTERACTIVE_STATE_SLEEP'}",
        f"      screenState={'SCREEN_STATE_ON' if screen.on else 'SCREEN_STATE_OFF'}",
        f"    mUserRotationMode=USER_ROTATION_LOCKED mUserRotation={rotation(phone)}",
    ]


def _windows(context: Context) -> list[str]:
    phone = context.phone
    width, height = size(phone)
    names = ["NavigationBar0", "StatusBar", apps.long(apps.in_front(phone))]
    if phone.running_screen.focused:
        names.insert(0, "InputMethod")
    made = ["WINDOW MANAGER WINDOWS (dumpsys window windows)"]
    for number, name in enumerate(names):
        made += [
            f"  Window #{number} Window{{{number + 1} u0 {name}}}:",
            f"    mDisplayId=0 mSession=Session{{1}} frame=[0,0][{width},{height}]\n    isOnScreen=true isVisible=true",
        ]
    return [*made, *_focus(context)]
