"""Every key of `property` with its limit, from cph-api.md 10.11. The numbers stand here once more on purpose."""

from __future__ import annotations

import string

from wire.limit_rules import LETTERS, NAME

#: key of `property` -> its shortest and longest value and what it is made of (cph-api.md 10.11)
PROPERTY_TEXTS: dict[str, tuple[int, int, str]] = {
    "com.cph.cam_local_pic_path": (1, 90, NAME + "@#.:/ "),
    "persist.sys.locale": (1, 64, LETTERS + "-"),
    "sys.prop.writeimsi": (0, 15, string.digits),
    "sys.prop.writephonenum": (0, 20, string.digits),
    "sys.prop.writewifissid": (1, 64, LETTERS + "_-./@#: "),
    "gsm.sim.operator.iso-country": (0, 10, string.ascii_letters + ","),
    "gsm.sim.operator.numeric": (0, 10, LETTERS + ","),
    "gsm.sim.operator.alpha": (0, 20, string.ascii_letters + ","),
    "gsm.operator.iso-country": (0, 10, string.ascii_letters + ","),
    "gsm.operator.numeric": (0, 10, LETTERS + ","),
    "gsm.operator.alpha": (0, 20, string.ascii_letters + ","),
    "com.cph.cg.heartbeat_interval": (1, 10, string.digits),
}
#: key of `property` -> its least and greatest number
PROPERTY_NUMBERS: dict[str, tuple[int, int]] = {
    **dict.fromkeys(
        (
            "com.cph.mainkeys",
            "disable.status.bar",
            "ro.permission.changed",
            "ro.install.auto",
            "ro.com.cph.non_root",
            "ro.com.cph.notification_disable",
            "com.cph.disable_fb_permission",
            "ro.com.cph.toast_enable",
            "ro.horizontal.screen",
            "ro.com.cph.cloud_app_engine",
        ),
        (0, 1),
    ),
    "com.cph.bandwidth_limit": (1, 99_999_999),
    "com.cph.cg.app_port": (10_000, 11_000),
    "com.cph.cg.h5_port": (10_000, 11_000),
}
PROPERTY_URLS = ("com.cph.cg.sign_check_url", "com.cph.cg.event_notify_url", "com.cph.cg.heartbeat_url")
#: No longer documented with rules: Android's own, 91 printable characters.
PROPERTY_DEPRECATED = (
    "ro.hardware.gpurenderer",
    "ro.board.platform",
    "ro.build.product",
    "ro.product.device",
    "ro.com.cph.sfs_enable",
    "ro.product.manufacturer",
    "ro.product.name",
    "qemu.hw.mainkeys",
)
