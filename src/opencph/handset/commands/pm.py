"""pm: what is installed, where it is, and what would start. Installing is `pm_install.py`, switching packages off `pm_state.py`."""

from __future__ import annotations

from opencph.handset import apps, installing, package_states, packages, permissions
from opencph.handset.commands import Context, pm_install, pm_state, settings
from opencph.handset.commands.intents import Intent
from opencph.handset.commands.options import FAILED, Given, Refusal, only_owner, shown, threw, whole
from opencph.handset.commands.table import entry, refuse, run_entry
from opencph.handset.package_states import SYSTEM
from opencph.handset.packages import InstallError

__all__ = ["pm_install", "pm_state"]

GROUPS = {
    "ACTIVITY_RECOGNITION": "ACTIVITY_RECOGNITION",
    "CALENDAR": "READ_CALENDAR WRITE_CALENDAR",
    "CALL_LOG": "PROCESS_OUTGOING_CALLS READ_CALL_LOG WRITE_CALL_LOG",
    "CAMERA": "CAMERA",
    "CONTACTS": "GET_ACCOUNTS READ_CONTACTS WRITE_CONTACTS",
    "LOCATION": "ACCESS_BACKGROUND_LOCATION ACCESS_COARSE_LOCATION ACCESS_FINE_LOCATION",
    "MICROPHONE": "RECORD_AUDIO",
    "PHONE": "ACCEPT_HANDOVER ANSWER_PHONE_CALLS CALL_PHONE READ_PHONE_NUMBERS READ_PHONE_STATE USE_SIP",
    "SENSORS": "BODY_SENSORS",
    "SMS": "READ_SMS RECEIVE_MMS RECEIVE_SMS RECEIVE_WAP_PUSH SEND_SMS",
    "STORAGE": "ACCESS_MEDIA_LOCATION READ_EXTERNAL_STORAGE WRITE_EXTERNAL_STORAGE",
}
LOCATIONS = {"0": "auto", "1": "internal", "2": "external"}
LISTS = "packages, features, instrumentation, libraries, permissions, permission-groups, users"


@entry("pm", None, does="sub-commands, see each; without one, their list")
async def pm(context: Context, given: Given) -> int:
    """One of the sub-commands."""
    try:
        return await run_entry(context, "package", given.words)
    except InstallError as error:
        context.out(f"Failure [{error}]")
        return 1


@entry("package list", None, does=f"one of {LISTS}")
async def list_(context: Context, given: Given) -> int:
    """What is behind `pm list`."""
    if not given.words:
        raise Refusal("Error: didn't specify type of data to list", FAILED)
    what, *rest = given.words
    if what in ("package", "packages"):
        what = "packages"
    names = {"features", "instrumentation", "libraries", "packages", "permissions", "permission-groups", "users"}
    if what not in names:
        raise Refusal(f"Error: unknown list type '{shown(what)}'", FAILED)
    return await run_entry(context, "package-list", [what, *rest])


@entry(
    "package-list packages",
    "-f -d -e -s -3 -i -l -u -U -a --show-versioncode --apex-only --uid= --user=",
    does="[FILTER]: all packages, or only disabled (-d), enabled (-e), system (-s), installed (-3) ones; -u those "
    "whose data was kept, too",
)
async def list_packages(context: Context, given: Given) -> int:
    """The packages whose name contains FILTER."""
    only_owner("list", given)
    phone = context.phone
    level = packages.sdk_level(phone)
    rows = [(one.package, one.path, level, one.uid, "", True) for one in SYSTEM.values()]
    rows += [
        (one.package, one.path, one.version_code, one.uid, one.installer, False)
        for one in (await packages.installed(phone)).values()
    ]
    if given.has("-u"):
        there = {row[0] for row in rows}
        kept = sorted((name, state.kept_uid) for name, state in phone.running_state.packages.items() if state.kept_uid)
        rows += [(name, "", 0, number, "", False) for name, number in kept if name not in there]
    word = given.words[0] if given.words else ""
    uid = given.value("--uid")
    for name, path, version, number, installer, system in rows:
        state = package_states.of(phone, name)
        enabled = state.enabled in (package_states.DEFAULT, package_states.ENABLED)
        hides = state.hidden and not given.has("-u", "-a")
        if hides or word not in name or (uid and uid != str(number)) or given.has("--apex-only"):
            continue
        if (given.has("-d") and enabled) or (given.has("-e") and not enabled):
            continue
        if (given.has("-s") and not system) or (given.has("-3") and system):
            continue
        line = f"package:{path}={name}" if given.has("-f") else f"package:{name}"
        line += f" versionCode:{version}" if given.has("--show-versioncode") else ""
        line += f"  installer={installer or 'null'}" if given.has("-i") else ""
        context.out(line + (f" uid:{number}" if given.has("-U") else ""))
    return 0


@entry("package-list features", does="what the handset has; it is little")
async def list_features(context: Context, _: Given) -> int:
    """One feature a line."""
    for name in packages.FEATURES:
        context.out(f"feature:{name}")
    return 0


@entry("package-list libraries", "-v", does="the shared libraries an app may ask for")
async def list_libraries(context: Context, _: Given) -> int:
    """Those of AOSP 11."""
    for name in installing.LIBRARIES:
        context.out(f"library:{name}")
    return 0


@entry("package-list users", does="the one user")
async def list_users(context: Context, _: Given) -> int:
    """There is one."""
    context.out("Users:\n\tUserInfo{0:Owner:c13} running")
    return 0


@entry("package-list instrumentation", "-f", does="[TARGET]: the test packages; none can be run")
async def list_instrumentation(context: Context, given: Given) -> int:
    """What installed packages declare."""
    for package in (await packages.installed(context.phone)).values():
        for name, target in package.instrumentation:
            if given.words[:1] in ([], [target]):
                path = f"{package.path}=" if given.has("-f") else ""
                context.out(f"instrumentation:{path}{apps.short(package.package, name)} (target={target})")
    return 0


@entry("package-list permission-groups", does="the groups of dangerous permissions")
async def list_groups(context: Context, _: Given) -> int:
    """By name."""
    for name in GROUPS:
        context.out(f"permission group:android.permission-group.{name}")
    return 0


@entry("package-list permissions", "-g -f -d -u -s", does="[GROUP]: the platform's permissions; -d the dangerous ones, -g by group")
async def list_permissions(context: Context, given: Given) -> int:
    """As Android lists them."""
    context.out("Dangerous Permissions:\n" if given.has("-d") else "All Permissions:\n")
    known = permissions.DANGEROUS if given.has("-d") else permissions.DANGEROUS | permissions.DEVELOPMENT | permissions.NORMAL
    group = given.words[0].removeprefix("android.permission-group.") if given.words else ""
    if given.has("-g") or group:
        for name, members in GROUPS.items():
            if group in ("", name):
                context.out(f"+ group:android.permission-group.{name}")
                for member in members.split():
                    _permission(context, f"{permissions.PREFIX}{member}", given, "  ")
        if group:
            return 0
        known = known - {f"{permissions.PREFIX}{member}" for members in GROUPS.values() for member in members.split()}
        context.out("ungrouped:")
    for name in sorted(known):
        _permission(context, name, given, "  " if given.has("-g") else "")
    return 0


def _permission(context: Context, name: str, given: Given, indent: str) -> None:
    mark = "" if indent == "" and not given.has("-f") else "+ " if given.has("-f") else ""
    context.out(f"{indent}{mark}permission:{name}")
    if given.has("-f"):
        level = (
            "dangerous"
            if name in permissions.DANGEROUS
            else "signature|privileged|development"
            if name in permissions.DEVELOPMENT
            else "normal"
        )
        context.out(f"{indent}  package:android\n{indent}  protectionLevel:{level}")


@entry("package path", "--user=", does="PACKAGE: its APKs")
async def path(context: Context, given: Given) -> int:
    """One line for each APK."""
    only_owner("path", given)
    name = given.first("package")
    if name in SYSTEM:
        context.out(f"package:{SYSTEM[name].path}")
        return 0
    package = (await packages.installed(context.phone)).get(name)
    for each in package.paths if package is not None else ():
        context.out(f"package:{each}")
    return 0 if package is not None else 1


@entry("package dump", does="PACKAGE: what `dumpsys package PACKAGE` says")
async def dump(context: Context, given: Given) -> int:
    """The same text."""
    return await context.call("dumpsys", "package", given.first("package"))


@entry("package has-feature", does="FEATURE: true or false")
async def has_feature(context: Context, given: Given) -> int:
    """Exit code 0 when there is."""
    if not given.words:
        raise Refusal("Error: expected FEATURE name", FAILED)
    context.out(str(given.words[0] in packages.FEATURES).lower())
    return 0 if given.words[0] in packages.FEATURES else 1


async def _activities(context: Context, given: Given) -> list[str]:
    """The components that an intent means, in their short form."""
    words = list(given.words)
    brief = [word for word in words if word in ("--brief", "--components")]
    intent = Intent([word for word in words if word not in brief])
    await apps.refresh(context.phone)
    return apps.resolve(context.phone, intent.component, intent.package, intent.action, intent.categories)


_BRIEF = "priority=0 preferredOrder=0 match=0x108000 specificIndex=-1 isDefault=false"


@entry("package resolve-activity", None, does="[--brief] [--components] INTENT: what `am start` would start")
async def resolve_activity(context: Context, given: Given) -> int:
    """The first match."""
    matches = await _activities(context, given)
    if not matches:
        context.out("No activity found")
    elif "--components" in given.words:
        context.out(matches[0])
    elif "--brief" in given.words:
        context.out(f"{_BRIEF}\n{matches[0]}")
    else:
        _info(context, matches[0], "")
    return 0


def _info(context: Context, component: str, indent: str) -> None:
    package, _, name = apps.long(component).partition("/")
    context.out(
        f"{indent}{_BRIEF}\n{indent}ActivityInfo:\n{indent}  name={name}\n{indent}  packageName={package}\n{indent}  enabled=true"
    )


@entry("package query-activities", None, does="[--brief] [--components] INTENT: all that match")
async def query_activities(context: Context, given: Given) -> int:
    """Every match."""
    matches = await _activities(context, given)
    if not matches:
        context.out("No activities found")
        return 0
    if "--components" in given.words:
        context.out("\n".join(matches))
        return 0
    context.out(f"{len(matches)} activities found:")
    for number, one in enumerate(matches):
        context.out(f"  Activity #{number}:")
        if "--brief" in given.words:
            context.out(f"    {_BRIEF}\n    {one}")
        else:
            _info(context, one, "    ")
    return 0


@entry("package query-services|query-receivers", None, does="INTENT: none, for no app runs")
async def query_others(context: Context, _: Given) -> int:
    """Never any."""
    context.out("No services found" if context.args[0].endswith("services") else "No receivers found")
    return 0


@entry("package get-install-location", does="0[auto]")
async def get_install_location(context: Context, _: Given) -> int:
    """Where apps go."""
    value = context.phone.running_state.settings.get("global", {}).get("default_install_location", "0")
    context.out(f"{value}[{LOCATIONS.get(value, 'invalid')}]")
    return 0


@entry("package set-install-location", does="0|1|2: kept, and without effect: there is one place")
async def set_install_location(context: Context, given: Given) -> int:
    """Kept as a setting, as Android keeps it."""
    if given.words[:1] not in (["0"], ["1"], ["2"]):
        raise Refusal(
            "Error: install location has to be specified." if not given.words else "Error: install location has to be a number."
        )
    settings.put(context.phone, "global", "default_install_location", given.words[0])
    return 0


@entry("package get-max-users", does="one user")
async def get_max_users(context: Context, _: Given) -> int:
    """One."""
    context.out("Maximum supported users: 1")
    return 0


@entry("package trim-caches", does="BYTES: nothing keeps caches, so nothing is to be trimmed")
async def trim_caches(context: Context, given: Given) -> int:
    """There is nothing to trim."""
    if not given.words or whole(given.words[0].rstrip("KMGkmg"), 0, 1 << 50) is None:
        raise threw("trim-caches", "IllegalArgumentException", "Invalid suffix or no size given")
    return 0


refuse("package compile|bg-dexopt-job|force-dex-opt|dump-profiles", "a handset runs no apps, so nothing is compiled")
refuse("package create-user", "Error: couldn't create User: a handset has one")
refuse("package remove-user", "Error: couldn't remove user id: a handset has one")
refuse("package move-package|move-primary-storage", "a handset has one storage")
