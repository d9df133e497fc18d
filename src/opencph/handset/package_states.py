"""What was decided about packages on a phone: enabled or not, hidden, suspended, what was granted. Kept until a reset.

That a package is there at all is `packages.py`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from opencph.handset import permissions
from opencph.handset.state import PackageState

if TYPE_CHECKING:
    from opencph.handset.packages import Package
    from opencph.handset.phone import Phone

DEFAULT, ENABLED, DISABLED, DISABLED_USER, DISABLED_UNTIL_USED = range(5)
STATE_NAMES = ("default", "enabled", "disabled", "disabled-user", "disabled-until-used")  # as `pm enable` prints them


class SystemPackage(NamedTuple):
    """A page of the handset that answers under a package's name. It has no APK: nothing can be pulled at its path."""

    package: str
    path: str
    uid: int
    activity: str = ""
    page: str = ""
    label: str = ""


LAUNCHER = SystemPackage(
    "com.opencph.handset.launcher",
    "/system/priv-app/Launcher/Launcher.apk",
    10002,
    "com.opencph.handset.launcher.Home",
    "home",
    "Home",
)
SETTINGS = SystemPackage(
    "com.android.settings", "/system/priv-app/Settings/Settings.apk", 1000, "com.android.settings.Settings", "settings", "Settings"
)
FILES = SystemPackage(
    "com.android.documentsui",
    "/system/priv-app/DocumentsUI/DocumentsUI.apk",
    10001,
    "com.android.documentsui.files.FilesActivity",
    "files",
    "Files",
)
PLATFORM = SystemPackage("android", "/system/framework/framework-res.apk", 1000)
SYSTEM = {one.package: one for one in (PLATFORM, FILES, SETTINGS, LAUNCHER)}
PROTECTED = frozenset((PLATFORM.package, LAUNCHER.package))  # without these there is no phone to come back from


def of(phone: Phone, package: str) -> PackageState:
    """What was decided about a package; what nobody decided is as it was installed."""
    return phone.running_state.packages.get(package) or PackageState()


def change(phone: Phone, package: str) -> PackageState:
    """The same, to be changed; `save` comes after."""
    return phone.running_state.packages.setdefault(package, PackageState())


def save(phone: Phone) -> None:
    """Keep what was decided, and let the screen follow. Raises HandsetError."""
    screen = phone.running_screen
    screen.apps_stamp = -1  # look again
    screen.version += 1
    phone.save_state()


def forget(phone: Phone, packages: Iterable[str]) -> None:
    """The packages are gone."""
    known = phone.running_state.packages
    if [package for package in packages if known.pop(package, None) is not None]:
        phone.save_state()


def arrived(phone: Phone, package: str) -> None:
    """It is installed: its data is no longer all there is of it."""
    state = phone.running_state.packages.get(package)
    if state is not None and state.kept_uid:
        state.kept_uid = 0
        save(phone)


def usable(phone: Phone, package: str) -> bool:
    """Whether it is neither disabled nor hidden."""
    state = of(phone, package)
    return not state.hidden and state.enabled in (DEFAULT, ENABLED)


def granted(phone: Phone, package: Package, permission: str) -> bool:
    """Whether the package has a permission that it asks for."""
    state = of(phone, package.package)
    if permission in state.granted:
        return True
    return permission not in state.revoked and permissions.granted_at_install(permission, package.target_sdk)


def grant(phone: Phone, package: Package, names: Iterable[str]) -> None:
    """Grant what it asks for. Raises HandsetError when it cannot be kept."""
    state = change(phone, package.package)
    for name in names:
        if name not in state.granted:
            state.granted.append(name)
        if name in state.revoked:
            state.revoked.remove(name)
    save(phone)


def revoke(phone: Phone, package: Package, permission: str) -> None:
    """Take a permission back. Raises HandsetError when it cannot be kept."""
    state = change(phone, package.package)
    if permission in state.granted:
        state.granted.remove(permission)
    if permission not in state.revoked:
        state.revoked.append(permission)
    save(phone)
