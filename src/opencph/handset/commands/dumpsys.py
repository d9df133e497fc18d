"""dumpsys: the few services that a handset has facts for."""

from __future__ import annotations

from opencph.handset.commands import Context
from opencph.handset.commands.screen import density, size

SERVICES = ("battery", "display", "meminfo", "package", "window")


async def dumpsys(context: Context) -> int:
    """A service by name, or -l for their names."""
    phone = context.phone
    args = [word for word in context.args if word != "-l"]
    if not args:
        context.out("Currently running services:\n" + "\n".join(f"  {name}" for name in SERVICES))
        return 0
    width, height = size(phone)
    match args[0]:
        case "battery":
            context.out(
                "Current Battery Service state:\n  AC powered: true\n  USB powered: false\n  status: 5\n  health: 2\n"
                "  present: false\n  level: 100\n  scale: 100"
            )
        case "display":
            facts = f"{width} x {height}, density {density(phone)}, state ON"
            context.out(f"Display Devices: size=1\n  DisplayDeviceInfo: {facts}\n  orientation=0")
        case "window":
            state = "ON" if phone.running_screen.on else "OFF"
            context.out(f"WINDOW MANAGER\n  init={width}x{height} {density(phone)}dpi cur={width}x{height}\n  mScreenState={state}")
        case "meminfo":
            context.out(f"Total RAM: {phone.booted.memory_bytes // 1024:,}K (limit of one process, not reserved)")
        case "package":
            context.out("Packages:\n  Package [android] (0)")
        case name:
            return context.error(f"Can't find service: {name}")
    return 0
