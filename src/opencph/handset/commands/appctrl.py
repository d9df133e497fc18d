"""appctrl: installs apps from what the phone's server shares (/data/share_apps). Putting it there is the platform's business."""

from __future__ import annotations

import os
import stat
import tarfile
from contextlib import suppress

from opencph.handset import installing, packages
from opencph.handset.commands import Context
from opencph.handset.commands.options import Given
from opencph.handset.commands.table import entry
from opencph.handset.transfers import Upload

SHARED = "/data/share_apps"
PIECE_BYTES = 1 << 20
NOT_SHARED = "the server of this phone does not share this package"
#: Packages that hold files and no app.
CONFIGURATIONS = frozenset({"com.cph.config", "com.cph.config.level1", "com.cph.config.level2"})


@entry("appctrl", None, does="install|start|uninstall|applyConfig PACKAGE, clear: apps and files that the phone's server shares")
async def appctrl(context: Context, given: Given) -> int:
    """install, start, uninstall PACKAGE; clear; applyConfig PACKAGE (deploys files)."""
    match given.words:
        case ["install", name, *_]:
            return _done(context, await _install(context, name))
        case ["applyConfig", name, *_]:
            return _done(context, _apply(context, name))
        case ["start", name, *_]:
            problem = "" if name in await packages.installed(context.phone) else await _install(context, name)
            if not problem and name not in await packages.installed(context.phone):
                problem = f"{name} holds files and no app that could be started"
            if not problem:
                context.phone.note("ActivityManager", f"START {name} from appctrl")
            return _done(context, problem)
        case ["uninstall", name, *_]:
            if not _versions(context, name):
                return _done(context, NOT_SHARED)
            return _done(context, "" if await packages.uninstall(context.phone, name) else f"{name} is not installed")
        case ["clear"]:
            for name in _shared(context):
                if not _pre_installed(context, name):
                    await packages.uninstall(context.phone, name)
            return _done(context, "")
        case _:
            return context.error("usage: appctrl install|start|uninstall|applyConfig PACKAGE, or appctrl clear")


def _done(context: Context, problem: str) -> int:
    context.out(f"Failure: {problem}" if problem else "Success")
    return 1 if problem else 0


def _names(context: Context, directory: str) -> list[tuple[int, str]]:
    with suppress(OSError):
        return [(info.mtime, os.fsdecode(raw)) for raw, info in context.phone.files.list(directory)]
    return []


def _shared(context: Context) -> list[str]:
    return [name for _, name in _names(context, SHARED) if not name.startswith(".")]


def _versions(context: Context, name: str) -> list[str]:
    """The archives of a shared app, the newest last."""
    if packages.PACKAGE.fullmatch(name) is None:
        return []
    return [archive for _, archive in sorted(_names(context, f"{SHARED}/{name}")) if archive.endswith(".tar")]


def _pre_installed(context: Context, name: str) -> bool:
    return not context.phone.files.stat(f"{SHARED}/{name}/.pre_installed").error


async def _install(context: Context, name: str) -> str:
    """Install the newest version; why that is not possible. A package of files (com.cph.config...) is deployed instead.

    Its apps are read and checked beside what is installed, as `pm install` does, and take its place when all else is unpacked.
    """
    if name in CONFIGURATIONS:
        return _apply(context, name)
    versions = _versions(context, name)
    if not versions:
        return NOT_SHARED
    archive, version = f"{SHARED}/{name}/{versions[-1]}", versions[-1].removesuffix(".tar")
    stagings: dict[str, str] = {}
    try:
        _unpack(context, archive, apps=True, stagings=stagings)
        prepared = []
        for directory, staging in stagings.items():
            options = installing.InstallOptions(downgrade=True, test=True, directory=directory)
            prepared.append(await installing.prepare(context.phone, staging, options))
        packed = [one.package.package for one in prepared]
        if name not in packed:
            return f"version {version} of {name} holds no such app"
        if len(set(packed)) != len(packed):
            return f"version {version} of {name} holds an app twice"
        _unpack(context, archive, apps=False)
        await installing.commit(context.phone, prepared)
    except packages.InstallError as error:
        if error.code.startswith("INSTALL_PARSE_FAILED") or error.code == "INSTALL_FAILED_MISSING_SPLIT":
            return f"version {version} of {name} holds no such app"
        return f"version {version} of {name} cannot be installed: {error}"
    except (tarfile.TarError, OSError) as error:
        return f"{name} cannot be unpacked: {error}"
    finally:
        for staging in stagings.values():
            installing.discard(context.phone, staging)
    return ""


def _apply(context: Context, name: str) -> str:
    """Deploy all files of the newest version; why that is not possible."""
    versions = _versions(context, name)
    if not versions:
        return NOT_SHARED
    try:
        for apps in (True, False):
            _unpack(context, f"{SHARED}/{name}/{versions[-1]}", apps=apps)
    except (tarfile.TarError, OSError) as error:
        return f"{name} cannot be unpacked: {error}"
    return ""


def _unpack(context: Context, path: str, *, apps: bool, stagings: dict[str, str] | None = None) -> None:
    """What an archive has below /data/app, or all the rest. It lies in the phone, so it goes through the phone's own walls.

    With `stagings` each directory of /data/app is unpacked into one of its own, named there, and nothing is installed yet.
    """
    phone = context.phone
    fd = phone.files.open_read(path)
    with os.fdopen(fd, "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            parts = [part for part in member.name.split("/") if part not in ("", ".")]
            if ".." in parts or not (member.isreg() or member.issym()) or (parts[:2] == ["data", "app"]) is not apps:
                continue
            if stagings is not None:
                if len(parts) < 4 or parts[3] in (packages.ABOUT, packages.ICON):  # in no app, or what is written of it here
                    continue
                parts[2] = stagings.setdefault(parts[2], installing.new_staging()).rpartition("/")[2]
            kind = stat.S_IFREG if member.isreg() else stat.S_IFLNK
            upload = Upload(phone.files, phone.disk, "/" + "/".join(parts), kind | (member.mode & 0o777))
            try:
                contents = archive.extractfile(member) if member.isreg() else None
                if contents is None:
                    upload.write([memoryview(os.fsencode(member.linkname))])
                else:
                    while piece := contents.read(PIECE_BYTES):
                        upload.write([memoryview(piece)])
                upload.finish(int(member.mtime))
            except BaseException:
                upload.abandon()
                raise
