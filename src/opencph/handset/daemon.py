"""The phone's ADB daemon: which service a name stands for, who is connected. The wire is `adb.device`, the services are modules."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from opencph.adb import auth, messages
from opencph.adb.device import DeviceConnection, Service, Stream
from opencph.handset import compression
from opencph.handset.config import HandsetError
from opencph.handset.files import KEYS_FILE
from opencph.handset.forward import open_forward
from opencph.handset.reverse import Reverses
from opencph.handset.shell import ShellService, parse_request
from opencph.handset.sync import SyncService

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

FEATURES = (
    "shell_v2",
    "cmd",
    "abb",
    "abb_exec",
    "stat_v2",
    "ls_v2",
    "fixed_push_mkdir",
    "fixed_push_symlink_timestamp",
    "sendrecv_v2",
    "sendrecv_v2_dry_run_send",
    messages.DELAYED_ACK,
)
CONNECTIONS_MAX = 64
BANNER_PROPERTIES = ("ro.product.name", "ro.product.model", "ro.product.device")


class TextService(Service):
    """Says one thing and ends."""

    __slots__ = ()

    def __init__(self, stream: Stream, text: str) -> None:
        stream.write(text.encode())
        stream.close()


class NoProcesses(Service):
    """The processes that a debugger may enter, for as long as the peer wants to know: no app runs here, so there are none."""

    __slots__ = ()

    def __init__(self, stream: Stream) -> None:
        stream.write(b"0000")


class Daemon:
    """adbd of one running phone. Text answers are those of AOSP's `daemon/` sources, where they are true of a handset."""

    __slots__ = ("_connections", "_phone", "_reverses", "_secure")

    def __init__(self, phone: Phone) -> None:
        self._phone = phone
        self._connections: dict[DeviceConnection, None] = {}  # the oldest first
        self._reverses: Reverses | None = None
        self._secure = phone.running_properties.get("ro.adb.secure") == "1"

    # what a connection asks

    def banner(self) -> bytes:
        """The payload of our CNXN."""
        properties = self._phone.running_properties
        named = {name: properties.get(name) for name in BANNER_PROPERTIES}
        return messages.make_banner("device", named, FEATURES + tuple(compression.offered().values()))

    def auth_required(self) -> bool:
        """Only with ro.adb.secure=1."""
        return self._secure

    def _keys(self) -> list[bytes]:
        import os

        files = self._phone.files
        try:
            if files.keys_kept:
                files.keep_keys()
            fd = files.open_read(KEYS_FILE)
        except OSError:
            return []
        with os.fdopen(fd, "rb") as file:
            return file.read(65536).splitlines()

    def check_signature(self, token: bytes, signature: bytes) -> bool:
        """Whether a key of /data/misc/adb/adb_keys made it."""
        for line in self._keys():
            try:
                if auth.verify(auth.parse_public_key(line), token, signature):
                    return True
            except ValueError:
                continue
        return False

    def offer_key(self, key: bytes) -> bool:
        """Nobody sits before this phone who could allow it: keys come by file."""
        return False

    def connected(self, connection: DeviceConnection) -> bool:
        """Count it, up to a limit: then the oldest that has not finished its handshake makes room."""
        if self._phone.state != "running":
            return False
        if len(self._connections) >= CONNECTIONS_MAX:
            oldest = next((each for each in self._connections if not each.online), None)
            if oldest is None:
                return False
            del self._connections[oldest]
            oldest.abort()
        self._connections[connection] = None
        return True

    def disconnected(self, connection: DeviceConnection) -> None:
        """Count it no more."""
        self._connections.pop(connection, None)
        if self._reverses is not None:
            self._reverses.forget(connection)

    def disconnect_all(self) -> None:
        """End every connection at once."""
        for connection in tuple(self._connections):
            connection.abort()

    # services

    def open(self, service: str, stream: Stream) -> Service | None:
        """Start a service; None refuses it."""
        name, _, argument = service.partition(":")
        if name == "sync":
            return SyncService(stream, self._phone.files, self._phone.disk)
        if name == "exec" or name.split(",")[0] == "shell":
            return ShellService(stream, self._phone, parse_request(service))
        if name in ("tcp", "localabstract", "localreserved", "localfilesystem"):
            return open_forward(stream, self._phone, service)
        if name == "reverse":
            if self._reverses is None:
                self._reverses = Reverses(self._phone)
            return self._reverses.open(stream, argument)
        if name == "track-jdwp":
            return NoProcesses(stream)
        if service == "jdwp":  # the same list, once and without its length
            return TextService(stream, "")
        if service.startswith(("abb:", "abb_exec:")):
            return ShellService.of_words(stream, self._phone, argument.split("\0"), framed=name == "abb")
        if name == "framebuffer":
            from opencph.handset.framebuffer import FramebufferService

            return FramebufferService(stream, self._phone)
        answer = self._answer(name, argument)
        return None if answer is None else TextService(stream, answer)

    def _answer(self, name: str, argument: str) -> str | None:
        phone = self._phone
        if name == "reboot":
            if argument not in ("", "bootloader", "recovery", "sideload", "sideload-auto-reboot"):
                return f"unknown reboot target {argument!r}\n"
            self._later(partial(phone.reboot, f"reboot,{argument or 'adb'}"))
            return ""
        if name == "root":
            if phone.adb_root:
                return "adbd is already running as root\n"
            if phone.running_properties.get("ro.com.cph.non_root") != "0":
                return "adbd cannot run as root in production builds\n"
            return self._restart_as(True, "restarting adbd as root\n")
        if name == "unroot":
            if not phone.adb_root:
                return "adbd not running as root\n"
            return self._restart_as(False, "restarting adbd as non root\n")
        if name == "remount":
            if not phone.adb_root:
                return 'Not running as root. Try "adb root" first.\n'
            return "remount failed: /system of a handset is read-only\n"
        if name in ("disable-verity", "enable-verity"):
            return f"verity cannot be {name.removesuffix('-verity')}d: a handset's /system is read-only and has none\n"
        if name == "tcpip":
            if argument == str(phone.adb_port):
                return f"restarting in TCP mode port: {argument}\n"
            return f"invalid port: a handset's adbd stays on TCP port {phone.adb_port}\n"
        if name == "usb":
            return f"a handset has no USB: adbd stays on TCP port {phone.adb_port}\n"
        return None

    def _restart_as(self, root: bool, text: str) -> str:
        async def restart() -> None:
            self._phone.adb_root = root
            self.disconnect_all()

        self._later(restart)
        return text

    def _later(self, act: object) -> None:
        """Do it when the answer is out. Not a task of the phone: a reboot ends those."""
        assert callable(act)

        async def run() -> None:
            await asyncio.sleep(0.05)
            try:
                await act()
            except HandsetError as error:
                self._phone.note("adbd", str(error))

        task = asyncio.get_running_loop().create_task(run())
        _pending.add(task)
        task.add_done_callback(_pending.discard)


_pending: set[asyncio.Task[None]] = set()
