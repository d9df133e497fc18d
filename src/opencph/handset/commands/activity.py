"""am: what starts, stops and describes apps. A started app is an honest card on the screen."""

from __future__ import annotations

import time

from opencph.handset import apps, package_states, packages, words
from opencph.handset.commands import Context
from opencph.handset.commands.intents import FROM_SHELL, Intent
from opencph.handset.commands.options import FAILED, Given, Refusal, only_owner, shown, threw, whole
from opencph.handset.commands.table import entry, refuse, run_entry
from opencph.handset.screen_layout import density, size
from opencph.handset.screen_state import BACK, App

NO_APPS = "an OpenCPH handset is not Android and runs no apps"
INTENT = "INTENT as in Android: -a -d -t -c -n -p -f --user, extras (--es ...), a URI (intent: too), a package or a component"


@entry("am", None, does="sub-commands, see each; without one, their list")
async def am(context: Context, given: Given) -> int:
    """One of the sub-commands."""
    return await run_entry(context, "activity", given.words)


@entry("activity start|start-activity", None, does=f"[-W] [-S] [-R COUNT] {INTENT}: shows the app's card, or a page of the handset")
async def start(context: Context, given: Given) -> int:
    """As Android prints it, -W with how long the screen took."""
    phone = context.phone
    intent = Intent(given.words, context.args[0]).supplied(context.args[0])
    await apps.refresh(phone)
    for number in range(intent.repeat):
        if number:
            phone.running_screen.key(BACK)  # what is in front is finished before each repetition
        code = await _start(context, intent)
        if code:
            return code
    return 0


async def _start(context: Context, intent: Intent) -> int:
    phone = context.phone
    begun = time.monotonic()
    if "-S" in intent.options and intent.component:
        context.out(f"Stopping: {intent.component.partition('/')[0]}")
        phone.running_screen.close_app(intent.component.partition("/")[0])
    context.out(f"Starting: {intent}")
    matches: list[str] = []
    if intent.component or not intent.data:
        matches = apps.resolve(phone, intent.component, intent.package, intent.action, intent.categories)
    if not matches:
        return _missing(context, intent)
    found = matches[0]
    package = found.partition("/")[0]
    was_open, in_front = package in phone.running_screen.pids, apps.in_front(phone) == found and phone.running_screen.on
    apps.open_component(phone, found)
    state = "COLD"
    if in_front:
        state = "UNKNOWN (0)"
        top = "intent has been delivered to currently running top-most instance."
        context.error(f"Warning: Activity not started, {top}")
    elif was_open or apps.system_page(phone, package) is not None:
        state = "HOT"
        if was_open:
            context.error("Warning: Activity not started, its current task has been brought to the front")
    if "-W" in intent.options:
        from opencph.handset import drawing

        if not in_front:
            await drawing.png(phone)  # as Android: until the first picture is there
        taken = max(1, round((time.monotonic() - begun) * 1000))
        total = 0 if in_front else taken
        context.out(f"Status: ok\nLaunchState: {state}\nActivity: {found}\nTotalTime: {total}\nWaitTime: {taken}\nComplete")
    return 0


def _missing(context: Context, intent: Intent) -> int:
    if intent.component:
        return context.error(f"Error type 3\nError: Activity class {{{shown(apps.long(intent.component))}}} does not exist.")
    return context.error(f"Error: Activity not started, unable to resolve {intent}")


@entry("activity force-stop|stop-app", "--user=", does="PACKAGE: its card goes")
async def force_stop(context: Context, given: Given) -> int:
    """Silent, whether it was there or not."""
    only_owner("force-stop", given)
    _close(context, given.first("package name"))
    return 0


@entry("activity kill", "--user=", does="PACKAGE: its card goes unless it is in front")
async def kill(context: Context, given: Given) -> int:
    """What is in front stays, as in Android."""
    only_owner("kill", given)
    name = given.first("package name")
    if apps.in_front(context.phone).partition("/")[0] != name:
        _close(context, name)
    return 0


@entry("activity kill-all", does="all cards that are not in front go")
async def kill_all(context: Context, _: Given) -> int:
    """The same for all."""
    front = apps.in_front(context.phone).partition("/")[0]
    for app in tuple(context.phone.running_screen.recent):
        if app.package != front:
            _close(context, app.package)
    return 0


def _close(context: Context, name: str) -> None:
    context.phone.running_screen.close_app(name)
    context.phone.running_screen.version += 1


@entry("activity crash", "--user=", does="PACKAGE|PID: its card goes, with a line in the log")
async def crash(context: Context, given: Given) -> int:
    """As if it had crashed."""
    only_owner("crash", given)
    name = given.first("process")
    screen = context.phone.running_screen
    name = next((package for package, pid in screen.pids.items() if str(pid) == name), name)
    if name in screen.pids:
        text = f"FATAL EXCEPTION: main: Process: {name}, PID: {screen.pids[name]}: shell-induced crash"
        context.phone.note("AndroidRuntime", text, "E")
        _close(context, name)
    return 0


@entry(
    "activity startservice|start-service|start-foreground-service|startforegroundservice",
    None,
    does=f"{INTENT}: no service is there",
)
async def start_service(context: Context, given: Given) -> int:
    """Not found, whatever it is."""
    intent = Intent(given.words, context.args[0]).supplied(context.args[0])
    context.out(f"Starting service: {intent}")
    raise Refusal(f"Error: Not found; no service started: {NO_APPS}", FAILED)


@entry("activity stopservice|stop-service", None, does=f"{INTENT}: no service is there")
async def stop_service(context: Context, given: Given) -> int:
    """It was not running."""
    intent = Intent(given.words, context.args[0]).supplied(context.args[0])
    context.out(f"Stopping service: {intent}")
    raise Refusal("Service not stopped: was not running.", FAILED)


@entry("activity broadcast", None, does=f"{INTENT}: nobody receives it")
async def broadcast(context: Context, given: Given) -> int:
    """Delivered to nobody."""
    intent = Intent(given.words, "broadcast").supplied("broadcast")
    intent.flags |= FROM_SHELL
    context.out(f"Broadcasting: {intent}\nBroadcast completed: result=0")
    return 0


@entry("activity instrument", None, does="[-w] [-r] [-e NAME VALUE] COMPONENT: refused, no test runs")
async def instrument(context: Context, given: Given) -> int:
    """Not found, or found and not runnable."""
    words_ = [word for word in given.words if not word.startswith("-")]
    if not words_:
        raise threw("instrument", "IllegalArgumentException", "Argument required")
    name = words_[-1]
    package = (await packages.installed(context.phone)).get(name.partition("/")[0])
    known = package is not None and any(
        apps.short(package.package, one) == name or f"{package.package}/{one}" == name for one, _ in package.instrumentation
    )
    error = NO_APPS if known else f"Unable to find instrumentation info for: ComponentInfo{{{shown(name)}}}"
    context.out(
        f"INSTRUMENTATION_STATUS: Error={error}\nINSTRUMENTATION_STATUS: id=ActivityManagerService\nINSTRUMENTATION_STATUS_CODE: -1"
    )
    raise Refusal(f"android.util.AndroidException: INSTRUMENTATION_FAILED: {shown(name)}", 1)


@entry("activity get-current-user", does="0")
async def get_current_user(context: Context, _: Given) -> int:
    """There is one."""
    context.out("0")
    return 0


@entry("activity switch-user", does="0: the one user")
async def switch_user(context: Context, given: Given) -> int:
    """Nothing to do for the one that is there."""
    if given.first("user") != "0":
        raise Refusal(f"Error: Failed to switch to user {shown(given.words[0])}", 1)
    return 0


@entry("activity start-user", "-w --user=", does="0: the one user")
async def start_user(context: Context, given: Given) -> int:
    """It runs."""
    if given.first("user") != "0":
        raise Refusal("Error: could not start user", 1)
    context.out("Success: user started")
    return 0


@entry("activity stop-user", "-w -f", does="refused: the one user cannot be stopped")
async def stop_user(context: Context, given: Given) -> int:
    """Android does not stop its system user either."""
    raise Refusal(f"Switch failed: Error: Can't stop system user {shown(given.first('user'))}", 1)


@entry("activity is-user-stopped", does="USER: false for 0")
async def is_user_stopped(context: Context, given: Given) -> int:
    """The one user runs."""
    context.out(str(given.first("user") != "0").lower())
    return 0


@entry("activity get-started-user-state", does="USER: RUNNING_UNLOCKED for 0")
async def get_started_user_state(context: Context, given: Given) -> int:
    """The one user runs."""
    user = given.first("user")
    context.out("RUNNING_UNLOCKED" if user == "0" else f"User is not started: {shown(user)}")
    return 0


@entry("activity get-standby-bucket", "--user=", does="PACKAGE: 10 (active); 5 for pages of the handset")
async def get_standby_bucket(context: Context, given: Given) -> int:
    """Nothing is ever put aside."""
    only_owner("get-standby-bucket", given)
    name = given.first("package name")
    if name not in package_states.SYSTEM and name not in await packages.installed(context.phone):
        context.out("50")
    else:
        context.out("5" if name in package_states.SYSTEM else "10")
    return 0


@entry("activity get-inactive", "--user=", does="PACKAGE: Idle=false")
async def get_inactive(context: Context, given: Given) -> int:
    """Nothing is ever idle."""
    given.first("package name")
    context.out("Idle=false")
    return 0


@entry("activity get-config", "--days= --device --proto --display=", does="the configuration that apps would be given")
async def get_config(context: Context, given: Given) -> int:
    """In resource qualifiers."""
    phone = context.phone
    dpi = density(phone)
    width, height = (side * 160 // dpi for side in size(phone))
    names = {120: "ldpi", 160: "mdpi", 213: "tvdpi", 240: "hdpi", 320: "xhdpi", 480: "xxhdpi", 640: "xxxhdpi"}
    language, *rest = words.speech(phone).locale.split("-")
    region = rest[-1] if rest else ""
    parts = [
        f"{language}-r{region}" if len(region) == 2 else language,
        "ldltr",
        f"sw{min(width, height)}dp",
        f"w{width}dp",
        f"h{height}dp",
    ]
    parts += [
        "normal" if min(width, height) < 600 else "large",
        "long" if max(width, height) * 3 > min(width, height) * 5 else "notlong",
    ]
    parts += ["notround", "nowidecg", "lowdr", "port" if width < height else "land", "notnight", names.get(dpi, f"{dpi}dpi")]
    parts += ["finger", "keysexposed", "nokeys", "navhidden", "nonav", f"v{packages.sdk_level(phone)}"]
    context.out(f"config: {'-'.join(parts)}\nabi: {phone.running_properties.get('ro.product.cpu.abilist')}")
    return 0


@entry("activity to-uri|to-intent-uri|to-app-uri", None, does=f"{INTENT}: as a URI")
async def to_uri(context: Context, given: Given) -> int:
    """Nothing is started."""
    form = context.args[0]
    context.out(Intent(given.words, form).supplied(form).uri(form))
    return 0


@entry("activity stack|task", None, does="list: what is open; all else is refused")
async def stack(context: Context, given: Given) -> int:
    """One stack for each card."""
    if given.words[:1] not in (["list"], ["info"]):
        raise Refusal(
            f"Error: unknown command '{shown(' '.join(given.words[:1]))}': a handset has one screen and no stacks", FAILED
        )
    width, height = size(context.phone)
    for number, (task, component, _, _) in enumerate(apps.tasks(context.phone)):
        visible = str(number == 0).lower()
        context.out(
            f"Stack id={task} bounds=[0,0][{width},{height}] displayId=0 userId=0\n"
            f"  taskId={task}: {component} bounds=[0,0][{width},{height}] userId=0 visible={visible} "
            f"topActivity=ComponentInfo{{{component}}}"
        )
    return 0


@entry("activity package-importance", does="PACKAGE: 100 in front, 400 in the recent apps, 1000 elsewhere")
async def package_importance(context: Context, given: Given) -> int:
    """As ActivityManager counts."""
    name = given.first("package name")
    front = apps.in_front(context.phone).partition("/")[0] == name
    context.out("100" if front else "400" if name in context.phone.running_screen.pids else "1000")
    return 0


@entry("activity get-uid-state", does="UID: its state; without processes it is NONEXISTENT")
async def get_uid_state(context: Context, given: Given) -> int:
    """Cards have no processes."""
    uid = whole(given.first("uid"), 0, 1 << 31)
    open_apps: list[App] = context.phone.running_screen.recent
    context.out("2 (TOP)" if any(app.uid == uid for app in open_apps) else "20 (NONEXISTENT)")
    return 0


@entry(
    "activity idle-maintenance|clear-debug-app|set-debug-app|set-inactive|set-standby-bucket|send-trim-memory|make-uid-idle|write",
    None,
    does="accepted, and without effect: there is no process that it could mean",
)
async def nothing(context: Context, _: Given) -> int:
    """Nothing to do."""
    return 0


refuse("activity dumpheap|profile|trace-ipc|attach-agent|monitor|hang", f"there is no process to look into: {NO_APPS}")
refuse("activity restart", "use `adb reboot`: a handset has no framework to restart")
refuse("activity display|screen-compat|suppress-resize-config-changes|unlock-user|compat|update-appinfo", NO_APPS)
