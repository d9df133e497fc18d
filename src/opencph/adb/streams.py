"""Our end of one ADB stream, and what runs behind it: order, flow control, delayed acknowledgement. Connections are `device.py`.

Source of delayed acknowledgement: AOSP `packages/modules/adb/adb.cpp` and `sockets.cpp`: both ends name the feature, OPEN carries
the window that its sender grants, every OKAY the bytes that were taken (int32); the first OKAY carries the other end's window.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING

from opencph.adb import messages
from opencph.adb.messages import CLSE, OKAY, WRTE, ProtocolError

if TYPE_CHECKING:
    from opencph.adb.device import DeviceConnection

WINDOW_BYTES = 4 * 1024 * 1024  # what a peer with delayed acknowledgement may send ahead on one stream
_WINDOW_MAX = 1 << 40
_ACKNOWLEDGED = struct.Struct("<i")

Data = bytes | bytearray | memoryview


class Service:
    """What runs behind one stream. Every method is called on the event loop and must not block."""

    __slots__ = ()

    answers_later = False  # the OPEN is answered when it calls `Stream.accept()` or `Stream.refuse()`, not at once

    def on_data(self, data: memoryview) -> bool:
        """Bytes from the peer; the memory is reused after the call. True: taken. False: `Stream.acknowledge()` comes later."""
        return True

    def on_ready(self) -> None:
        """More may be written: the peer has taken, or has room for, everything that was."""

    def on_close(self) -> None:
        """The peer closed the stream or is gone. Nothing can be written any more."""


class Stream:
    """One message in flight at a time; with delayed acknowledgement as many as fit the peer's window."""

    __slots__ = (
        "_closing",
        "_connection",
        "_granted",
        "_holds",
        "_in_flight",
        "_owed",
        "_pending",
        "_window",
        "local_id",
        "pending_bytes",
        "remote_id",
        "service",
    )

    def __init__(self, connection: DeviceConnection, local_id: int, remote_id: int, window: int | None = None) -> None:
        """`window`: bytes that the peer lets us send ahead; None without delayed acknowledgement."""
        self._connection: DeviceConnection | None = connection
        self.local_id = local_id
        self.remote_id = remote_id  # 0 while a stream that we opened waits for the peer's first OKAY
        self.service: Service | None = None
        self.pending_bytes = 0
        self._pending: deque[Data] = deque()
        self._owed: deque[int] | None = None  # sizes of messages that the service has not taken yet
        self._in_flight = False
        self._holds = 1  # while there are some, nothing goes out: the first until the OPEN is answered
        self._closing = False
        self._window = window
        self._granted = WINDOW_BYTES

    @property
    def connection(self) -> DeviceConnection | None:
        """The connection that it belongs to, while there is one."""
        return self._connection

    @property
    def max_payload(self) -> int:
        """Bytes that one message may carry to this peer."""
        return self._connection.max_payload if self._connection else messages.MAX_PAYLOAD_V1

    @property
    def closed(self) -> bool:
        """Whether nothing can be written any more."""
        return self._closing or self._connection is None

    @property
    def idle(self) -> bool:
        """Whether the peer has taken, or has room for, everything written."""
        return not self._pending and not self._blocked

    @property
    def _blocked(self) -> bool:
        if self._window is None:
            return self._in_flight
        return self._window <= 0 or self._connection is None or self._connection.congested

    def write(self, data: Data) -> None:
        """Send, or keep until the peer has room. A buffer must stay as it is until `on_ready`."""
        if self.closed or not data:
            return
        if self._pending or self._blocked or self._holds or len(data) > self.max_payload:
            self._pending.append(data)
            self.pending_bytes += len(data)
            if not self._blocked:
                self._send_pending()
        else:
            self._send(data)

    def hold(self) -> None:
        """Keep what is written from now on until `release()`: an answer to a message that is not acknowledged yet."""
        self._holds += 1

    def release(self) -> None:
        """Send what was kept, unless somebody else still holds it."""
        self._holds -= 1
        if self._holds or self._blocked:
            return
        if self._pending:
            self._send_pending()
        elif self._closing:
            self._finish()

    def accept(self) -> None:
        """Answer the peer's OPEN, and let go of what was written since."""
        self._acknowledge(0 if self._window is None else WINDOW_BYTES, first=True)
        self.release()

    def refuse(self) -> None:
        """Answer the peer's OPEN with CLSE: there is no such service. Nothing that was written goes out."""
        connection, self._connection = self._connection, None
        self._pending.clear()
        self.pending_bytes = 0
        self.service = None
        if connection is not None:
            connection.forget(self)
            connection.send(CLSE, 0, self.remote_id)

    def acknowledge(self) -> None:
        """Tell the peer that the oldest message for which `on_data` returned False is taken."""
        if self._owed:
            self._acknowledge(self._owed.popleft())

    def close(self) -> None:
        """End the stream when everything written has been taken."""
        if self.closed:
            return
        self._closing = True
        if self.idle and not self._holds:
            self._finish()

    # what the connection calls

    def agreed(self, remote_id: int) -> None:
        """The peer accepted a stream that we opened; its first OKAY is about to be counted."""
        self.remote_id = remote_id
        self._holds -= 1
        self._in_flight = True  # that OKAY frees it

    def received(self, data: memoryview) -> None:
        """A message from the peer. Its OKAY goes out before any answer to it: some clients count on that order of adbd's.

        Raises ProtocolError when the peer sends more than its window.
        """
        service, size = self.service, len(data)
        if self._window is not None:
            if self._granted <= 0:
                raise ProtocolError("more than the window allows")
            self._granted -= size
        if service is None or self._closing or not data:
            self._acknowledge(size)
            return
        self.hold()
        taken = service.on_data(data)
        if taken:
            self._acknowledge(size)
        else:
            if self._owed is None:
                self._owed = deque()
            self._owed.append(size)
        self.release()

    def on_okay(self, payload: memoryview) -> None:
        """The peer took something. Raises ProtocolError for a count that makes no sense."""
        if self._window is None:
            if self._in_flight:
                self._in_flight = False
                self._go_on()
            return
        if len(payload) != _ACKNOWLEDGED.size:
            raise ProtocolError("an OKAY without the bytes that were taken")
        (taken,) = _ACKNOWLEDGED.unpack(payload)
        waited = self._window <= 0
        self._window += taken
        if taken < 0 or self._window > _WINDOW_MAX:
            raise ProtocolError(f"{taken} bytes acknowledged")
        if waited or self._pending:
            self._go_on()

    def on_room(self) -> None:
        """The socket takes bytes again, or what was written is out."""
        if self._connection is not None and not self._blocked:
            self._go_on()

    def lost(self) -> None:
        """The peer closed the stream, or the connection is gone."""
        self._connection = None
        self._pending.clear()
        self.pending_bytes = 0
        service, self.service = self.service, None
        if service is not None:
            service.on_close()

    # within

    def _require(self) -> DeviceConnection:
        assert self._connection is not None
        return self._connection

    def _acknowledge(self, size: int, first: bool = False) -> None:
        if self._connection is None:
            return
        if self._window is None:
            self._connection.send(OKAY, self.local_id, self.remote_id)
            return
        if not first:
            self._granted += size
        self._connection.send(OKAY, self.local_id, self.remote_id, _ACKNOWLEDGED.pack(size))

    def _go_on(self) -> None:
        if self._pending:
            self._send_pending()
        elif self._closing:
            if not self._holds:
                self._finish()
        elif self.service is not None:
            self.service.on_ready()

    def _send(self, data: Data) -> None:
        connection = self._require()
        if self._window is None:
            self._in_flight = True
            connection.send(WRTE, self.local_id, self.remote_id, data)
            return
        self._window -= len(data)
        connection.send(WRTE, self.local_id, self.remote_id, data)
        connection.tell_when_out(self)

    def _send_pending(self) -> None:
        while self._pending and self._connection is not None and not self._holds and not self._blocked:
            self._send(self._next_chunk())
        if self._window is not None and self._closing and not self._pending and not self._holds:
            self._finish()

    def _next_chunk(self) -> Data:
        limit = self.max_payload
        chunk = self._pending.popleft()
        if len(chunk) > limit:
            view = memoryview(chunk)
            self._pending.appendleft(view[limit:])
            chunk = view[:limit]
        elif self._pending and len(chunk) + len(self._pending[0]) <= limit:
            joined = bytearray(chunk)
            while self._pending and len(joined) + len(self._pending[0]) <= limit:
                joined += self._pending.popleft()
            chunk = joined
        self.pending_bytes -= len(chunk)
        return chunk

    def _finish(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.forget(self)
            connection.send(CLSE, self.local_id, self.remote_id)
