"""A program that makes a few system calls and ends with the error number of the last: what no shell command can ask for. x86-64."""

from __future__ import annotations

import struct

BASE = 0x400000
HEADERS = 64 + 56
LAST = object()  # as an argument: what the call before returned


def program(*calls: tuple[object, ...], data: bytes = b"") -> bytes:
    """An ELF file. A call is (number, argument, ...); an argument that is bytes is a pointer to them. Exit status: 0, or errno."""
    blobs: list[bytes] = [data]
    size_of_code = sum(len(_call(call, lambda _: 0)) for call in calls) + len(_EXIT)
    at = BASE + HEADERS + size_of_code

    def place(blob: bytes) -> int:
        where = at + sum(map(len, blobs))
        blobs.append(blob)
        return where

    code = b"".join(_call(call, place) for call in calls) + _EXIT
    body = code + b"".join(blobs)
    total = HEADERS + len(body)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, BASE + HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 7, 0, BASE, BASE, total, total, 0x1000)
    return header + segment + body


#: neg eax; cmp eax, 4096; jb +2; xor eax, eax; mov edi, eax; mov eax, 60; syscall
_EXIT = bytes.fromhex("f7d83d00100000720231c089c7b83c0000000f05")
_MOV = {0: b"\x48\xbf", 1: b"\x48\xbe", 2: b"\x48\xba", 3: b"\x49\xba", 4: b"\x49\xb8", 5: b"\x49\xb9"}
_FROM_RAX = {0: b"\x48\x89\xc7", 1: b"\x48\x89\xc6"}


def _call(call: tuple[object, ...], place: object) -> bytes:
    assert callable(place)
    number, *arguments = call
    code = b""
    for position, argument in enumerate(arguments):
        if argument is LAST:
            code += _FROM_RAX[position]
        else:
            value = place(argument) if isinstance(argument, bytes) else argument
            assert isinstance(value, int)
            code += _MOV[position] + struct.pack("<Q", value & (1 << 64) - 1)
    return code + b"\xb8" + struct.pack("<I", number) + b"\x0f\x05"
