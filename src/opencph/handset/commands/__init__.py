"""The commands that the phone itself answers (getprop, pm, screencap, ...), called over ADB or from within its sandbox.

A command is a coroutine function registered under its name. Programs of the system image (ls, cat, ps, ...) are not here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from opencph.handset.config import HandsetError

if TYPE_CHECKING:
    from opencph.handset.phone import Phone


class Stdio(Protocol):
    """Where a command's input and output go."""

    def put(self, fd: int, data: bytes) -> None:
        """Output of file descriptor 1 or 2."""
        ...

    async def drain(self) -> None:
        """Wait until it is taken. Raises BrokenPipeError when nobody is there."""
        ...

    async def read(self) -> bytes:
        """The next piece of stdin; empty at its end."""
        ...


class Context:
    """One run of a command."""

    __slots__ = ("_stdio", "argv", "phone")

    def __init__(self, phone: Phone, argv: list[str], stdio: Stdio) -> None:
        self.phone = phone
        self.argv = argv
        self._stdio = stdio

    @property
    def args(self) -> list[str]:
        """The words after the command's name."""
        return self.argv[1:]

    def out(self, text: str | bytes) -> None:
        """Print, newline included."""
        self._stdio.put(1, f"{text}\n".encode("utf-8", "surrogateescape") if isinstance(text, str) else text)

    def error(self, text: str) -> int:
        """Print to stderr; returns 1, the exit code that usually follows."""
        self._stdio.put(2, f"{text}\n".encode("utf-8", "surrogateescape"))
        return 1

    async def drain(self) -> None:
        """Wait until what was printed is taken."""
        await self._stdio.drain()

    async def read(self) -> bytes:
        """The next piece of stdin; empty at its end."""
        return await self._stdio.read()


Command = Callable[[Context], Awaitable[int]]

# name -> (module, function); imported when first used
COMMANDS: dict[str, tuple[str, str]] = {
    "am": ("activity", "am"),
    "appctrl": ("appctrl", "appctrl"),
    "cmd": ("packages", "cmd"),
    "df": ("system", "df"),
    "dumpsys": ("dumpsys", "dumpsys"),
    "getprop": ("props", "getprop"),
    "id": ("system", "id_"),
    "input": ("input", "input_"),
    "logcat": ("log", "logcat"),
    "monkey": ("activity", "monkey"),
    "pm": ("pm", "pm"),
    "reboot": ("system", "reboot"),
    "screencap": ("screen", "screencap"),
    "screenrecord": ("screen", "screenrecord"),
    "setprop": ("props", "setprop"),
    "settings": ("settings", "settings"),
    "svc": ("system", "svc"),
    "uname": ("system", "uname"),
    "uptime": ("system", "uptime"),
    "whoami": ("system", "whoami"),
    "wm": ("screen", "wm"),
}


async def run_command(context: Context) -> int:
    """Run it. Returns its exit code; a HandsetError is printed to stderr and gives 1."""
    module, function = COMMANDS[context.argv[0]]
    command: Command = getattr(import_module(f"opencph.handset.commands.{module}"), function)
    try:
        code = await command(context)
    except HandsetError as error:
        code = context.error(f"{context.argv[0]}: {error.strerror or error}")
    await context.drain()
    return code


def preload() -> None:
    """Import every command."""
    for module, _ in COMMANDS.values():
        import_module(f"opencph.handset.commands.{module}")
