"""The commands that the phone itself answers (getprop, pm, screencap, ...), called over ADB or from within its sandbox.

A command is a coroutine function entered in `table.py` by its module. Programs of the system image (ls, cat, ...) are not here.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from opencph.handset.config import HandsetError

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

faults = logging.getLogger(__name__)  # not `log`: that is a command's module


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


def _encoded(text: str) -> bytes:
    """A line as bytes: those that were no UTF-8 when they came go back as they were."""
    try:
        return f"{text}\n".encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return f"{text}\n".encode("utf-8", "replace")


class Context:
    """One run of a command."""

    __slots__ = ("_stdio", "argv", "log_tags", "phone")

    def __init__(self, phone: Phone, argv: list[str], stdio: Stdio, log_tags: str = "") -> None:
        self.phone = phone
        self.argv = argv
        self.log_tags = log_tags  # the caller's ANDROID_LOG_TAGS
        self._stdio = stdio

    @property
    def args(self) -> list[str]:
        """The words after the command's name."""
        return self.argv[1:]

    def out(self, text: str | bytes) -> None:
        """Print, newline included."""
        self._stdio.put(1, _encoded(text) if isinstance(text, str) else text)

    def error(self, text: str) -> int:
        """Print to stderr; returns 1, the exit code that usually follows."""
        self._stdio.put(2, _encoded(text))
        return 1

    async def drain(self) -> None:
        """Wait until what was printed is taken."""
        await self._stdio.drain()

    async def read(self) -> bytes:
        """The next piece of stdin; empty at its end."""
        return await self._stdio.read()

    async def call(self, *argv: str) -> int:
        """Run another command with the same streams."""
        return await run_command(Context(self.phone, list(argv), self._stdio, self.log_tags))


# module -> the commands in it; imported when first used
_MODULES: dict[str, str] = {
    "absent": "bugreport bugreportz mount setenforce getenforce su run-as start stop ip",
    "activity": "am",
    "appctrl": "appctrl",
    "content": "content ime service",
    "dumpsys": "dumpsys",
    "hierarchy": "uiautomator",
    "input": "input",
    "log": "logcat log",
    "monkey": "monkey",
    "pm": "pm",
    "processes": "ps pidof uptime",
    "props": "getprop setprop watchprops",
    "screen": "screencap screenrecord wm",
    "services": "appops bmgr cmd device_config dpm getevent locksettings sendevent svc",
    "settings": "settings",
    "sound": "media",
    "system": "df id reboot uname whoami",
}
COMMANDS: dict[str, str] = {name: module for module, names in _MODULES.items() for name in names.split()}


async def run_command(context: Context) -> int:
    """Run it. Returns its exit code; whatever goes wrong is a line on stderr, never a traceback."""
    from opencph.handset.commands import table
    from opencph.handset.commands.options import FAILED, Refusal

    name = context.argv[0]
    try:
        import_module(f"opencph.handset.commands.{COMMANDS[name]}")
        code = await table.run_entry(context, name, context.args)
    except Refusal as refusal:
        context.error(refusal.text)
        code = refusal.code
    except BrokenPipeError:
        raise
    except HandsetError as error:
        code = context.error(f"{name}: {error.strerror or error}")
    except OSError as error:
        code = context.error(f"{name}: {error.strerror or 'input/output error'}")
    except Exception:
        faults.exception("phone %s: %r", context.phone.config.phone_id, context.argv[:8])
        context.error(f"{name}: this phone cannot do that: a fault of the handset, described in the log of its host")
        code = FAILED
    await context.drain()
    return code


def preload() -> None:
    """Import every command."""
    for module in _MODULES:
        import_module(f"opencph.handset.commands.{module}")
