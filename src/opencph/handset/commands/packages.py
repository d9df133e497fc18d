"""pm, and `cmd` for what goes through it. A handset has no packages yet: installing says so."""

from __future__ import annotations

from opencph.handset.commands import COMMANDS, Context, run_command

PLATFORM_PACKAGE = ("android", "/system/framework/framework-res.apk")
NO_INSTALL = "Failure [INSTALL_FAILED_INTERNAL_ERROR: an OpenCPH handset is not Android and cannot install packages]"


async def pm(context: Context) -> int:
    """list packages|features|users, path, install (refused)."""
    args = context.args
    match args:
        case ["list", "packages", *options]:
            return _list_packages(context, options)
        case ["list", "features", *_]:
            return 0
        case ["list", "users"]:
            context.out("Users:\n\tUserInfo{0:Owner:13} running")
            return 0
        case ["path", name, *_]:
            if name != PLATFORM_PACKAGE[0]:
                return 1
            context.out(f"package:{PLATFORM_PACKAGE[1]}")
            return 0
        case ["install" | "install-create" | "install-incremental", *_]:
            if "-S" in args:  # the package follows on stdin: take it, so that the sender hears the answer
                await _swallow(context, args)
            context.out(NO_INSTALL)
            return 1
        case ["uninstall", *_]:
            context.out("Failure [DELETE_FAILED_INTERNAL_ERROR]")
            return 1
        case ["clear", *_]:
            context.out("Failed")
            return 1
        case _:
            return context.error(f"pm: a handset does not know {' '.join(args[:2]) or 'an empty command'!r}")


def _list_packages(context: Context, options: list[str]) -> int:
    name, path = PLATFORM_PACKAGE
    words = [option for option in options if not option.startswith("-")]
    if "-3" in options or any(word not in name for word in words):
        return 0
    context.out(f"package:{path}={name}" if "-f" in options else f"package:{name}")
    return 0


async def _swallow(context: Context, args: list[str]) -> None:
    try:
        left = int(args[args.index("-S") + 1])
    except (IndexError, ValueError):
        return
    while left > 0 and (data := await context.read()):
        left -= len(data)


async def cmd(context: Context) -> int:
    """Android's way to its services; those that a handset has are the commands of the same name."""
    services = {"package": "pm", "activity": "am", "window": "wm", "settings": "settings", "input": "input"}
    if context.args[:1] == ["-l"]:
        context.out("Currently running services:\n" + "\n".join(f"  {name}" for name in sorted(services)))
        return 0
    command = services.get(context.args[0]) if context.args else None
    if command is None or command not in COMMANDS:
        context.error(f"cmd: Can't find service: {context.args[0] if context.args else ''}")
        return 20
    return await run_command(Context(context.phone, [command, *context.args[1:]], context._stdio))
