"""pm: installs, lists and removes packages. What a package is, is `handset.packages`."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

from opencph.handset import packages
from opencph.handset.commands import Context
from opencph.handset.packages import InstallError, Package

PLATFORM_PACKAGE = ("android", "/system/framework/framework-res.apk")
SESSIONS_MAX = 64  # of a host's phones that nobody committed or abandoned
WITH_VALUE = frozenset(
    {"-S", "-i", "-p", "--user", "--abi", "--install-location", "--originating-uri", "--referrer", "--pkg", "--install-reason"}
)


class _Session:
    """A package whose APKs come one after the other."""

    __slots__ = ("options", "phone_id", "staging")

    def __init__(self, phone_id: str, options: set[str]) -> None:
        self.phone_id = phone_id
        self.options = options
        self.staging = packages.new_staging()


_sessions: dict[int, _Session] = {}


async def pm(context: Context) -> int:
    """install, install-create|write|commit|abandon, uninstall, clear, path, list packages|features|users."""
    args = context.args
    try:
        match args:
            case ["list", "packages", *options]:
                return await _list(context, options)
            case ["list", "features", *_]:
                return 0
            case ["list", "users"]:
                context.out("Users:\n\tUserInfo{0:Owner:13} running")
                return 0
            case ["path", *words] if words:
                return await _path(context, words[-1])
            case ["install" | "install-incremental", *words]:
                return await _install(context, words)
            case ["install-create", *words]:
                return _create(context, words)
            case ["install-write", *words]:
                return await _write(context, words)
            case ["install-commit", session]:
                return await _commit(context, session)
            case ["install-abandon", session]:
                staged = _session(context, session)
                del _sessions[int(session)]
                packages.remove_directory(context.phone, staged.staging)
                context.out("Success")
                return 0
            case ["uninstall", *words] if words:
                return await _uninstall(context, words)
            case ["clear", *words] if words:
                done = await packages.clear(context.phone, words[-1])
                context.out("Success" if done else "Failed")
                return 0 if done else 1
            case _:
                return context.error(f"pm: a handset does not know {' '.join(args[:2]) or 'an empty command'!r}")
    except InstallError as error:
        context.out(f"Failure [{error}]")
        return 1


def _split(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Options with their values ("" for those without), and the other words."""
    options: dict[str, str] = {}
    rest: list[str] = []
    following = iter(words)
    for word in following:
        if word.startswith("-") and word != "-":
            options[word] = next(following, "") if word in WITH_VALUE else ""
        else:
            rest.append(word)
    return options, rest


async def _list(context: Context, options: list[str]) -> int:
    flags, words = _split(options)
    found = await packages.installed(context.phone)
    rows: list[tuple[str, str, int]] = [] if "-3" in flags else [(*PLATFORM_PACKAGE, packages.SDK_LEVEL)]
    if "-s" not in flags and "-d" not in flags:
        rows += [(one.package, one.path, one.version_code) for one in found.values()]
    for name, path, version in rows:
        if all(word in name for word in words):
            line = f"package:{path}={name}" if "-f" in flags else f"package:{name}"
            context.out(f"{line} versionCode:{version}" if "--show-versioncode" in flags else line)
    return 0


async def _path(context: Context, name: str) -> int:
    if name == PLATFORM_PACKAGE[0]:
        context.out(f"package:{PLATFORM_PACKAGE[1]}")
        return 0
    package = (await packages.installed(context.phone)).get(name)
    for path in package.paths if package is not None else ():
        context.out(f"package:{path}")
    return 0 if package is not None else 1


async def _install(context: Context, words: list[str]) -> int:
    options, paths = _split(words)
    staging = packages.new_staging()
    if "-S" in options and (not paths or paths == ["-"]):
        await packages.copy_in(context.phone, _stdin(context, _size(options["-S"])), f"{staging}/base.apk")
    elif len(paths) == 1:
        await packages.copy_in(context.phone, packages.of_file(context.phone, paths[0]), f"{staging}/base.apk")
    else:
        raise InstallError("INSTALL_FAILED_INVALID_URI", "give the path of one APK")
    package = await _finish(context, staging, set(options))
    context.phone.note("PackageManager", f"installed {package.package} {package.version_name}")
    context.out("Success")
    return 0


async def _finish(context: Context, staging: str, options: set[str]) -> Package:
    # Installing over an older version has been the default since Android 9; --no-... is not: `-R` refuses it.
    return await packages.commit(context.phone, staging, downgrade="-d" in options, replace="-R" not in options)


def _create(context: Context, words: list[str]) -> int:
    options, _ = _split(words)
    while len(_sessions) >= SESSIONS_MAX:
        del _sessions[next(iter(_sessions))]
    number = secrets.randbelow(2**31 - 1) + 1
    _sessions[number] = _Session(context.phone.config.phone_id, set(options))
    context.out(f"Success: created install session [{number}]")
    return 0


def _session(context: Context, number: str) -> _Session:
    session = _sessions.get(int(number)) if number.isascii() and number.isdigit() else None
    if session is None or session.phone_id != context.phone.config.phone_id:
        raise InstallError("INSTALL_FAILED_INTERNAL_ERROR", f"there is no install session {number[:32]}")
    return session


async def _write(context: Context, words: list[str]) -> int:
    options, rest = _split(words)
    if len(rest) < 2:
        raise InstallError("INSTALL_FAILED_INVALID_URI", "give the session and a name")
    session = _session(context, rest[0])
    name = rest[1]
    if "/" in name or name in ("", ".", "..") or len(name) > 200:
        raise InstallError("INSTALL_FAILED_INVALID_APK", f"the name {name[:64]!r} cannot be used")
    if len(rest) > 2 and rest[2] != "-":
        pieces = packages.of_file(context.phone, rest[2])
    else:
        pieces = _stdin(context, _size(options.get("-S", "")))
    size = await packages.copy_in(context.phone, pieces, f"{session.staging}/{name if name.endswith('.apk') else f'{name}.apk'}")
    context.out(f"Success: streamed {size} bytes")
    return 0


async def _commit(context: Context, number: str) -> int:
    session = _session(context, number)
    del _sessions[int(number)]
    await _finish(context, session.staging, session.options)
    context.out("Success")
    return 0


async def _uninstall(context: Context, words: list[str]) -> int:
    options, names = _split(words)
    try:
        gone = bool(names) and await packages.uninstall(context.phone, names[0], keep_data="-k" in options)
    except OSError as error:
        context.out(f"Failure [DELETE_FAILED_INTERNAL_ERROR: {error.strerror}]")
        return 1
    context.out("Success" if gone else "Failure [DELETE_FAILED_INTERNAL_ERROR]")
    return 0 if gone else 1


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= packages.APK_BYTES_MAX):
        raise InstallError("INSTALL_FAILED_INVALID_APK", f"-S takes the size in bytes, at most {packages.APK_BYTES_MAX}")
    return int(text)


async def _stdin(context: Context, size: int) -> AsyncIterator[bytes]:
    """`size` bytes of standard input."""
    left = size
    while left:
        piece = await context.read()
        if not piece:
            raise InstallError("INSTALL_FAILED_INVALID_APK", f"{left} bytes of it did not arrive")
        yield piece[:left]
        left -= min(left, len(piece))
