"""The packages of a phone: what lies below /data/app *is* installed, so that a directory that was restored or pushed counts too.

Beside each package's APKs is a small file with what was read of them. Nothing is executed: a handset is not Android.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import stat
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import msgspec

from opencph.handset.config import HandsetError
from opencph.handset.transfers import Upload
from opencph.handset.trees import remove_tree

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

APPS, DATA = "/data/app", "/data/data"
ABOUT = ".about.json"
READ_SECONDS = 30.0
READERS_AT_ONCE = 2  # of a host: each may take as much memory as `apk` allows itself
APK_BYTES_MAX = 2 << 30
PACKAGE = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)+")
PIECE_BYTES = 1 << 18
SDK_LEVEL = 30


class InstallError(Exception):
    """The package is not installed. `code` is Android's (INSTALL_FAILED_...), the message says why."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(f"{code}: {message}")


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """An installed package."""

    package: str
    version_code: int
    version_name: str
    label: str = ""
    min_sdk: int = 0
    target_sdk: int = 0
    permissions: tuple[str, ...] = ()
    activities: tuple[str, ...] = ()
    main_activity: str = ""
    splits: tuple[str, ...] = ()
    directory: str = ""  # below /data/app

    @property
    def path(self) -> str:
        """Its base APK in the phone."""
        return f"{APPS}/{self.directory}/base.apk"

    @property
    def paths(self) -> list[str]:
        """All its APKs."""
        return [self.path, *(f"{APPS}/{self.directory}/split_{name}.apk" for name in self.splits)]


class _Read(msgspec.Struct, frozen=True, kw_only=True):
    """What `handset.apk` prints."""

    package: str
    version_code: int
    version_name: str
    label: str
    split: str
    min_sdk: int
    target_sdk: int
    permissions: tuple[str, ...]
    activities: tuple[str, ...]
    main_activity: str


async def installed(phone: Phone) -> dict[str, Package]:
    """Every package by name. An APK that nobody has read yet is read now; what is no package is left out."""
    found: dict[str, Package] = {}
    with suppress(OSError):
        for raw, info in list(phone.files.list(APPS)):
            name = os.fsdecode(raw)
            if name not in (".", "..") and stat.S_ISDIR(info.mode) and not name.endswith(".tmp"):
                package = await _package_in(phone, name)
                if package is not None:
                    found[package.package] = package
    return dict(sorted(found.items()))


async def _package_in(phone: Phone, directory: str) -> Package | None:
    files = phone.files
    if files.stat(f"{APPS}/{directory}/base.apk").error:
        return None
    with suppress(OSError, msgspec.MsgspecError):
        fd = files.open_read(f"{APPS}/{directory}/{ABOUT}")
        with os.fdopen(fd, "rb") as file:
            known = msgspec.json.decode(file.read(1 << 20), type=Package)
        if PACKAGE.fullmatch(known.package):
            return msgspec.structs.replace(known, directory=directory)
    try:
        return await _remember(phone, directory, await _read_all(phone, f"{APPS}/{directory}"))
    except (InstallError, OSError):
        return None


_READERS: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


async def read_apk(phone: Phone, path: str) -> _Read:
    """The metadata of an APK in the phone. Raises InstallError."""
    async with _READERS.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(READERS_AT_ONCE)):
        return await _read_apk(phone, path)


async def _read_apk(phone: Phone, path: str) -> _Read:
    try:
        fd = phone.files.open_read(path)
    except OSError as error:
        raise InstallError("INSTALL_FAILED_INVALID_URI", f"{path}: {error.strerror}") from error
    try:
        reader = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "opencph.handset.apk", stdin=fd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    finally:
        os.close(fd)
    try:
        async with asyncio.timeout(READ_SECONDS):
            output, _ = await reader.communicate()
    except TimeoutError:
        raise InstallError("INSTALL_PARSE_FAILED_NOT_APK", f"it cannot be read in {READ_SECONDS:.0f} s") from None
    finally:
        if reader.returncode is None:
            reader.kill()
            await reader.wait()
    text = output.decode("utf-8", "replace").strip()
    if reader.returncode:
        raise InstallError("INSTALL_PARSE_FAILED_NOT_APK", text.rpartition("\n")[2] or "it cannot be read")
    try:
        found = msgspec.json.decode(text.rpartition("\n")[2], type=_Read)
    except (msgspec.MsgspecError, json.JSONDecodeError) as error:
        raise InstallError("INSTALL_PARSE_FAILED_BAD_MANIFEST", "its manifest says nothing that can be used") from error
    if PACKAGE.fullmatch(found.package) is None or len(found.package) > 128:
        raise InstallError("INSTALL_PARSE_FAILED_BAD_PACKAGE_NAME", f"its package name is {found.package[:128]!r}")
    return found


async def _read_all(phone: Phone, directory: str) -> list[_Read]:
    """The base APK and its splits in a directory of the phone."""
    names = sorted(os.fsdecode(raw) for raw, _ in phone.files.list(directory))
    apks = [name for name in names if name == "base.apk" or (name.startswith("split_") and name.endswith(".apk"))]
    return [await read_apk(phone, f"{directory}/{name}") for name in apks]


async def _remember(phone: Phone, directory: str, apks: Sequence[_Read]) -> Package:
    base = next((one for one in apks if not one.split), None)
    if base is None:
        raise InstallError("INSTALL_FAILED_MISSING_SPLIT", "there is no base APK among them")
    values = {name: value for name, value in msgspec.structs.asdict(base).items() if name != "split"}
    package = Package(**values, splits=tuple(one.split for one in apks if one.split), directory=directory)
    write_file(phone, f"{APPS}/{directory}/{ABOUT}", msgspec.json.encode(package))
    return package


def write_file(phone: Phone, path: str, data: bytes) -> None:
    """A small file on the phone's disk. Raises OSError."""
    upload = Upload(phone.files, phone.disk, path, stat.S_IFREG | 0o644)
    try:
        upload.write([memoryview(data)])
        upload.finish(0)
    except OSError:
        upload.abandon()
        raise


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


async def commit(phone: Phone, staging: str, *, downgrade: bool, replace: bool) -> Package:
    """Make the APKs in a staging directory (`*.apk`, any names) a package, in place of its older version. Raises InstallError.

    Whatever happens, the staging directory is gone afterwards.
    """
    try:
        names = sorted(os.fsdecode(raw) for raw, info in phone.files.list(staging) if stat.S_ISREG(info.mode))
        apks = {name: await read_apk(phone, f"{staging}/{name}") for name in names}
        base = [one for one in apks.values() if not one.split]
        _check(base, list(apks.values()))
        before = (await installed(phone)).get(base[0].package)
        if before is not None and not replace:
            raise InstallError("INSTALL_FAILED_ALREADY_EXISTS", f"{before.package} is installed already; use -r")
        if before is not None and not downgrade and base[0].version_code < before.version_code:
            raise InstallError("INSTALL_FAILED_VERSION_DOWNGRADE", f"version {before.version_code} is installed; use -d")
        directory = f"{base[0].package}-{secrets.token_urlsafe(9)}"
        with phone.files.resolve(staging) as place:
            for name, one in apks.items():
                target = f"split_{one.split}.apk" if one.split else "base.apk"
                os.rename(name, target, src_dir_fd=place.fd, dst_dir_fd=place.fd)
        package = await _remember(phone, Path(staging).name, list(apks.values()))
        with phone.files.resolve(APPS) as place:
            os.rename(Path(staging).name, directory, src_dir_fd=place.fd, dst_dir_fd=place.fd)
        if before is not None:
            remove_directory(phone, f"{APPS}/{before.directory}")
        phone.files.make_parents(f"{DATA}/{package.package}/x", lambda: phone.disk.take(4096))
        return msgspec.structs.replace(package, directory=directory)
    except OSError as error:
        raise InstallError("INSTALL_FAILED_INSUFFICIENT_STORAGE", str(error.strerror)) from error
    finally:
        with suppress(OSError, HandsetError):
            remove_directory(phone, staging)


def _check(base: Sequence[_Read], apks: Sequence[_Read]) -> None:
    if len(base) != 1:
        raise InstallError(
            "INSTALL_FAILED_MISSING_SPLIT" if not base else "INSTALL_FAILED_INVALID_APK", f"{len(base)} base APKs: one is needed"
        )
    for one in apks:
        if (one.package, one.version_code) != (base[0].package, base[0].version_code):
            raise InstallError("INSTALL_FAILED_INVALID_APK", f"split {one.split!r} is of another package or version")
        if one.split and re.fullmatch(r"[A-Za-z][A-Za-z0-9_.]{0,127}", one.split) is None:
            raise InstallError("INSTALL_PARSE_FAILED_MANIFEST_MALFORMED", f"split name {one.split[:64]!r}")
    if len({one.split for one in apks}) != len(apks):
        raise InstallError("INSTALL_FAILED_INVALID_APK", "a split is there twice")
    if base[0].min_sdk > SDK_LEVEL:
        raise InstallError("INSTALL_FAILED_OLDER_SDK", f"it needs SDK {base[0].min_sdk}, this is {SDK_LEVEL}")


async def uninstall(phone: Phone, name: str, *, keep_data: bool = False) -> bool:
    """Remove a package; False when it is not installed. Raises OSError."""
    package = (await installed(phone)).get(name)
    if package is None:
        return False
    remove_directory(phone, f"{APPS}/{package.directory}")
    if not keep_data:
        for directory in (f"{DATA}/{name}", f"/data/media/0/Android/data/{name}"):
            remove_directory(phone, directory)
    return True


async def clear(phone: Phone, name: str) -> bool:
    """Delete a package's data; False when it is not installed."""
    if name not in await installed(phone):
        return False
    remove_directory(phone, f"{DATA}/{name}")
    phone.files.make_parents(f"{DATA}/{name}/x", lambda: phone.disk.take(4096))
    return True


def remove_directory(phone: Phone, path: str) -> None:
    """Delete a directory of the phone, and nothing that a link leads to. A missing one is deleted already. Raises OSError."""
    parent, _, name = path.rpartition("/")
    with suppress(FileNotFoundError, NotADirectoryError), phone.files.resolve(parent) as place:
        if place.fd >= 0 and not place.name:
            remove_tree(Path(f"/proc/self/fd/{place.fd}/{name}"))
    phone.disk.forget()
