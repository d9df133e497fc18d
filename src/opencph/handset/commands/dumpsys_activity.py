"""dumpsys activity and dumpsys window, section by section: what is open, what is in front, how the screen is."""

from __future__ import annotations

from collections.abc import Callable

from opencph.handset import apps
from opencph.handset.commands import Context
from opencph.handset.commands.options import shown
from opencph.handset.screen_layout import density, rotation, size, turns_by_itself, upright

ACTIVITY_HELP = """Activity manager dump options:
  [-a] [-c] [-p PACKAGE] [-h] [CMD]
  CMD may be one of:
    a[ctivities]: activity stack state
    r[recents]: recent activities state
    b[roadcasts]: broadcast state
    i[ntents]: pending intent state
    p[rocesses]: process state
    o[om]: out of memory management
    lru: raw LRU process list
    prov[iders]: content provider state
    s[ervices]: service state
    settings: currently applied config settings
    lastanr: state of the last ANR
    top: what is in front
    COMPONENT: the activities whose names contain it"""
WINDOW_HELP = """Window manager dump options:
  [-a] [-h] [CMD]
  CMD may be one of:
    l[astanr]: last ANR information
    p[olicy]: policy state
    a[nimator]: animator state
    s[essions]: active sessions
    d[isplays]: active display contents
    t[okens]: token list
    w[indows]: window list"""
SHORT = {
    "a": "activities",
    "r": "recents",
    "recent": "recents",
    "b": "broadcasts",
    "p": "processes",
    "s": "services",
    "i": "intents",
    "o": "oom",
    "prov": "providers",
    "set": "settings",
}
Row = tuple[int, str, int, int]


async def activity(context: Context, words: list[str]) -> list[str]:
    """All sections, or the one that is named; of one package with -p."""
    if "-h" in words:
        return [ACTIVITY_HELP]
    rows = apps.tasks(context.phone)
    if "-p" in words[:-1]:
        at = words.index("-p")
        rows = [row for row in rows if row[1].partition("/")[0] == words[at + 1]]
        words = words[:at] + words[at + 2 :]
    words = [word for word in words if not word.startswith("-")]
    if not words:
        return [line for name in ACTIVITY for line in [*_section(context, name, rows), "-" * 79]]
    name = SHORT.get(words[0], words[0])
    if name in ACTIVITY:
        return _section(context, name, rows)
    if name == "top":
        return [line for row in reversed(rows) for line in _activity(row)]  # from the back to the front
    if name in ("service", "provider"):
        return [f"No {name}s match: {shown(' '.join(words[1:2]))}\nUse -h for help."]
    match = [row for row in rows if words[0] in row[1]]
    if not match:
        return [f"Bad activity command, or no activities match: {shown(words[0])}\nUse -h for help."]
    return [line for row in match for line in _activity(row)]


def _section(context: Context, name: str, rows: list[Row]) -> list[str]:
    title, lines = ACTIVITY[name]
    return [f"ACTIVITY MANAGER {title} (dumpsys activity {name})", *lines(context, rows)]


def _activities(context: Context, rows: list[Row]) -> list[str]:
    if not rows:
        return ["  (nothing)"]
    made = ["Display #0 (activities from top to bottom):"]
    task, front, _, _ = apps.tasks(context.phone)[0]
    for number, component, pid, _ in rows:
        package, behind = component.partition("/")[0], component != front
        made += [
            f"  Stack #{number}: type=standard mode=fullscreen",
            f"  * TaskRecord{{{number} #{number} A={package} U=0 StackId={number} sz=1}}",
            f"    * Hist #0: ActivityRecord{{{number} u0 {component} t{number}}}",
            f"        packageName={package} processName={package}",
            f"        state={'STOPPED' if behind else 'RESUMED'} stopped={str(behind).lower()} pid={pid}",
        ]
    made += [
        f"    mResumedActivity: ActivityRecord{{{task} u0 {front} t{task}}}",
        f"  ResumedActivity: ActivityRecord{{{task} u0 {front} t{task}}}",
        f"  topResumedActivity=ActivityRecord{{{task} u0 {front} t{task}}}",
        f"  mFocusedApp=ActivityRecord{{{task} u0 {front} t{task}}}",
        f"  mLastPausedActivity=null\n  mSleeping={str(not context.phone.running_screen.on).lower()}",
    ]
    return made


def _recents(__: Context, rows: list[Row]) -> list[str]:
    made = ["  Recent tasks:"]
    for number, (task, component, _, uid) in enumerate(rows):
        package = component.partition("/")[0]
        made += [
            f"  * Recent #{number}: Task{{{task} #{task} visible={str(number == 0).lower()} type=standard mode=fullscreen "
            f"A={uid}:{package} U=0 sz=1}}",
            f"    userId=0 effectiveUid={uid} mCallingPackage=com.android.shell",
            f"    realActivity={{{component}}}",
        ]
    return made


def _processes(context: Context, rows: list[Row]) -> list[str]:
    made = ["  Process LRU list: cards, for no app runs"]
    for number, (_, component, pid, uid) in enumerate(_cards(rows)):
        package = component.partition("/")[0]
        front = component == apps.in_front(context.phone)
        made += [
            f"  *APP* UID {uid} ProcessRecord{{{pid} {pid}:{package}/u0a{uid - 10000}}}",
            f"    user #0 uid={uid}",
            f"    curProcState={2 if front else 15} pid={pid} starting=false #{number}",
        ]
    return made


def _cards(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row[2]]


def _oom(context: Context, rows: list[Row]) -> list[str]:
    made = ["  OOM levels:", "        0: FOREGROUND_APP_ADJ (   73,728K)", "      900: CACHED_APP_MIN_ADJ (  221,184K)", ""]
    made.append(f"  Process OOM control ({len(_cards(rows))} total, non-act at 0, non-svc at 0):")
    for number, (_, component, pid, uid) in enumerate(_cards(rows)):
        level = "fg     T/A/TOP " if component == apps.in_front(context.phone) else "cch    B/ /CAC"
        made.append(f"    Proc #{number:2}: {level} trm: 0 {pid}:{component.partition('/')[0]}/u0a{uid - 10000} (a card)")
    return made


def _lru(context: Context, rows: list[Row]) -> list[str]:
    made = ["  Activities:"]
    for number, (_, component, pid, uid) in enumerate(_cards(rows)):
        level = "fg     TOP " if component == apps.in_front(context.phone) else "cch    CAC "
        made.append(f"    #{number:2}: {level} {pid}:{component.partition('/')[0]}/u0a{uid - 10000} act:activities|recents")
    return made


def _nothing(*_: object) -> list[str]:
    return ["  (nothing)"]


ACTIVITY: dict[str, tuple[str, Callable[[Context, list[Row]], list[str]]]] = {
    "settings": ("SETTINGS", lambda _, __: ["  max_cached_processes=32"]),
    "intents": ("PENDING INTENTS", _nothing),
    "broadcasts": ("BROADCAST STATE", lambda _, __: ["  Historical broadcasts [foreground]:", "  (nothing)"]),
    "providers": ("CONTENT PROVIDERS", _nothing),
    "services": ("SERVICES", _nothing),
    "recents": ("RECENT TASKS", _recents),
    "lastanr": ("LAST ANR", lambda _, __: ["  <no ANR has occurred since boot>"]),
    "activities": ("ACTIVITIES", _activities),
    "lru": ("LRU PROCESSES", _lru),
    "processes": ("RUNNING PROCESSES", _processes),
    "oom": ("OOM STATE", _oom),
}


def _activity(row: Row) -> list[str]:
    task, component, pid, _ = row
    package = component.partition("/")[0]
    return [
        f"TASK {package} id={task} userId=0",
        f"  ACTIVITY {component} {task:x} pid={pid}",
        "    Local Activity: a card, for no app runs",
    ]


async def window(context: Context, words: list[str]) -> list[str]:
    """All sections, or the one that is named."""
    if "-h" in words:
        return [WINDOW_HELP]
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
    mode = "FREE" if turns_by_itself(phone) else "LOCKED"
    return [
        "WINDOW MANAGER POLICY STATE (dumpsys window policy)",
        f"    mScreenState={'ON' if screen.on else 'OFF'} mAwake={awake} screenState=SCREEN_STATE_{'ON' if screen.on else 'OFF'}",
        f"    mShowingLockscreen={locked} mDreamingLockscreen={locked} isStatusBarKeyguard={locked}",
        f"    KeyguardServiceDelegate\n      showing={locked}\n      showingAndNotOccluded={locked}",
        f"      inputRestricted={locked}",
        f"      interactiveState={'INTERACTIVE_STATE_AWAKE' if screen.on else 'INTERACTIVE_STATE_SLEEP'}",
        f"      screenState={'SCREEN_STATE_ON' if screen.on else 'SCREEN_STATE_OFF'}",
        f"    mUserRotationMode=USER_ROTATION_{mode} mUserRotation={rotation(phone)}",
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
