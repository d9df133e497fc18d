"""A runtime that keeps its phones in memory and answers the ADB handshake for them, and fails where a test wants it to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence

from opencph.adb.messages import CNXN, VERSION, message
from opencph.runtimes import (
    ADB_PORT,
    GenerationInventory,
    GenerationSpec,
    PhoneSpec,
    PhoneState,
    RuntimeFaultError,
    Stray,
)

HELLO = message(CNXN, VERSION, 4096, b"device::")


class MemoryPhone:
    """A phone: its specification, the one it booted with, whether it is on, and its data."""

    def __init__(self, spec: PhoneSpec) -> None:
        self.spec = spec
        self.booted_with: PhoneSpec | None = None
        self.boots = 0
        self.data = "new"
        self.listener: socket.socket | None = None

    @property
    def state(self) -> PhoneState:
        return "stopped" if self.listener is None else "running"

    def on(self) -> None:
        if self.listener is not None:
            return
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((self.spec.ip, ADB_PORT))
        self.listener.listen(16)
        self.listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self.listener, self._answer)
        self.booted_with = self.spec
        self.boots += 1

    def _answer(self) -> None:
        assert self.listener is not None
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return
        connection.sendall(HELLO)
        connection.shutdown(socket.SHUT_WR)
        asyncio.get_running_loop().call_later(1.0, connection.close)

    def off(self) -> None:
        if self.listener is not None:
            asyncio.get_running_loop().remove_reader(self.listener)
            self.listener.close()
            self.listener = None


class MemoryGeneration:
    """A generation and whether its host is there."""

    def __init__(self, spec: GenerationSpec) -> None:
        self.server_id = spec.server_id
        self.alive = True
        self.phones = {phone.phone_id: MemoryPhone(phone) for phone in spec.phones}


class MemoryRuntime:
    """Obeys `runtimes.Runtime`. What it must get wrong is set in `faults`, `broken` and `mute`."""

    name = "memory"

    def __init__(self) -> None:
        self.generations: dict[str, MemoryGeneration] = {}
        self.calls: list[str] = []
        self.aside: list[str] = []
        self.faults: dict[str, str] = {}  # method: message of the RuntimeFaultError it raises
        self.broken: dict[str, str] = {}  # phone number as text, or phone_id: cause why it does not boot
        self.mute: set[int] = set()  # phone numbers that say they run and do not answer ADB
        self.gates: dict[str, asyncio.Event] = {}  # method: waits for this first

    async def _enter(self, method: str) -> None:
        self.calls.append(method)
        gate = self.gates.get(method)
        if gate is not None:
            await gate.wait()
        if method in self.faults:
            raise RuntimeFaultError(self.faults[method])

    def _phones(self, generation_id: str, phone_ids: Sequence[str]) -> list[MemoryPhone]:
        generation = self.generations.get(generation_id)
        if generation is None:
            raise RuntimeFaultError(f"there is no generation {generation_id}")
        return [generation.phones[phone_id] for phone_id in phone_ids]

    async def warm(self) -> None:
        """Nothing to get ready."""

    async def create(self, spec: GenerationSpec) -> None:
        await self._enter("create")
        generation = self.generations.setdefault(spec.generation_id, MemoryGeneration(spec))
        for phone in spec.phones:
            generation.phones.setdefault(phone.phone_id, MemoryPhone(phone))

    async def start(self, generation_id: str, phone_ids: Sequence[str]) -> Mapping[str, str]:
        await self._enter("start")
        phones = self._phones(generation_id, phone_ids)
        self.generations[generation_id].alive = True
        causes = {}
        for phone in phones:
            cause = self.broken.get(str(phone.spec.number)) or self.broken.get(phone.spec.phone_id)
            if cause is not None:
                causes[phone.spec.phone_id] = cause
            else:
                phone.on()
                if phone.spec.number in self.mute and phone.listener is not None:
                    asyncio.get_running_loop().remove_reader(phone.listener)
        return causes

    async def stop(self, generation_id: str, phone_ids: Sequence[str]) -> Mapping[str, str]:
        await self._enter("stop")
        for phone in self._phones(generation_id, phone_ids):
            phone.off()
        return {}

    async def reset(self, generation_id: str, phone_ids: Sequence[str]) -> Mapping[str, str]:
        await self._enter("reset")
        causes = {}
        for phone in self._phones(generation_id, phone_ids):
            if phone.listener is not None:
                causes[phone.spec.phone_id] = "it is running"
            else:
                phone.data = "new"
        return causes

    async def update(self, generation_id: str, phones: Sequence[PhoneSpec]) -> None:
        await self._enter("update")
        for spec, phone in zip(phones, self._phones(generation_id, [spec.phone_id for spec in phones]), strict=True):
            phone.spec = spec

    async def connect(self, generation_id: str, ip: str, port: int) -> socket.socket:
        raise ConnectionRefusedError(f"nothing listens on port {port} of {ip}")

    async def power_off(self, generation_id: str) -> None:
        await self._enter("power_off")
        if generation_id in self.generations:
            self.kill(generation_id)

    async def remove(self, generation_id: str) -> None:
        await self._enter("remove")
        generation = self.generations.pop(generation_id, None)
        if generation is not None:
            for phone in generation.phones.values():
                phone.off()

    async def set_aside(self, generation_id: str) -> str:
        await self._enter("set_aside")
        generation = self.generations.pop(generation_id)
        for phone in generation.phones.values():
            phone.off()
        self.aside.append(generation_id)
        return f"aside/{generation_id}"

    async def set_strays_aside(self) -> Sequence[Stray]:
        return []

    async def inventory(self) -> Sequence[GenerationInventory]:
        await self._enter("inventory")
        return [
            GenerationInventory(
                generation_id=generation_id,
                server_id=generation.server_id,
                alive=generation.alive,
                phones={phone_id: phone.state for phone_id, phone in generation.phones.items()} if generation.alive else {},
            )
            for generation_id, generation in self.generations.items()
        ]

    async def shutdown(self) -> None:
        for generation_id in self.generations:
            self.kill(generation_id)

    async def close(self) -> None:
        await self.shutdown()

    # --- what a test does to it ---

    def kill(self, generation_id: str) -> None:
        """The host dies: no process, no phone, the data stays."""
        generation = self.generations[generation_id]
        generation.alive = False
        for phone in generation.phones.values():
            phone.off()
