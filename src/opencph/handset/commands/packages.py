"""cmd: Android's way to its services; those that a handset has are commands of their own."""

from __future__ import annotations

from opencph.handset.commands import COMMANDS, Context, run_command


async def cmd(context: Context) -> int:
    """Android's way to its services; those that a handset has are the commands of the same name."""
    services = {"package": "pm", "activity": "am", "window": "wm", "settings": "settings", "input": "input", "statusbar": ""}
    if context.args[:1] == ["-l"]:
        context.out("Currently running services:\n" + "\n".join(f"  {name}" for name in sorted(services)))
        return 0
    if context.args[:1] == ["statusbar"]:
        return _statusbar(context)
    command = services.get(context.args[0]) if context.args else None
    if command is None or command not in COMMANDS:
        context.error(f"cmd: Can't find service: {context.args[0] if context.args else ''}")
        return 20
    return await run_command(Context(context.phone, [command, *context.args[1:]], context._stdio))


def _statusbar(context: Context) -> int:
    match context.args[1:]:
        case ["expand-notifications" | "expand-settings"]:
            context.phone.running_screen.shade = True
        case ["collapse"]:
            context.phone.running_screen.shade = False
        case _:
            return context.error("usage: cmd statusbar expand-notifications|expand-settings|collapse")
    context.phone.running_screen.version += 1
    return 0
