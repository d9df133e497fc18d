"""Packets of SSH for a client, channel data and window adjustments, made and sealed in place, and the room for them. Nothing of
sockets and of what state a connection is in: that is `ssh_lane`'s.
"""

from __future__ import annotations

import struct

from asyncssh.constants import MSG_CHANNEL_DATA, MSG_CHANNEL_WINDOW_ADJUST

from opencph.gateway.ssh_ciphers import TAG_BYTES, PacketCipher

#: Data in one packet to the client, at most; OpenSSH takes no more.
DATA_BYTES = 32 * 1024
#: Packets made of one read from a phone.
PACKETS_AT_ONCE = 16
#: One read from the client. Also bounds a packet: asyncssh accepts none of this size.
READ_BYTES = 512 * 1024

_HEAD = struct.Struct(">IBBII")  # length, padding, type, channel, bytes of data or bytes more
_LENGTH_BYTES = 4  # of the field at the beginning, which does not count itself
_SLOT_BYTES = _HEAD.size + DATA_BYTES + 32  # and padding
_SEALED_BYTES = _SLOT_BYTES + TAG_BYTES


def _padding(size: int, block: int) -> int:
    """How many bytes come behind the `size` ones after the length field: at least 4, and all of them make whole blocks."""
    padding = block - size % block
    return padding if padding >= 4 else padding + block


class Arena:
    """What all connections share: room for the packets of one turn, which every turn leaves empty, and the sum of what waits."""

    def __init__(self) -> None:
        self._plain = bytearray(PACKETS_AT_ONCE * _SLOT_BYTES)
        self._plain_view = memoryview(self._plain)
        self._sealed = memoryview(bytearray(PACKETS_AT_ONCE * _SEALED_BYTES))
        self.incoming = memoryview(bytearray(READ_BYTES))
        self.opened = memoryview(bytearray(READ_BYTES))
        self.pending = 0  # bytes that wait for phones, of all connections
        self._full = [self.slot(number, DATA_BYTES) for number in range(PACKETS_AT_ONCE)]

    def slot(self, number: int, size: int) -> memoryview:
        """Where the data of a packet goes."""
        first = number * _SLOT_BYTES + _HEAD.size
        return self._plain_view[first : first + size]

    def slots(self, size: int, packet: int) -> list[memoryview]:
        """Buffers for the data of packets of `packet` bytes, up to `size` bytes in all."""
        if packet == DATA_BYTES and size >= PACKETS_AT_ONCE * DATA_BYTES:
            return self._full
        found = []
        for number in range(min(-(-size // packet), PACKETS_AT_ONCE)):
            found.append(self.slot(number, min(packet, size)))
            size -= packet
        return found

    def seal_slots(self, cipher: PacketCipher, seq: int, channel: int, size: int, packet: int) -> tuple[memoryview, int]:
        """What was put into the first slots, `size` bytes, as packets of data from number `seq` on: (they, the next number)."""
        plain, plain_view, sealed, block, seal = self._plain, self._plain_view, self._sealed, cipher.block, cipher.seal
        first = end = 0
        while size > 0:
            data_size = packet if size > packet else size
            padding = _padding(10 + data_size, block)
            length = 10 + data_size + padding
            _HEAD.pack_into(plain, first, length, padding, MSG_CHANNEL_DATA, channel, data_size)
            stop = first + _LENGTH_BYTES + length
            plain_view[stop - padding : stop] = bytes(padding)
            seal(seq, plain_view[first:stop], sealed[end : end + _LENGTH_BYTES + length + TAG_BYTES])
            seq = (seq + 1) & 0xFFFF_FFFF
            end += _LENGTH_BYTES + length + TAG_BYTES
            first += _SLOT_BYTES
            size -= packet
        return sealed[:end], seq


_arena: list[Arena] = []


def shared_arena() -> Arena:
    """The one of this process."""
    if not _arena:
        _arena.append(Arena())
    return _arena[0]


def sealed_adjust(cipher: PacketCipher, seq: int, channel: int, size: int) -> tuple[memoryview, int]:
    """The packet that lets a client send so many bytes more on its channel, and the number of the next packet."""
    padding = _padding(10, cipher.block)
    plain = bytearray(_HEAD.size + padding)
    _HEAD.pack_into(plain, 0, 10 + padding, padding, MSG_CHANNEL_WINDOW_ADJUST, channel, size)
    sealed = memoryview(bytearray(len(plain) + TAG_BYTES))
    cipher.seal(seq, memoryview(plain), sealed)
    return sealed, (seq + 1) & 0xFFFF_FFFF
