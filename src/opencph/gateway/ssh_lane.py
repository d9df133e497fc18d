"""The bytes of one SSH connection: a transport for asyncssh that moves the data of forwards itself, in place and in large steps.

asyncssh does version, key exchange, login, channels and everything else. Once the client is in and the cipher is an AEAD one, the
lane opens each packet; channel data and window adjustments of running forwards it handles, and every other packet goes to asyncssh
as it came. asyncssh alone copies each packet several times and sends an empty packet before each. With other ciphers it reads all.

What waits for a slow peer is bounded: `OUT_HIGH` towards the client, `PENDING_HIGH` towards the phones of one connection, which
several phones that do not read must share.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncssh
from asyncssh.constants import MSG_CHANNEL_DATA, MSG_CHANNEL_WINDOW_ADJUST, MSG_IGNORE
from asyncssh.packet import String, UInt32

from opencph.gateway.ssh_ciphers import TAG_BYTES, BadPacketError, PacketCipher, Taken, take
from opencph.gateway.ssh_farewell import Farewells
from opencph.gateway.ssh_packets import sealed_adjust, shared_arena

if TYPE_CHECKING:
    from opencph.gateway.ssh_forward import Forward

#: Bytes that wait for the client: above the first no phone is read, below the second they are again.
OUT_HIGH, OUT_LOW = 1024 * 1024, 256 * 1024
#: Answers of ours that wait: above it the client is not read either.
OUT_MAX = 4 * 1024 * 1024
#: Bytes that wait for the phones of one connection: above it the client is not read until half of them are gone.
PENDING_HIGH = 32 * 1024 * 1024
#: The same for each once so many bytes wait for phones in the whole process.
PENDING_ALL, PENDING_HIGH_THEN = 128 * 1024 * 1024, 1024 * 1024

_CHANNEL = struct.Struct(">II")
_TCP_CLOSE = b"\x07"  # tcpi_state, the first byte of struct tcp_info


def was_reset(sock: socket.socket) -> bool:
    """Whether the connection is broken, though bytes may still wait to be read.

    The event loop (libuv) reports a broken socket once and then never again, so whoever does not read to the end then must be
    registered anew.
    """
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == _TCP_CLOSE


class LaneConnection(asyncssh.SSHServerConnection):
    """asyncssh's connection, with a lane as its transport."""

    lane: Lane

    def _send_version(self) -> None:
        self._server_version = b"SSH-2.0-" + self._version  # the client has it already: it was sent when it came

    def _send_deferred_packets(self) -> None:
        super()._send_deferred_packets()  # a key exchange is over, or the login
        self.lane.wake_forwards()

    def _finish_recv_packet(self, pkttype: int, seq: int, _task: asyncio.Task[None] | None = None, is_async: bool = False) -> None:
        super()._finish_recv_packet(pkttype, seq, _task, is_async)
        if is_async:
            self._loop.call_soon(self.lane.go_on)


class Lane(asyncio.Transport):
    """One client's socket."""

    def __init__(self, sock: socket.socket, connection: LaneConnection, farewells: Farewells) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._arena = shared_arena()
        self._socket = sock
        self._fd = sock.fileno()
        self._connection = connection
        self._farewells = farewells
        self._out = bytearray()
        self._rest = b""
        self._reading = False
        self._writing = False
        self._closing = False
        self._closed = False
        self._stalled: dict[Forward, None] = {}
        self._dry: dict[Forward, None] = {}  # their windows are used up
        self._extra: dict[str, Any] = {"socket": sock, "sockname": sock.getsockname(), "peername": sock.getpeername()}
        self.forwards: dict[int, Forward] = {}
        self.pending = 0  # bytes that wait for phones
        connection.lane = self

    def start(self) -> None:
        """Begin to speak SSH."""
        self._connection.connection_made(self)
        self._look()

    # --- asyncio.Transport, as far as asyncssh uses it -----------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._extra.get(name, default)

    def is_closing(self) -> bool:
        return self._closing

    def write(self, data: Any) -> None:
        if not self._closing:
            self._send(memoryview(data))

    def close(self) -> None:
        """Close once everything is sent."""
        self._closing = True
        if not self._out:
            self._close()

    def abort(self) -> None:
        """Close; what was sent at once is still read by the client."""
        self._closing = True
        self._close()

    # --- to the client -----------------------------------------------

    @property
    def _sealer(self) -> PacketCipher | None:
        connection = self._connection
        cipher = connection._send_encryption
        if type(cipher) is not Taken:
            cipher = connection._send_encryption = take(cipher)
        return cipher.cipher if type(cipher) is Taken else None

    def may_send(self, forward: Forward) -> bool:
        """Whether data may go to the client now; else the forward is woken when it may."""
        if len(self._out) <= OUT_HIGH and self._connection._kex_complete and not self._closing:
            return True
        self._stalled[forward] = None
        return False

    def waits_for_window(self, forward: Forward) -> None:
        """Wake the forward when its window is wider, also where asyncssh reads the packet that says so."""
        self._dry[forward] = None

    def _wake_the_dry(self) -> None:
        for forward in [forward for forward in self._dry if not forward.is_dry]:
            del self._dry[forward]
            forward.go_on()

    def slots(self, size: int, packet: int) -> list[memoryview]:
        """Buffers for the data of packets of `packet` bytes, up to `size` bytes in all."""
        return self._arena.slots(size, packet)

    def send_slots(self, channel: int, size: int, packet: int) -> None:
        """Send what was put into the first slots, `size` bytes, as data of the client's channel number."""
        arena, connection, cipher = self._arena, self._connection, self._sealer
        if cipher is None:
            number = 0
            while size > 0:
                data = bytes(arena.slot(number, min(packet, size)))
                connection.send_packet(MSG_CHANNEL_DATA, UInt32(channel), String(data))
                size -= packet
                number += 1
            return
        packets, seq = arena.seal_slots(cipher, connection._send_seq, channel, size, packet)
        self._send_sealed(packets, seq)

    def adjust(self, channel: int, size: int) -> None:
        """Let the client send so many bytes more on its channel."""
        cipher = self._sealer
        if cipher is None or not self._connection._kex_complete:
            self._connection.send_packet(MSG_CHANNEL_WINDOW_ADJUST, UInt32(channel), UInt32(size))
            return
        self._send_sealed(*sealed_adjust(cipher, self._connection._send_seq, channel, size))

    def _send_sealed(self, packets: memoryview, seq: int) -> None:
        """Send packets of our own making, behind which asyncssh goes on with number `seq`."""
        connection = self._connection
        connection._send_seq = seq
        connection._rekey_bytes_sent += len(packets)
        if connection._rekey_bytes_sent >= connection._rekey_bytes:  # asyncssh begins a key exchange before it sends this
            self._loop.call_soon(connection.send_packet, MSG_IGNORE, String(b""))
        self._send(packets)

    def _send(self, data: memoryview) -> None:
        if not self._out:
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._lost(error)
                return
            if sent == len(data):
                return
            data = data[sent:]
        self._out += data
        if not self._writing:
            self._writing = True
            self._loop.add_writer(self._fd, self._on_writable)
        if len(self._out) > OUT_MAX:
            self._look()

    def _on_writable(self) -> None:
        try:
            with memoryview(self._out) as out:
                sent = self._socket.send(out[:OUT_HIGH])
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(error)
            return
        del self._out[:sent]
        if not self._out:
            self._writing = False
            self._loop.remove_writer(self._fd)
            if self._closing:
                self._close()
                return
        if len(self._out) <= OUT_LOW:
            self.wake_forwards()
            self._look()

    def wake_forwards(self) -> None:
        """The client takes data again."""
        if self._stalled and self._connection._kex_complete:
            stalled, self._stalled = self._stalled, {}
            for forward in stalled:
                forward.go_on()

    # --- from the client ---------------------------------------------

    @property
    def _opener(self) -> Taken | None:
        connection = self._connection
        cipher = connection._recv_encryption
        if type(cipher) is not Taken:
            cipher = connection._recv_encryption = take(cipher)
        return cipher if type(cipher) is Taken and connection._auth_complete else None

    @property
    def busy(self) -> bool:
        """asyncssh works on a packet and wants no other until it is done."""
        handler, connection = self._connection._recv_handler, self._connection
        return handler not in (connection._recv_pkthdr, connection._recv_packet, connection._recv_version)

    def waits_for_phones(self, more: int) -> None:
        """So many bytes more (or less, when negative) wait for phones."""
        self.pending += more
        self._arena.pending += more
        if self._reading == (self.pending > self._pending_high) or not self._reading:
            self._look()

    @property
    def _pending_high(self) -> int:
        return PENDING_HIGH if self._arena.pending <= PENDING_ALL else PENDING_HIGH_THEN

    def _look(self) -> None:
        """Read from the client, or do not."""
        limit = self._pending_high if self._reading else self._pending_high // 2
        wanted = not self._closing and not self.busy and self.pending <= limit and len(self._out) <= OUT_MAX
        if wanted and not self._reading:
            self._reading = True
            self._loop.add_reader(self._fd, self._on_readable)
        elif self._reading and not wanted:
            self._reading = False
            if not self._closed:
                self._loop.remove_reader(self._fd)

    def go_on(self) -> None:
        """asyncssh is done with a packet that took it a while."""
        if not self._closing and not self.busy:
            if self._rest:
                rest, self._rest = self._rest, b""
                self._arena.incoming[: len(rest)] = rest
                self._take(len(rest))
            elif self._dry:
                self._wake_the_dry()
            self._look()

    def _on_readable(self) -> None:
        rest, incoming = self._rest, self._arena.incoming
        size = len(rest)
        incoming[:size] = rest
        try:
            got = self._socket.recv_into(incoming[size:])
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(error)
            return
        if not got:
            self._lost(None)
            return
        if was_reset(self._socket):
            self._loop.remove_reader(self._fd)
            self._loop.add_reader(self._fd, self._on_readable)
        self._rest = b""
        self._take(size + got)
        if not self._closing and (self.busy or self.pending > self._pending_high):
            self._look()

    def _take(self, size: int) -> None:
        """Handle the first `size` bytes of the incoming buffer; what is not a whole packet is kept.

        asyncssh drops its transport at once when it hangs up, and has it aborted later: what comes after is not looked at.
        """
        connection, incoming, at = self._connection, self._arena.incoming, 0
        while at < size and not self._closing and connection._transport is not None and not self.busy:
            opener, waiting = self._opener, len(connection._inpbuf)
            if opener is None:
                connection.data_received(bytes(incoming[at:size]))
                at = size
            elif connection._recv_handler == connection._recv_packet:  # it had begun with this packet: the rest of it
                missing = 4 + connection._pktlen + connection._recv_macsize - connection._recv_blocksize - waiting
                connection.data_received(bytes(incoming[at : min(at + missing, size)]))
                at = min(at + missing, size)
            elif waiting:
                missing = connection._recv_blocksize - waiting
                connection.data_received(bytes(incoming[at : min(at + missing, size)]))
                at = min(at + missing, size)
            else:
                before = at
                at = self._open_packets(opener, at, size)
                if at == before:
                    break
        if not self._closing:
            self._rest = bytes(incoming[at:size])
            if self._dry:
                self._wake_the_dry()

    def _open_packets(self, opener: Taken, at: int, size: int) -> int:
        """Open packets until one changes the state of the connection or is not whole; returns where to go on."""
        connection, cipher, incoming, opened = self._connection, opener.cipher, self._arena.incoming, self._arena.opened
        forwards, longest = self.forwards, connection._max_recv_pktlen
        connection._keepalive_count = 0  # it lives
        changed: dict[Forward, None] = {}
        try:
            while size - at >= 4:
                seq = connection._recv_seq
                length = cipher.length(seq, incoming[at : at + 4])
                if not 8 <= length <= longest or length % cipher.block:
                    raise asyncssh.ProtocolError("Max packet size exceeded")
                end = at + 4 + length + TAG_BYTES
                if end > size:
                    break
                plain = opened[at : at + length]
                cipher.open(seq, incoming[at:end], plain)
                kind = plain[1]
                if MSG_CHANNEL_WINDOW_ADJUST <= kind <= MSG_CHANNEL_DATA and length >= _CHANNEL.size + 2:
                    channel, number = _CHANNEL.unpack_from(plain, 2)
                    forward = forwards.get(channel)
                    payload = length - plain[0]
                    if forward is not None:
                        if kind == MSG_CHANNEL_DATA and forward.takes_data and payload == 10 + number:
                            forward.receive(plain[10:payload])
                            changed[forward] = None
                            connection._recv_seq = (seq + 1) & 0xFFFF_FFFF
                            at = end
                            continue
                        if kind == MSG_CHANNEL_WINDOW_ADJUST and payload == 10:
                            forward.widen(number)
                            connection._recv_seq = (seq + 1) & 0xFFFF_FFFF
                            at = end
                            continue
                for forward in changed:
                    forward.flush()
                changed.clear()
                opener.put_back(bytes(plain))
                connection.data_received(bytes(incoming[at:end]))
                return end
        except BadPacketError:
            self._refuse(asyncssh.MACError("MAC verification failed"))
        except asyncssh.DisconnectError as error:
            self._refuse(error)
        for forward in changed:
            forward.flush()
        return at

    def _refuse(self, error: asyncssh.DisconnectError) -> None:
        with suppress(Exception):
            self._connection._send_disconnect(error.code, error.reason, error.lang)
        self._connection._force_close(error)
        self._closing = True
        self._look()

    # --- the end -------------------------------------------------------

    def _lost(self, error: OSError | None) -> None:
        if not self._closed:
            self._closing = True
            self._close(lost=True)
            self._loop.call_soon(self._connection.connection_lost, error)

    def _close(self, lost: bool = False) -> None:
        if not self._closed:
            self._closed = True
            if self._reading:
                self._loop.remove_reader(self._fd)
                self._reading = False
            if self._writing:
                self._loop.remove_writer(self._fd)
                self._writing = False
            self._out.clear()
            self._rest = b""
            self._stalled.clear()
            self._dry.clear()
            if lost:
                self._socket.close()
            else:
                self._farewells.part(self._socket)
