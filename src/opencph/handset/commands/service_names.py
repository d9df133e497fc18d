"""Which services a handset has, with their interfaces: the one list behind `service`, `cmd -l` and `dumpsys -l`."""

from __future__ import annotations

INTERFACES = {
    "SurfaceFlinger": "android.ui.ISurfaceComposer",
    "activity": "android.app.IActivityManager",
    "alarm": "android.app.IAlarmManager",
    "appops": "com.android.internal.app.IAppOpsService",
    "audio": "android.media.IAudioService",
    "battery": "",
    "batterystats": "com.android.internal.app.IBatteryStats",
    "connectivity": "android.net.IConnectivityManager",
    "cpuinfo": "",
    "device_config": "",
    "deviceidle": "android.os.IDeviceIdleController",
    "diskstats": "",
    "display": "android.hardware.display.IDisplayManager",
    "gfxinfo": "",
    "input": "android.hardware.input.IInputManager",
    "input_method": "com.android.internal.view.IInputMethodManager",
    "media_session": "android.media.session.ISessionManager",
    "meminfo": "",
    "notification": "android.app.INotificationManager",
    "overlay": "android.content.om.IOverlayManager",
    "package": "android.content.pm.IPackageManager",
    "power": "android.os.IPowerManager",
    "settings": "",
    "statusbar": "com.android.internal.statusbar.IStatusBarService",
    "telephony.registry": "com.android.internal.telephony.ITelephonyRegistry",
    "uimode": "android.app.IUiModeManager",
    "wifi": "android.net.wifi.IWifiManager",
    "window": "android.view.IWindowManager",
}
SAME = {
    "activity": "am",
    "device_config": "device_config",
    "input": "input",
    "input_method": "ime",
    "media_session": "media",
    "package": "pm",
    "settings": "settings",
    "window": "wm",
}  # services that are commands
NOT_FOUND = 20  # the exit code of `cmd` for a service that is not there


def running() -> str:
    """The list as `cmd -l` and `dumpsys -l` print it."""
    return "Currently running services:\n" + "\n".join(f"  {name}" for name in sorted(INTERFACES))
