"""The device side of one ADB connection: handshake and messages. Streams are `streams.py`, services the `Device`'s business."""

from __future__ import annotations

import asyncio
import os
from typing import Protocol

from opencph.adb import messages
from opencph.adb.messages import AUTH, CLSE, CNXN, OKAY, OPEN, STLS, WRTE, Message, ProtocolError
from opencph.adb.streams import WINDOW_BYTES, Data, Service, Stream

__all__ = ["Device", "DeviceConnection", "Service", "Stream"]

HANDSHAKE_SECONDS = 20
MAX_STREAMS = 512  # per connection
SMALL_PAYLOAD = 4096  # bytes; larger ones borrow a big buffer for as long as they arrive

_big_buffers: list[bytearray] = []
_BIG_BUFFERS_KEPT = 1


class Device(Protocol):
    """What a connection asks of the phone it belongs to."""

    def banner(self) -> bytes:
        """The payload of our CNXN."""
        ...

    def open(self, service: str, stream: Stream) -> Service | None:
        """Start the service, or None when there is none of this name."""
        ...

    def auth_required(self) -> bool:
        """Whether peers must prove a key before anything else."""
        ...

    def check_signature(self, token: bytes, signature: bytes) -> bool:
        """Whether one of the keys that the phone knows made this signature."""
        ...

    def offer_key(self, key: bytes) -> bool:
        """A peer shows its public key, as the dialog on a phone's screen would. True: trusted from now on."""
        ...

    def connected(self, connection: DeviceConnection) -> bool:
        """A peer connected; False refuses it."""
        ...

    def disconnected(self, connection: DeviceConnection) -> None:
        """The connection is gone."""
        ...


class DeviceConnection(asyncio.BufferedProtocol):
    """One peer of one phone."""

    __slots__ = (
        "_buffer",
        "_device",
        "_filled",
        "_header",
        "_message",
        "_next_id",
        "_out",
        "_streams",
        "_timer",
        "_token",
        "_transport",
        "_wanted",
        "congested",
        "delayed_ack",
        "max_payload",
        "online",
        "peer",
        "peer_version",
    )

    def __init__(self, device: Device) -> None:
        self._device = device
        self._transport: asyncio.Transport | None = None
        self._header = memoryview(bytearray(messages.HEADER_BYTES))
        self._buffer: memoryview = self._header
        self._wanted = messages.HEADER_BYTES
        self._filled = 0
        self._message: Message | None = None
        self._streams: dict[int, Stream] = {}
        self._next_id = 0
        self._timer: asyncio.TimerHandle | None = None
        self._token = b""
        self._out: dict[Stream, None] = {}  # streams that want to hear when what they wrote is out
        self.congested = False  # the socket does not take all that is written
        self.delayed_ack = False
        self.max_payload = messages.MAX_PAYLOAD
        self.peer_version = messages.VERSION
        self.online = False
        self.peer: messages.Banner | None = None

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio: the socket is ours."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not self._device.connected(self):
            transport.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_SECONDS, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio: the peer is gone."""
        self._transport = None
        self.online = False
        self._stop_timer()
        self._release()
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.lost()
        self._device.disconnected(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Asyncio: where the next bytes go; never past the message at hand, so that nothing is ever moved."""
        return self._buffer[self._filled : self._wanted]

    def buffer_updated(self, nbytes: int) -> None:
        """Asyncio: bytes arrived."""
        self._filled += nbytes
        if self._filled < self._wanted:
            return
        try:
            if self._message is None:
                head = messages.parse_header(self._header)
                if head.length:
                    self._message = head
                    self._borrow(head.length)
                else:
                    self._filled = 0
                    self._dispatch(head, self._header[:0])
            else:
                head, self._message = self._message, None
                try:
                    self._dispatch(head, self._buffer[: head.length])
                finally:
                    self._release()
        except ProtocolError:
            self.abort()

    def pause_writing(self) -> None:
        """Asyncio: the peer does not read; then it is not served either."""
        self.congested = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Asyncio: the peer reads again."""
        self.congested = False
        if self._transport is not None:
            self._transport.resume_reading()
        for stream in tuple(self._streams.values()) if self.delayed_ack else ():
            stream.on_room()

    def eof_received(self) -> bool:
        """Asyncio: the peer will send no more; ADB has no half-closed connections."""
        return False

    def _borrow(self, length: int) -> None:
        if not self.online and length > SMALL_PAYLOAD:
            raise ProtocolError(f"{length} bytes before the handshake")
        if length <= messages.MAX_PAYLOAD // 16:
            self._buffer = memoryview(bytearray(length))
        else:
            self._buffer = memoryview(_big_buffers.pop() if _big_buffers else bytearray(messages.MAX_PAYLOAD))
        self._wanted, self._filled = length, 0

    def _release(self) -> None:
        whole = self._buffer.obj
        if self._buffer is not self._header and isinstance(whole, bytearray) and len(whole) == messages.MAX_PAYLOAD:
            self._buffer = self._header
            if len(_big_buffers) < _BIG_BUFFERS_KEPT:
                _big_buffers.append(whole)
        self._buffer = self._header
        self._wanted, self._filled = messages.HEADER_BYTES, 0

    # what goes out

    def send(self, command: int, arg0: int, arg1: int, payload: Data = b"") -> None:
        """Send one message. Large payloads are not copied as long as the socket takes them."""
        transport = self._transport
        if transport is None:
            return
        length = len(payload)
        check = messages.checksum(payload) if length and self.peer_version < messages.VERSION else 0
        head = messages.header(command, arg0, arg1, length, check)
        if length <= SMALL_PAYLOAD:
            transport.write(head + payload)
        else:
            transport.write(head)
            transport.write(payload)

    def tell_when_out(self, stream: Stream) -> None:
        """Call the stream's `on_room` soon, when the socket took what was written; else `resume_writing` does."""
        if not self._out:
            asyncio.get_running_loop().call_soon(self._tell_out)
        self._out[stream] = None

    def _tell_out(self) -> None:
        streams, self._out = self._out, {}
        for stream in streams:
            stream.on_room()

    def open(self, destination: str, service: Service) -> Stream | None:
        """Open a stream to the peer (`adb reverse`): `service` hears `on_ready` when the peer agreed. None: no peer."""
        if not self.online or self._transport is None or len(self._streams) >= MAX_STREAMS:
            return None
        stream = Stream(self, self._take_id(), 0, 0 if self.delayed_ack else None)
        stream.service = service
        self._streams[stream.local_id] = stream
        self.send(
            OPEN, stream.local_id, WINDOW_BYTES if self.delayed_ack else 0, destination.encode("utf-8", "surrogateescape") + b"\0"
        )
        return stream

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """End the connection when everything sent is out."""
        if self._transport is not None:
            self._transport.close()

    def forget(self, stream: Stream) -> None:
        """The stream ended from our side."""
        self._streams.pop(stream.local_id, None)

    # what comes in

    def _dispatch(self, head: Message, payload: memoryview) -> None:
        if self.peer_version < messages.VERSION and head.length and messages.checksum(payload) != head.checksum:
            raise ProtocolError("checksum does not fit")
        command = head.command
        if command == CNXN:
            self._on_connect(head, payload)
        elif command == AUTH:
            self._on_auth(head, bytes(payload))
        elif command == STLS:
            raise ProtocolError("no TLS here")
        elif not self.online:
            raise ProtocolError("nothing but CNXN and AUTH before the handshake")
        elif command == WRTE:
            stream = self._streams.get(head.arg1)
            if stream is None or stream.remote_id != head.arg0:
                self.send(CLSE, 0, head.arg0)
            else:
                stream.received(payload)
        elif command == OKAY:
            stream = self._streams.get(head.arg1)
            if stream is not None and head.arg0 and stream.remote_id in (0, head.arg0):
                if not stream.remote_id:
                    stream.agreed(head.arg0)
                stream.on_okay(payload)
        elif command == CLSE:
            stream = self._streams.get(head.arg1)
            if stream is not None and head.arg0 in (0, stream.remote_id):
                del self._streams[head.arg1]
                if stream.remote_id:
                    self.send(CLSE, stream.local_id, stream.remote_id)
                stream.lost()
        elif command == OPEN:
            self._on_open(head, payload)

    def _on_connect(self, head: Message, payload: memoryview) -> None:
        self.peer = messages.parse_banner(payload)
        self.peer_version = min(head.arg0, messages.VERSION)
        self.max_payload = max(min(head.arg1, messages.MAX_PAYLOAD), 1)
        if self.online:  # the peer starts afresh
            streams, self._streams = self._streams, {}
            for stream in streams.values():
                stream.lost()
        if self._device.auth_required() and not self.online:
            self._challenge()
        else:
            self._welcome()

    def _challenge(self) -> None:
        self._token = os.urandom(20)
        self.send(AUTH, messages.AUTH_TOKEN, 0, self._token)

    def _on_auth(self, head: Message, payload: bytes) -> None:
        if self.online or not self._token:
            return
        if head.arg0 == messages.AUTH_SIGNATURE:
            token, self._token = self._token, b""
            if self._device.check_signature(token, payload):
                self._welcome()
            else:
                self._challenge()
        elif head.arg0 == messages.AUTH_RSAPUBLICKEY and self._device.offer_key(payload):
            self._welcome()

    def _welcome(self) -> None:
        self._stop_timer()
        self.online = True
        banner = self._device.banner()
        self.delayed_ack = (
            messages.DELAYED_ACK in messages.parse_banner(banner).features
            and self.peer is not None
            and messages.DELAYED_ACK in self.peer.features
        )
        version = min(messages.VERSION, max(self.peer_version, messages.VERSION_CHECKSUMS))
        transport = self._transport
        if transport is not None:
            if self.delayed_ack:  # then `on_ready` must mean that the socket holds none of our buffers any more
                transport.set_write_buffer_limits(high=0)
            head = messages.header(CNXN, version, messages.MAX_PAYLOAD, len(banner), messages.checksum(banner))
            transport.write(head + banner)

    def _on_open(self, head: Message, payload: memoryview) -> None:
        remote_id = head.arg0
        if not remote_id:
            return
        name = bytes(payload).rstrip(b"\0").decode("utf-8", "surrogateescape")
        if not name or len(self._streams) >= MAX_STREAMS or (self.delayed_ack and not head.arg1):
            self.send(CLSE, 0, remote_id)
            return
        stream = Stream(self, self._take_id(), remote_id, head.arg1 if self.delayed_ack else None)
        self._streams[stream.local_id] = stream
        service = self._device.open(name, stream)
        if service is None:
            stream.refuse()
            return
        stream.service = service
        if not service.answers_later:
            stream.accept()

    def _take_id(self) -> int:
        self._next_id = self._next_id % 0xFFFFFFFE + 1
        while self._next_id in self._streams:
            self._next_id = self._next_id % 0xFFFFFFFE + 1
        return self._next_id

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
