"""System properties of one phone: defaults, what the platform set, what the user set. Storing them is `state.py`'s business."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping

from opencph.handset.config import PhoneConfig

VALUE_MAX_BYTES = 91  # PROP_VALUE_MAX - 1; `ro.` values may be longer
ANDROID_VERSIONS = {"7": ("7.1.1", "25"), "9": ("9", "28"), "11": ("11", "30")}

# cph-api.md 10.11: the documented defaults of the API's `property` keys
PLATFORM_DEFAULTS: Mapping[str, str] = {
    "com.cph.mainkeys": "0",
    "disable.status.bar": "0",
    "ro.permission.changed": "0",
    "ro.install.auto": "0",
    "ro.com.cph.non_root": "1",
    "ro.com.cph.notification_disable": "0",
    "com.cph.disable_fb_permission": "0",
    "com.cph.bandwidth_limit": "-1",
    "ro.com.cph.toast_enable": "0",
    "sys.prop.writewifissid": "cloudphone_wifi",
    "gsm.sim.operator.iso-country": "cn",
    "gsm.sim.operator.numeric": "46000",
    "gsm.sim.operator.alpha": "CMCC",
    "gsm.operator.iso-country": "cn",
    "gsm.operator.numeric": "46000",
    "gsm.operator.alpha": "CMCC",
    "ro.horizontal.screen": "0",
    "ro.com.cph.sfs_enable": "0",
    "qemu.hw.mainkeys": "0",
    "sys.cph.traffic_type": "direct",
}
# cph-api.md 10.7: these act at once, all others at the next boot
AT_ONCE = frozenset(("ro.permission.changed", "ro.install.auto", "com.cph.cam_local_pic_path", "sys.cph.traffic_type"))

COMMON: Mapping[str, str] = {
    "dalvik.vm.heapsize": "512m",
    "dev.bootcomplete": "1",
    "init.svc.adbd": "running",
    "init.svc.bootanim": "stopped",
    "net.bt.name": "Android",
    "persist.sys.locale": "en-US",
    "persist.sys.timezone": "UTC",
    "persist.sys.usb.config": "adb",
    "ro.adb.secure": "0",
    "ro.boot.hardware": "handset",
    "ro.bootmode": "unknown",
    "ro.build.characteristics": "default",
    "ro.build.flavor": "handset-userdebug",
    "ro.build.host": "opencph",
    "ro.build.tags": "test-keys",
    "ro.build.type": "userdebug",
    "ro.build.user": "opencph",
    "ro.build.version.codename": "REL",
    "ro.hardware": "handset",
    "ro.kernel.qemu": "0",
    "ro.product.board": "handset",
    "ro.product.brand": "OpenCPH",
    "ro.product.device": "handset",
    "ro.product.locale": "en-US",
    "ro.product.manufacturer": "OpenCPH",
    "ro.product.name": "handset",
    "ro.secure": "1",
    "ro.zygote": "none",
    "service.bootanim.exit": "1",
    "sys.boot_completed": "1",
    "sys.bootstat.first_boot_completed": "1",
    "sys.usb.config": "adb",
    "sys.usb.state": "adb",
}


def android_version(image_version: str) -> tuple[str, str]:
    """(release, SDK level) of an image version such as "AOSP 11.0"."""
    number = image_version.rpartition(" ")[2]
    major = number.partition(".")[0]
    return ANDROID_VERSIONS.get(major, (number or "11", "30"))


def serial(config: PhoneConfig) -> str:
    """The serial number: the first 16 characters of the phone's id."""
    return config.phone_id[:16] or hashlib.sha256(config.ip.encode()).hexdigest()[:16]


def defaults(config: PhoneConfig, machine: str) -> dict[str, str]:
    """Everything a phone says of itself before anybody changes it. `machine` is the processor, as `uname -m` names it."""
    release, sdk = android_version(config.image_version)
    abi = {"x86_64": "x86_64", "aarch64": "arm64-v8a"}.get(machine, machine)
    values = dict(COMMON)
    values.update(PLATFORM_DEFAULTS)
    values.update(
        {
            "ro.build.description": f"handset-userdebug {release} OpenCPH test-keys",
            "ro.build.display.id": f"OpenCPH handset {config.image_version}",
            "ro.build.fingerprint": f"OpenCPH/handset/handset:{release}/OPENCPH/1:userdebug/test-keys",
            "ro.build.id": "OPENCPH",
            "ro.build.version.incremental": "1",
            "ro.build.version.release": release,
            "ro.build.version.sdk": sdk,
            "ro.cph.phone_id": config.phone_id,
            "ro.cph.phone_name": config.name,
            "ro.product.cpu.abi": abi,
            "ro.product.cpu.abilist": abi,
            "ro.product.model": config.model_name,
            "ro.serialno": serial(config),
            "ro.boot.serialno": serial(config),
            "ro.sf.lcd_density": str(config.dpi),
            "ro.ril.oem.imei": config.imei,
            "service.adb.tcp.port": str(config.adb_port),
        }
    )
    return values


class Properties:
    """The properties of one phone from one boot to the next. Only differences from the defaults are kept in memory."""

    __slots__ = ("_booted", "_booted_ns", "_current", "_machine", "_persistent", "_reason", "_set")

    def __init__(self, config: PhoneConfig, machine: str) -> None:
        self._machine = machine
        self._booted = config
        self._booted_ns = 0
        self._current = config
        self._persistent: dict[str, str] = {}
        self._reason = ""
        self._set: dict[str, str] = {}

    def boot(self, config: PhoneConfig, persistent: Mapping[str, str], reason: str) -> None:
        """A boot for a `reason` (in Android's words): what was set is forgotten, but for the `persist.` ones."""
        self._reason = reason
        self._booted = self._current = config
        self._booted_ns = time.monotonic_ns()
        self.persistent = persistent
        self._set = {}

    def reconfigure(self, config: PhoneConfig) -> None:
        """What acts at once acts now."""
        self._current = config

    @property
    def persistent(self) -> dict[str, str]:
        """What the user set that outlives a reboot, by who keeps it."""
        return self._persistent

    @persistent.setter
    def persistent(self, values: Mapping[str, str]) -> None:
        self._persistent = dict(values)

    def all(self) -> dict[str, str]:
        """Every property, sorted by name."""
        values = defaults(self._booted, self._machine)
        values.update(self._platform())
        values["ro.cph.phone_name"] = self._current.name
        values["sys.boot.reason"] = values["ro.boot.bootreason"] = self._reason
        values["ro.boottime.init"] = str(self._booted_ns)
        values["ro.debuggable"] = "0" if values["ro.com.cph.non_root"] == "1" else "1"
        values.update(self._persistent)
        values.update(self._set)
        return dict(sorted(values.items()))

    def get(self, name: str) -> str:
        """A value; empty when there is none."""
        if name in self._set:
            return self._set[name]
        if name in self._persistent:
            return self._persistent[name]
        return self.all().get(name, "")

    def _platform(self) -> dict[str, str]:
        values = dict(self._booted.properties)
        for name in AT_ONCE:
            if name in self._current.properties:
                values[name] = self._current.properties[name]
            else:
                values.pop(name, None)
        return values

    def refusal(self, name: str, value: str) -> str | None:
        """Why a property cannot be set to a value, in init's words; None when it can."""
        if not name or name.startswith(".") or name.endswith(".") or ".." in name:
            return f"illegal property name {name!r}"
        if not all(c.isascii() and (c.isalnum() or c in ".-_@:") for c in name):
            return f"illegal property name {name!r}"
        if name.startswith("ro."):
            if name in self.all():
                return f"failed to set property {name!r} to {value!r}: it is read-only"
        elif len(value.encode()) > VALUE_MAX_BYTES:
            return f"failed to set property {name!r}: the value is longer than {VALUE_MAX_BYTES} bytes"
        return None

    def set(self, name: str, value: str) -> None:
        """Set a property until the next boot. One that is to outlive it is the state's, as `persistent`."""
        self._set[name] = value
