"""Generations to make in tests, and what can be seen of them from outside."""

from __future__ import annotations

import asyncio
import os
import random
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from opencph.handset import control
from opencph.runtimes import GenerationSpec, PhoneSpec

SECONDS = 15.0


def generation(count: int = 3, *, block: str | None = None) -> GenerationSpec:
    """A generation of `count` phones in a block of addresses of its own."""
    generation_id = uuid.uuid4().hex
    block = block or f"127.{random.randint(200, 250)}.{random.randint(1, 250)}"
    phones = tuple(
        PhoneSpec(
            phone_id=f"{number:032x}",
            name=f"phone-{number:05}",
            number=number,
            ip=f"{block}.{number}",
            ipv6=None,
            imei="869287243397729",
            image_id="image",
            image_version="AOSP 11.0",
            model_name="rx1.cp.c60.d10.e1v1",
            cpu=2,
            memory_bytes=1 << 30,
            data_bytes=1 << 30,
            width=720,
            height=1280,
            dpi=320,
            listen_ports=(20000,),
            properties={"sys.prop.writephonenum": "13666666666"},
        )
        for number in range(1, count + 1)
    )
    return GenerationSpec(generation_id=generation_id, server_id="server-of-" + generation_id[:8], host_id="host", phones=phones)


def ids(spec: GenerationSpec) -> list[str]:
    return [phone.phone_id for phone in spec.phones]


def host_pid(data: Path, spec: GenerationSpec) -> int:
    """The process that carries the generation."""
    with control.connect(data / "run" / control.host_socket(spec.generation_id)) as connection:
        return control.peer(connection)[0]


def zygote_pid(data: Path) -> int:
    with control.connect(data / "run" / control.ZYGOTE_SOCKET) as connection:
        return control.peer(connection)[0]


def is_running(pid: int) -> bool:
    """Whether the process is there and has not ended (nobody may have reaped it yet)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat[stat.rindex(")") + 2] not in "ZX"


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until the condition is true."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}"
        await asyncio.sleep(0.01)


async def greets(ip: str, port: int = 5555) -> bool:
    """Whether an ADB daemon answers there: one CNXN for another."""
    hello = b"host::features=shell_v2\0"
    head = b"".join(
        value.to_bytes(4, "little") for value in (0x4E584E43, 0x01000001, 1 << 20, len(hello), sum(hello), 0x4E584E43 ^ 0xFFFFFFFF)
    )
    try:
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection(ip, port)
            writer.write(head + hello)
            answer = await reader.readexactly(24)
    except OSError:
        return False
    writer.close()
    return answer[:4] == b"CNXN"


def processes_of(data: Path) -> list[int]:
    """Every process that names the data directory on its command line or works under it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if str(data).encode() in (entry / "cmdline").read_bytes() and is_running(int(entry.name)):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
