"""One phone: power, addresses and the parts it is made of. The parts themselves live in their own modules."""

from __future__ import annotations

from typing import Literal

from opencph.handset.config import HandsetError, PhoneConfig

PhoneState = Literal["stopped", "booting", "running"]

__all__ = ["HandsetError", "Phone", "PhoneConfig", "PhoneState", "preload"]


def preload() -> None:
    """Import what all phones of a machine share, so that a process may fork many hosts that share its memory."""


class Phone:
    """A light phone. Costs memory only: no thread, task, process or timer until somebody uses it."""

    def __init__(self, config: PhoneConfig) -> None:
        self.config = config
        self._state: PhoneState = "stopped"

    @property
    def state(self) -> PhoneState:
        """Where the phone is in its life."""
        return self._state

    async def start(self) -> None:
        """Boot: listen on `ip:adb_port` (and `ipv6`) and on `ip:listen_ports`. A running phone stays as it is.

        Raises HandsetError naming the address that is taken or missing.
        """
        raise NotImplementedError

    async def stop(self) -> None:
        """Power off: connections end, processes end, sockets close. Data is kept. Never raises for a stopped phone."""
        raise NotImplementedError

    async def reboot(self) -> None:
        """Stop and start, as `adb reboot` does."""
        raise NotImplementedError

    def wipe(self) -> None:
        """Delete the data of a stopped phone. Raises HandsetError when it is not stopped or the disk refuses."""
        raise NotImplementedError

    def reconfigure(self, config: PhoneConfig) -> None:
        """Take a new configuration: name, disk size and the properties that act at once do so; the rest at the next boot."""
        raise NotImplementedError
