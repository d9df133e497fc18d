"""getprop and setprop."""

from __future__ import annotations

from opencph.handset.commands import Context


async def getprop(context: Context) -> int:
    """All properties as Android lists them, or one with an optional default."""
    properties = context.phone.running_properties
    if context.args and context.args[0].startswith("-"):
        return context.error("usage: getprop [NAME [DEFAULT]]")
    if not context.args:
        context.out("\n".join(f"[{name}]: [{value}]" for name, value in properties.all().items()))
        return 0
    value = properties.get(context.args[0])
    context.out(value or (context.args[1] if len(context.args) > 1 else ""))
    return 0


async def setprop(context: Context) -> int:
    """Set a property; `persist.` ones outlive a reboot."""
    if len(context.args) != 2:
        return context.error("usage: setprop NAME VALUE")
    name, value = context.args
    why_not = context.phone.running_properties.set(name, value)
    if why_not is not None:
        return context.error(f"setprop: {why_not}")
    if name.startswith("persist."):
        context.phone.save_state()
    return 0
