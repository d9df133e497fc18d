"""pm install, install-create and its sessions, uninstall. The rules are in `handset.installing`."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec

from opencph.handset import installing, package_states, packages
from opencph.handset.commands import Context
from opencph.handset.commands.options import FAILED, Given, Refusal, only_owner, shown, whole
from opencph.handset.commands.table import entry, refuse
from opencph.handset.installing import InstallOptions, Prepared
from opencph.handset.packages import InstallError

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

SESSIONS_MAX = 64  # of a host's phones that nobody committed or abandoned
_PARAMETERS = (
    "-l -t -r -R -d -g -f -s -q -p= -i= -S= --user= --abi= --pkg= --originating-uri= --referrer= --install-location= "
    "--install-reason= --force-uuid= --force-sdk --dont-kill --instant --instantapp --ephemeral --full --preload --apex "
    "--multi-package --staged --enable-rollback --restrict-permissions --wait --no-wait --fastdeploy --streaming "
    "--force-non-staged"
)

_REFUSED = dict.fromkeys(
    ("--apex", "--staged"),
    "Failure [INSTALL_FAILED_INTERNAL_ERROR: a handset takes no APEX packages and no staged sessions]",
)


class _Session:
    """A package whose APKs come one after the other, or several such sessions that are committed together."""

    __slots__ = ("children", "options", "phone", "removed", "staging")

    def __init__(self, phone: Phone, options: InstallOptions, together: bool) -> None:
        self.phone = phone
        self.options = options
        self.staging = installing.new_staging()
        self.children: list[int] | None = [] if together else None
        self.removed: list[str] = []  # splits that an installed package shall lose


_sessions: dict[int, _Session] = {}


def _options(context: Context, given: Given) -> InstallOptions:
    only_owner(context.args[0], given)
    return InstallOptions(
        downgrade=given.has("-d"),
        replace=not given.has("-R"),  # -r has been the default since Android 9
        grant=given.has("-g"),
        test=given.has("-t"),
        installer=shown(given.value("-i")),
        package=given.value("-p", "--pkg"),
        inherit=given.has("-p"),
    )


async def _finish(context: Context, prepared: list[Prepared]) -> int:
    for package in await installing.commit(context.phone, prepared):
        context.phone.note("PackageManager", f"installed {package.package} {package.version_name}")
    context.out("Success")
    return 0


@entry("package install", _PARAMETERS, does="[PATH]: one APK, or as many bytes of stdin as -S says", refused=_REFUSED)
async def install(context: Context, given: Given) -> int:
    """Success, or Failure with Android's name for it."""
    options = _options(context, given)
    staging = installing.new_staging()
    words = [word for word in given.words if word != "-"]
    if not words and not given.has("-S"):
        raise Refusal("Error: must either specify a package size or an APK file", 1)
    try:
        if not words:
            await installing.copy_in(context.phone, _stdin(context, _size(given.value("-S"))), f"{staging}/base.apk")
        for number, path in enumerate(words):
            pieces = installing.of_file(context.phone, path)
            await installing.copy_in(context.phone, pieces, f"{staging}/{number}.apk")
    except BaseException as error:  # the client may also be gone
        installing.discard(context.phone, staging)
        if isinstance(error, InstallError) and error.code == "INSTALL_FAILED_INVALID_URI":
            raise Refusal(
                f"Error: Failed to parse APK file: {shown(words[0])}: Failed to load asset path {shown(words[0])}", 1
            ) from None
        raise
    return await _finish(context, [await installing.prepare(context.phone, staging, options)])


@entry("package install-create", _PARAMETERS, does="a session; --multi-package for one that others are added to", refused=_REFUSED)
async def install_create(context: Context, given: Given) -> int:
    """Its number."""
    options = _options(context, given)
    while len(_sessions) >= SESSIONS_MAX:
        oldest = _sessions.pop(next(iter(_sessions)))
        installing.discard(oldest.phone, oldest.staging)
    number = secrets.randbelow(2**31 - 1) + 1
    _sessions[number] = _Session(context.phone, options, given.has("--multi-package"))
    context.out(f"Success: created install session [{number}]")
    return 0


def _session(context: Context, word: str) -> tuple[int, _Session]:
    number = whole(word, 0, 2**31 - 1)
    session = _sessions.get(number) if number is not None else None
    if number is None or session is None or session.phone is not context.phone:
        raise Refusal(f"Error: java.lang.SecurityException: Caller has no access to session {shown(word)}")
    return number, session


@entry("package install-write", "-S= --streaming", does="SESSION NAME [PATH]: one APK of it, from a file or stdin")
async def install_write(context: Context, given: Given) -> int:
    """How many bytes."""
    if len(given.words) < 2:
        raise Refusal("Error: give the session and a name for the APK", FAILED)
    _, session = _session(context, given.words[0])
    name = given.words[1]
    if "/" in name or "\0" in name or name in (".", "..", "") or len(name.encode("utf-8", "replace")) > 200:
        raise InstallError("INSTALL_FAILED_INVALID_APK", f"Invalid name: {shown(name)}")
    if session.children is not None:
        raise InstallError("INSTALL_FAILED_INTERNAL_ERROR", "a session for several packages takes sessions, not APKs")
    if len(given.words) > 2 and given.words[2] != "-":
        pieces = installing.of_file(context.phone, given.words[2])
    elif not given.has("-S"):
        raise Refusal("Error: must specify a APK size", 1)
    else:
        pieces = _stdin(context, _size(given.value("-S")))
    try:
        path = f"{session.staging}/{name if name.endswith('.apk') else f'{name}.apk'}"
        size = await installing.copy_in(context.phone, pieces, path)
    except BaseException:  # the client may also be gone, and nobody will end the session
        installing.discard_empty(context.phone, session.staging)
        raise
    context.out(f"Success: streamed {size} bytes")
    return 0


@entry("package install-add-session", does="SESSION SESSION...: the first, made with --multi-package, commits the others")
async def install_add_session(context: Context, given: Given) -> int:
    """Success when all are there."""
    if len(given.words) < 2:
        raise Refusal("Error: at least two sessions are needed", FAILED)
    _, parent = _session(context, given.words[0])
    children = [_session(context, word)[0] for word in given.words[1:]]
    if parent.children is None:
        raise InstallError("INSTALL_FAILED_INTERNAL_ERROR", f"session {given.words[0]} was not made with --multi-package")
    parent.children += children
    context.out("Success")
    return 0


@entry("package install-remove", does="SESSION NAME...: takes APKs out again; after `install-create -p` splits of the app")
async def install_remove(context: Context, given: Given) -> int:
    """What was written, or what the app has."""
    if len(given.words) < 2 or any("/" in word for word in given.words):
        raise Refusal("Error: give the session and the name of the APK", FAILED)
    _, session = _session(context, given.words[0])
    for word in given.words[1:]:
        name = word if word.endswith(".apk") else f"{word}.apk"
        if not context.phone.files.stat(f"{session.staging}/{name}").error:
            with context.phone.files.resolve(session.staging) as place:
                os.unlink(name, dir_fd=place.fd)
        elif session.options.inherit:
            session.removed.append(word)
        else:
            raise Refusal(f"Error: no APK {shown(word)} in this session", 1)
    context.out("Success")
    return 0


@entry("package install-commit", does="SESSION: install it; several packages all or none")
async def install_commit(context: Context, given: Given) -> int:
    """Success, or Failure with Android's name for it."""
    number, session = _session(context, given.first("session"))
    del _sessions[number]
    members = [session] if session.children is None else [one for child in session.children if (one := _sessions.pop(child, None))]
    if not members:
        raise InstallError("INSTALL_FAILED_INTERNAL_ERROR", "there is nothing in this session")
    prepared: list[Prepared] = []
    try:
        for one in members:
            options = one.options._replace(removed=tuple(one.removed))
            prepared.append(await installing.prepare(context.phone, one.staging, options))
            if len({each.package.package for each in prepared}) < len(prepared):
                raise InstallError("INSTALL_FAILED_INVALID_APK", f"{prepared[-1].package.package} is there twice")
    except BaseException:
        for each in members:
            installing.discard(context.phone, each.staging)
        raise
    return await _finish(context, prepared)


@entry("package install-abandon", does="SESSION: forget it")
async def install_abandon(context: Context, given: Given) -> int:
    """Its APKs are gone."""
    number, session = _session(context, given.first("session"))
    del _sessions[number]
    for child in session.children or []:
        if (one := _sessions.pop(child, None)) is not None:
            installing.discard(context.phone, one.staging)
    installing.discard(context.phone, session.staging)
    context.out("Success")
    return 0


@entry(
    "package install-existing",
    "--user= --instant --full --wait --restrict-permissions",
    does="PACKAGE: one that is installed already",
)
async def install_existing(context: Context, given: Given) -> int:
    """It is there, or it is not."""
    only_owner("install-existing", given)
    if not given.words:
        raise Refusal("Error: package name not specified", FAILED)
    name = given.words[0]
    if name not in package_states.SYSTEM and name not in await packages.installed(context.phone):
        raise Refusal(f"android.content.pm.PackageManager$NameNotFoundException: Package {shown(name)} doesn't exist", 1)
    context.out(f"Package {name} installed for user: 0")
    return 0


@entry("package set-installer", does="PACKAGE INSTALLER: who is said to have installed it")
async def set_installer(context: Context, given: Given) -> int:
    """Written down beside the package."""
    package = (await packages.installed(context.phone)).get(given.words[0]) if len(given.words) == 2 else None
    if package is None:
        raise Refusal("Error: give an installed package and its installer", FAILED)
    packages.write_about(context.phone, msgspec.structs.replace(package, installer=shown(given.words[1])))
    context.out("Success")
    return 0


@entry("package uninstall", "-k --user= --versionCode=", does="PACKAGE [SPLIT...]: -k keeps its data; with SPLIT only those go")
async def uninstall(context: Context, given: Given) -> int:
    """Success, or Failure with Android's name for it."""
    only_owner("uninstall", given)
    if not given.words:
        raise Refusal("Error: package name not specified", FAILED)
    name = given.words[0]
    version = given.value("--versionCode")
    package = (await packages.installed(context.phone)).get(name)
    why = ""
    kept = not given.has("-k") and bool(package_states.of(context.phone, name).kept_uid)
    if (package is None and not kept) or (package is not None and version and version != str(package.version_code)):
        why = "DELETE_FAILED_INTERNAL_ERROR"
    elif package is not None and len(given.words) > 1:
        return await _without_splits(context, name, tuple(given.words[1:]), package.splits)
    else:
        context.phone.running_screen.close_app(name)
        try:
            await packages.uninstall(context.phone, name, keep_data=given.has("-k"))
        except OSError as error:
            why = f"DELETE_FAILED_INTERNAL_ERROR: {error.strerror}"
    context.out(f"Failure [{why}]" if why else "Success")
    return 1 if why else 0


async def _without_splits(context: Context, name: str, splits: tuple[str, ...], there: tuple[str, ...]) -> int:
    """The app without some of its splits."""
    missing = next((split for split in splits if split not in there), None)
    if missing is not None:
        raise Refusal(f"Error: split '{shown(missing)}' not found", 1)
    options = InstallOptions(package=name, inherit=True, removed=splits)
    return await _finish(context, [await installing.prepare(context.phone, installing.new_staging(), options)])


refuse(
    "package install-incremental",
    "Failure [INSTALL_FAILED_INTERNAL_ERROR: a handset has no incremental file system; use `adb install --no-incremental`]",
)


def _size(text: str) -> int:
    size = whole(text, 0, installing.APK_BYTES_MAX)
    if size is None:
        raise InstallError("INSTALL_FAILED_INVALID_APK", f"-S takes the size in bytes, at most {installing.APK_BYTES_MAX}")
    return size


async def _stdin(context: Context, size: int) -> AsyncIterator[bytes]:
    """`size` bytes of standard input."""
    left = size
    while left:
        piece = await context.read()
        if not piece:
            raise InstallError("INSTALL_FAILED_INVALID_APK", f"{left} bytes of it did not arrive")
        yield piece[:left]
        left -= min(left, len(piece))
