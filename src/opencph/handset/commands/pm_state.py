"""pm enable, disable, hide, suspend, grant and their kin: what is decided about a package that is there."""

from __future__ import annotations

from opencph.handset import package_states, packages, permissions
from opencph.handset.commands import Context
from opencph.handset.commands.options import FAILED, Given, Refusal, only_owner, shown, threw
from opencph.handset.commands.table import entry
from opencph.handset.package_states import PROTECTED, STATE_NAMES, SYSTEM
from opencph.handset.packages import Package

_STATES = {
    "enable": package_states.ENABLED,
    "disable": package_states.DISABLED,
    "disable-user": package_states.DISABLED_USER,
    "disable-until-used": package_states.DISABLED_UNTIL_USED,
    "default-state": package_states.DEFAULT,
}


async def _package(context: Context, name: str) -> Package | None:
    """The package; None for one of the system. Raises Refusal when there is none of this name."""
    if name in SYSTEM:
        return None
    package = (await packages.installed(context.phone)).get(name)
    if package is None:
        raise threw(context.args[0], "IllegalArgumentException", f"Unknown package: {shown(name)}")
    return package


@entry(
    "package enable|disable|disable-user|disable-until-used|default-state",
    "--user=",
    does="PACKAGE: `disable` is root's, as in Android",
)
async def set_enabled(context: Context, given: Given) -> int:
    """Disabled ones leave the home screen and cannot be started."""
    phone, verb = context.phone, context.args[0]
    only_owner(verb, given)
    name, _, component = given.first("package or component").partition("/")
    package = await _package(context, name)
    state = _STATES[verb]
    tests = package is not None and package.test_only
    if not phone.adb_root and not tests and (component or state == package_states.DISABLED):
        what = f"{name}/{component or 'null'}"
        raise threw(verb, "SecurityException", f"Shell cannot change component state for {shown(what)} to {state}")
    if component:
        raise threw(verb, "IllegalArgumentException", "a handset switches packages, not their components")
    if name in PROTECTED and state not in (package_states.DEFAULT, package_states.ENABLED):
        raise threw(verb, "SecurityException", f"Cannot disable a protected package: {name}")
    with package_states.changing(phone, [name]) as [decided]:
        decided.enabled = state
    _leave(context, name)
    context.out(f"Package {name} new state: {STATE_NAMES[state]}")
    return 0


def _leave(context: Context, name: str) -> None:
    """What cannot be used is not in front either."""
    screen = context.phone.running_screen
    if not package_states.usable(context.phone, name):
        screen.close_app(name)
        if name in SYSTEM and screen.page == SYSTEM[name].page:
            screen.show("home")


@entry("package hide|unhide", "--user=", does="PACKAGE: root's, as in Android")
async def set_hidden(context: Context, given: Given) -> int:
    """A hidden package is as good as not there."""
    phone, verb = context.phone, context.args[0]
    only_owner(verb, given)
    name = given.first("package or component")
    if not phone.adb_root:
        message = "Neither user 2000 nor current process has android.permission.MANAGE_USERS."
        raise threw(verb, "SecurityException", message)
    await _package(context, name)
    if name in PROTECTED:
        raise threw(verb, "SecurityException", f"Cannot hide a protected package: {name}")
    with package_states.changing(phone, [name]) as [decided]:
        decided.hidden = verb == "hide"
    _leave(context, name)
    context.out(f"Package {name} new hidden state: {str(verb == 'hide').lower()}")
    return 0


@entry("package suspend|unsuspend", "--user= --dialogMessage=", does="PACKAGE...: its card says so; it cannot be used meanwhile")
async def set_suspended(context: Context, given: Given) -> int:
    """For each package its new state."""
    phone, verb = context.phone, context.args[0]
    only_owner(verb, given)
    given.first("package")
    there = await packages.installed(phone)
    with package_states.changing(phone, [name for name in given.words if name in there]) as decided:
        for each in decided:
            each.suspended = verb == "suspend"
    for name in given.words:
        if name in there:
            context.out(f"Package {name} new suspended state: {str(verb == 'suspend').lower()}")
        else:
            context.out(
                f"Package {shown(name)} new suspended state: false" if name in SYSTEM else f"Unknown package: {shown(name)}"
            )
    return 0


@entry("package grant|revoke", "--user=", does="PACKAGE PERMISSION: one that it asks for and that may be changed")
async def set_permission(context: Context, given: Given) -> int:
    """Silent when it is done."""
    phone, verb = context.phone, context.args[0]
    only_owner(verb, given)
    name = given.first("package")
    if len(given.words) < 2:
        raise Refusal("Error: no permission specified", FAILED)
    permission = given.words[1]
    package = await _package(context, name)
    if package is None or permission not in package.permissions:
        message = f"Package {name} has not requested permission {shown(permission)}"
        raise threw(verb, "SecurityException", message)
    if not permissions.changeable(permission):
        message = f"Permission {permission} requested by {name} is not a changeable permission type"
        raise threw(verb, "SecurityException", message)
    if verb == "grant":
        package_states.grant(phone, package, [permission])
    else:
        package_states.revoke(phone, package, permission)
    return 0


@entry("package reset-permissions", does="forgets what was granted and revoked")
async def reset_permissions(context: Context, _: Given) -> int:
    """Of every package."""
    with package_states.changing(context.phone, list(context.phone.running_state.packages)) as decided:
        for each in decided:
            each.granted, each.revoked = [], []
    return 0


@entry("package clear", "--user=", does="PACKAGE: deletes its data and what was granted")
async def clear(context: Context, given: Given) -> int:
    """Success or Failed."""
    only_owner("clear", given)
    name = given.first("package")
    context.phone.running_screen.close_app(name)
    done = await packages.clear(context.phone, name)
    context.out("Success" if done else "Failed")
    return 0 if done else 1
