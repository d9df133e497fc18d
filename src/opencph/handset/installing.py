"""Making APKs a package: copied in, read, checked by Android's rules, put in place. What a package is, is `packages.py`."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from opencph.handset import package_states
from opencph.handset.apk_names import may_update
from opencph.handset.config import HandsetError
from opencph.handset.packages import (
    APPS,
    USER_DATA,
    InstallError,
    Package,
    Read,
    installed,
    read_apk,
    remember,
    remove_directory,
    sdk_level,
)
from opencph.handset.permissions import changeable
from opencph.handset.transfers import Upload
from opencph.handset.trees import BLOCK_BYTES

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

APK_BYTES_MAX = 2 << 30
PIECE_BYTES = 1 << 18
USER_LINK = "/data/user/0"
LIBRARIES = (
    "android.ext.shared",
    "android.hidl.base-V1.0-java",
    "android.hidl.manager-V1.0-java",
    "android.test.base",
    "android.test.mock",
    "android.test.runner",
    "com.android.future.usb.accessory",
    "com.android.location.provider",
    "com.android.media.remotedisplay",
    "com.android.mediadrm.signer",
    "javax.obex",
    "org.apache.http.legacy",
)  # the shared libraries of AOSP 11


class InstallOptions(NamedTuple):
    """How `pm install` was asked to install."""

    downgrade: bool = False
    replace: bool = True
    grant: bool = False  # all permissions that the app asks for
    test: bool = False  # apps that are for tests only, too
    installer: str = ""
    package: str = ""  # it must be this one
    inherit: bool = False  # keep the APKs that the installed package has and these do not replace
    removed: tuple[str, ...] = ()  # splits that are not kept then
    directory: str = ""  # below /data/app, whose contents it takes the place of; a new one when empty


async def copy_in(phone: Phone, pieces: AsyncIterator[bytes], path: str) -> int:
    """A file of the phone from pieces; its size. Raises InstallError when the disk is full."""
    try:
        upload = Upload(phone.files, phone.disk, path, stat.S_IFREG | 0o644)
        try:
            async for piece in pieces:
                if upload.size + len(piece) > APK_BYTES_MAX:
                    raise InstallError("INSTALL_FAILED_INVALID_APK", f"an APK has at most {APK_BYTES_MAX} bytes")
                upload.write([memoryview(piece)])
            upload.finish(0)
        except BaseException:
            upload.abandon()
            raise
    except OSError as error:
        raise InstallError("INSTALL_FAILED_INSUFFICIENT_STORAGE", str(error.strerror)) from error
    return upload.size


async def of_file(phone: Phone, path: str) -> AsyncIterator[bytes]:
    """The contents of a file of the phone. Raises InstallError."""
    try:
        fd = phone.files.open_read(path)
    except OSError as error:
        raise InstallError("INSTALL_FAILED_INVALID_URI", f"{path}: {error.strerror}") from error
    with os.fdopen(fd, "rb", buffering=0) as file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece


def new_staging() -> str:
    """A directory for APKs that are not a package yet."""
    return f"{APPS}/vmdl{secrets.randbelow(10**9)}.tmp"


class Prepared(NamedTuple):
    """APKs that were read, checked and named, and that nothing keeps from becoming a package."""

    package: Package
    before: Package | None
    staging: str
    options: InstallOptions


async def prepare(phone: Phone, staging: str, options: InstallOptions) -> Prepared:
    """Make the APKs in a staging directory (`*.apk`, any names) ready to take the place of the older version. Raises InstallError.

    When it raises, the staging directory is gone.
    """
    try:
        there = await installed(phone)
        inherited = there.get(options.package) if options.inherit else None
        if options.inherit and inherited is None:
            raise InstallError("INSTALL_FAILED_INVALID_APK", "Missing existing base package")
        apks = {name: await read_apk(phone, f"{staging}/{name}") for name in _staged(phone, staging)}
        if inherited is not None:
            apks |= await _inherit(phone, inherited, staging, {one.split for one in apks.values()} | {*options.removed})
        base = [one for one in apks.values() if not one.split]
        _check_set(base, list(apks.values()))
        before = there.get(base[0].package)
        _check(phone, base[0], before, options)
        with phone.files.resolve(staging) as place:
            targets = {name: f"split_{one.split}.apk" if one.split else "base.apk" for name, one in apks.items()}
            for name in targets:  # none may take the place of another that has its name
                os.rename(name, f"{name}.read", src_dir_fd=place.fd, dst_dir_fd=place.fd)
            for name, target in targets.items():
                os.rename(f"{name}.read", target, src_dir_fd=place.fd, dst_dir_fd=place.fd)
        package = await remember(phone, Path(staging).name, list(apks.values()), before=before, installer=options.installer)
        return Prepared(package, before, staging, options)
    except BaseException as error:
        discard(phone, staging)
        if isinstance(error, OSError):
            raise InstallError("INSTALL_FAILED_INSUFFICIENT_STORAGE", error.strerror or str(error)) from error
        raise


def _staged(phone: Phone, staging: str) -> list[str]:
    """The names of the APKs in a staging directory; one that nobody wrote to is empty."""
    try:
        files = [os.fsdecode(raw) for raw, info in phone.files.list(staging) if stat.S_ISREG(info.mode)]
    except FileNotFoundError:
        return []
    return sorted(name for name in files if name.endswith(".apk"))


async def _inherit(phone: Phone, package: Package, staging: str, without: set[str]) -> dict[str, Read]:
    """Put the APKs of an installed package beside those that are staged, but for the splits in `without` ("" is the base)."""
    kept: dict[str, Read] = {}
    phone.files.make_parents(f"{staging}/x", lambda: phone.disk.take(4096))
    for split, path in zip(("", *package.splits), package.paths, strict=True):
        if split not in without:
            name = f"inherited.{len(kept)}.apk"
            await copy_in(phone, of_file(phone, path), f"{staging}/{name}")
            kept[name] = await read_apk(phone, f"{staging}/{name}")
    return kept


async def commit(phone: Phone, prepared: Sequence[Prepared]) -> list[Package]:
    """Make them packages, all or none. Raises InstallError."""
    placed: list[str] = []
    aside: dict[str, str] = {}  # what was in a directory that was asked for
    try:
        _link_users(phone)
        for one in prepared:
            directory = one.options.directory or f"{one.package.package}-{secrets.token_urlsafe(9)}"
            for data in USER_DATA:
                phone.files.make_parents(f"{data}/{one.package.package}/x", lambda: phone.disk.take(4096))
            with phone.files.resolve(APPS) as place:
                with suppress(FileNotFoundError):
                    kept = Path(new_staging()).name
                    os.rename(directory, kept, src_dir_fd=place.fd, dst_dir_fd=place.fd)
                    aside[directory] = kept
                os.rename(Path(one.staging).name, directory, src_dir_fd=place.fd, dst_dir_fd=place.fd)
            placed.append(directory)
    except OSError as error:
        for path in (*(f"{APPS}/{directory}" for directory in placed), *(one.staging for one in prepared[len(placed) :])):
            discard(phone, path)
        with suppress(OSError), phone.files.resolve(APPS) as place:
            for directory, kept in aside.items():
                os.rename(kept, directory, src_dir_fd=place.fd, dst_dir_fd=place.fd)
        raise InstallError("INSTALL_FAILED_INSUFFICIENT_STORAGE", error.strerror or str(error)) from error
    for kept in aside.values():
        discard(phone, f"{APPS}/{kept}")
    made = []
    for one, directory in zip(prepared, placed, strict=True):
        if one.before is not None and one.before.directory not in placed:
            remove_directory(phone, f"{APPS}/{one.before.directory}")
        made.append(msgspec.structs.replace(one.package, directory=directory))
        package_states.arrived(phone, one.package.package)
        if one.options.grant or phone.running_properties.get("ro.permission.changed") == "1":
            package_states.grant(phone, made[-1], [name for name in made[-1].permissions if changeable(name)])
    phone.running_screen.apps_stamp = -1
    return made


def _link_users(phone: Phone) -> None:
    """/data/user/0 is another name of /data/data, as in Android. Raises OSError."""
    if phone.files.stat(USER_LINK, follow=False).error:
        upload = Upload(phone.files, phone.disk, USER_LINK, stat.S_IFLNK | 0o777)
        upload.write([memoryview(b"/data/data")])
        upload.finish(0)


def discard_empty(phone: Phone, path: str) -> None:
    """A directory for APKs that none came into."""
    with suppress(OSError), phone.files.resolve(path, follow=False) as place:
        if place.fd >= 0 and place.name:
            os.rmdir(place.name, dir_fd=place.fd)
            phone.disk.take(-BLOCK_BYTES)


def discard(phone: Phone, path: str) -> None:
    """A directory that will be no package."""
    with suppress(OSError, HandsetError):
        remove_directory(phone, path)


def _check_set(base: Sequence[Read], apks: Sequence[Read]) -> None:
    """Whether the APKs belong together."""
    if not base:
        raise InstallError("INSTALL_FAILED_MISSING_SPLIT", "Full install must include a base package")
    if len({one.split for one in apks}) != len(apks):
        raise InstallError(
            "INSTALL_FAILED_INVALID_APK", "Split null was defined multiple times" if len(base) > 1 else "a split is there twice"
        )
    for one in apks:
        name = one.split[:64]
        if one.package != base[0].package:
            raise InstallError("INSTALL_FAILED_INVALID_APK", f"{name} package {one.package} inconsistent with {base[0].package}")
        if one.version_code != base[0].version_code:
            raise InstallError(
                "INSTALL_FAILED_INVALID_APK", f"{name} version code {one.version_code} inconsistent with {base[0].version_code}"
            )
        if one.split and re.fullmatch(r"[A-Za-z][A-Za-z0-9_.]{0,127}", one.split) is None:
            raise InstallError("INSTALL_PARSE_FAILED_MANIFEST_MALFORMED", f"Invalid manifest split: {name!r}")
        if one.signers != base[0].signers:
            raise InstallError("INSTALL_FAILED_INVALID_APK", f"{name} signatures are inconsistent")


def _check(phone: Phone, base: Read, before: Package | None, options: InstallOptions) -> None:
    """Whether the package may be installed on this phone, over what is there."""
    level = sdk_level(phone)
    if options.package and base.package != options.package:
        raise InstallError("INSTALL_FAILED_INVALID_APK", f"base package {base.package} inconsistent with {options.package}")
    if base.min_sdk > level:
        raise InstallError("INSTALL_FAILED_OLDER_SDK", f"Requires newer sdk version #{base.min_sdk} (current version is #{level})")
    if base.test_only and not options.test:
        raise InstallError("INSTALL_FAILED_TEST_ONLY", "installPackageLI")
    lacking = [name for name in base.libraries if name not in LIBRARIES]
    if lacking:
        raise InstallError(
            "INSTALL_FAILED_MISSING_SHARED_LIBRARY",
            f"Package {base.package} requires unavailable shared library {lacking[0][:64]}; failing!",
        )
    if base.package in package_states.SYSTEM:
        raise InstallError(
            "INSTALL_FAILED_UPDATE_INCOMPATIBLE", f"Package {base.package} signatures do not match system package; ignoring!"
        )
    if before is None:
        return
    if not options.replace:
        raise InstallError("INSTALL_FAILED_ALREADY_EXISTS", f"Attempt to re-install {before.package} without first uninstalling.")
    if not may_update(before.signed, base.signed):
        raise InstallError(
            "INSTALL_FAILED_UPDATE_INCOMPATIBLE",
            f"Package {base.package} signatures do not match previously installed version; ignoring!",
        )
    if not options.downgrade and base.version_code < before.version_code:
        raise InstallError(
            "INSTALL_FAILED_VERSION_DOWNGRADE",
            f"Downgrade detected: Update version code {base.version_code} is older than current {before.version_code}",
        )
