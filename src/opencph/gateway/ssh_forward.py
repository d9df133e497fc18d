"""One forward of an SSH connection: a client's channel joined to a TCP connection to a phone. How packets travel is `ssh_lane`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import asyncssh

from opencph.gateway.bandwidth import BYTES_PER_MBIT, Bucket, Limit
from opencph.gateway.flows import tunnelled
from opencph.gateway.relay import Address
from opencph.gateway.ssh_lane import Lane, was_reset
from opencph.gateway.ssh_packets import DATA_BYTES, PACKETS_AT_ONCE

#: What the client may have on its way to one phone; OpenSSH's own default. Less where the bandwidth is small or forwards are many.
WINDOW_BYTES, WINDOW_BYTES_MIN = 2 * 1024 * 1024, 128 * 1024
WINDOWS_BYTES = 16 * 1024 * 1024  # of one connection, roughly
WINDOW_SECONDS = 0.1
#: A client that has closed is given so long for its last bytes to reach the phone.
LINGER_SECONDS = 30.0
_BUFFERS_AT_ONCE = 256
_TURN_BYTES = PACKETS_AT_ONCE * DATA_BYTES


def window_bytes(limit: Limit, forwards: int) -> int:
    """The window of a new forward under this limit, beside so many others of the connection."""
    size = WINDOWS_BYTES // (forwards + 1)
    if limit.mbit is not None:
        size = min(size, int(limit.mbit * BYTES_PER_MBIT * WINDOW_SECONDS))
    return min(max(size, WINDOW_BYTES_MIN), WINDOW_BYTES)


class _Turn:
    """The waiter of one direction."""

    __slots__ = ("go_on",)

    def __init__(self, go_on: Callable[[], None]) -> None:
        self.go_on = go_on


class Forward(asyncssh.SSHTCPSession[bytes]):
    """Owns the socket to the phone. asyncssh calls it as the session of the channel, the lane with the data."""

    def __init__(
        self,
        lane: Lane,
        sock: socket.socket,
        asked: Address,
        target: Address,
        limit: Limit,
        on_phone_lost: Callable[[str], None] = lambda cause: None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_phone_lost, self._on_end = on_phone_lost, on_end
        self.asked, self.target = asked, target
        self._loop = asyncio.get_running_loop()
        self._lane = lane
        self._socket = sock
        self._fd = sock.fileno()
        self._limit = limit
        self._channel: asyncssh.SSHTCPChannel[bytes] | None = None
        self._number = -1  # the channel's, as the client names it when it sends
        self._window = WINDOW_BYTES_MIN  # the channel's, once it is there
        self._owed = 0  # delivered, and not yet granted again
        self._views: list[memoryview] = []
        self._pending = bytearray()
        self._to_phone, self._from_phone = _Turn(self.drain), _Turn(self._read_now)
        self._reading = self._writing = False
        self._phone_done = self._client_done = self._told = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None

    def cut(self) -> None:
        """End it: what it leads to is gone."""
        if self._channel is not None:
            self._channel.abort()
        self._end()

    # --- asyncssh.SSHTCPSession --------------------------------------

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        self._channel = chan
        self._window = chan.get_recv_window()

    def session_started(self) -> None:
        assert self._channel is not None and self._channel._recv_chan is not None
        self._number = self._channel._recv_chan
        self._lane.forwards[self._number] = self
        self.go_on()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Only where asyncssh reads the packets: it grants the window itself, as soon as this returns."""
        tunnelled.inbound += len(data)
        self._views.append(memoryview(data))
        self.flush()
        if len(self._pending) > WINDOW_BYTES_MIN and self._channel is not None:
            self._channel.pause_reading()

    def eof_received(self) -> bool:
        self._client_done = True
        self.drain()
        return True  # the other way stays open

    def connection_lost(self, exc: Exception | None) -> None:
        self._lane.forwards.pop(self._number, None)
        self._channel = None
        self._stop_reading()
        if self._pending and not self._closed and exc is None:
            self._client_done = True
            self._timer = self._loop.call_later(LINGER_SECONDS, self._end)
        else:
            self._end()

    # --- from the client to the phone ----------------------------------

    @property
    def takes_data(self) -> bool:
        """Whether the lane may give it data, past asyncssh."""
        channel = self._channel
        return channel is not None and channel._recv_state == "open" and channel._recv_paused is False

    def receive(self, data: memoryview) -> None:
        """Data from the lane, valid until `flush`. Raises asyncssh.ProtocolError when it is more than was granted."""
        assert self._channel is not None
        self._channel._recv_window -= len(data)
        if self._channel._recv_window < 0:
            raise asyncssh.ProtocolError("Window exceeded")
        self._owed += len(data)
        tunnelled.inbound += len(data)
        self._views.append(data)

    def flush(self) -> None:
        """Send what was received, or keep it."""
        views, self._views = self._views, []
        if self._closed:
            return
        if self._pending or self._limit.inbound is not None or len(views) > _BUFFERS_AT_ONCE:
            before = len(self._pending)
            for view in views:
                self._pending += view
            self._lane.waits_for_phones(len(self._pending) - before)
            self.drain()
            return
        try:
            sent = self._socket.sendmsg(views)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._phone_lost(error)
            return
        for view in views:
            if sent >= len(view):
                sent -= len(view)
            else:
                self._pending += view[sent:]
                sent = 0
        if self._pending:
            self._lane.waits_for_phones(len(self._pending))
            self._want_write()
        self._grant()

    def drain(self) -> None:
        """Send what was kept, as far as phone and bandwidth allow."""
        if self._closed:
            return
        bucket = self._limit.inbound
        while self._pending:
            size = len(self._pending) if bucket is None else bucket.take(self._to_phone, len(self._pending))
            if not size:
                self._want_write(False)
                return
            try:
                with memoryview(self._pending) as pending:
                    sent = self._socket.send(pending[:size])
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._phone_lost(error)
                return
            if bucket is not None and sent < size:
                bucket.give_back(size - sent)
            del self._pending[:sent]
            self._lane.waits_for_phones(-sent)
            self._grant()
            if sent < size:
                self._want_write()
                return
        self._want_write(False)
        if self._client_done and not self._told:
            self._told = True
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError as error:
                self._phone_lost(error)
                return
            self._close_when_done()
        elif self._channel is not None and self._channel._recv_paused is True:
            self._channel.resume_reading()

    def _grant(self) -> None:
        channel = self._channel
        delivered = self._owed - len(self._pending)
        if channel is not None and channel._send_chan is not None and delivered >= self._window // 4:
            self._owed -= delivered
            channel._recv_window += delivered
            self._lane.adjust(channel._send_chan, delivered)

    def _want_write(self, wanted: bool = True) -> None:
        if wanted and not self._writing:
            self._writing = True
            self._loop.add_writer(self._fd, self.drain)
        elif self._writing and not wanted:
            self._writing = False
            self._loop.remove_writer(self._fd)

    # --- from the phone to the client ------------------------------------

    def widen(self, size: int) -> None:
        """The client takes so many bytes more."""
        assert self._channel is not None
        self._channel._send_window += size
        if not self._reading:
            self.go_on()

    @property
    def is_dry(self) -> bool:
        """Whether the client takes nothing more for now."""
        channel = self._channel
        return channel is not None and channel._send_window <= 0

    def go_on(self) -> None:
        """Read from the phone, if what kept it from that is over."""
        if not self._reading and not self._phone_done and not self._closed and self._channel is not None:
            self._reading = True
            self._loop.add_reader(self._fd, self._on_readable)

    def _read_now(self) -> None:
        """The bucket has a portion for it, at this moment only."""
        self.go_on()
        if self._reading:
            self._on_readable()

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def _on_readable(self) -> None:
        channel, lane = self._channel, self._lane
        if channel is None or channel._send_chan is None or channel._send_window <= 0 or not lane.may_send(self):
            self._stop_reading()
            if channel is not None and channel._send_chan is not None and channel._send_window <= 0:
                lane.waits_for_window(self)
            return
        packet = min(channel._send_pktsize, DATA_BYTES)
        size = min(channel._send_window, packet * PACKETS_AT_ONCE)
        bucket: Bucket | None = self._limit.outbound
        if bucket is not None:
            size = bucket.take(self._from_phone, size)
            if not size:
                self._stop_reading()
                return
        try:
            got = self._socket.recvmsg_into(lane.slots(size, packet))[0]
        except (BlockingIOError, InterruptedError):
            got = -1
        except OSError as error:
            self._phone_lost(error)
            return
        if bucket is not None:
            bucket.give_back(size - max(got, 0))
        if got > 0:
            tunnelled.outbound += got
            channel._send_window -= got
            lane.send_slots(channel._send_chan, got, packet)
            if self._reading and was_reset(self._socket):
                self._stop_reading()
                self.go_on()
        elif got == 0:
            self._phone_done = True
            self._stop_reading()
            channel.write_eof()
            self._close_when_done()

    # --- the end -------------------------------------------------------

    def _close_when_done(self) -> None:
        if self._phone_done and self._told:
            if self._channel is not None:
                self._channel.close()
            else:
                self._end()

    def _phone_lost(self, error: OSError) -> None:
        self._on_phone_lost(f"the phone has gone: {error.strerror}")
        if self._channel is not None:
            self._channel.abort()
        self._end()

    def _end(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._stop_reading()
        self._want_write(False)
        if self._timer is not None:
            self._timer.cancel()
        for bucket, waiter in ((self._limit.inbound, self._to_phone), (self._limit.outbound, self._from_phone)):
            if bucket is not None:
                bucket.leave(waiter)
        self._lane.waits_for_phones(-len(self._pending))
        self._pending.clear()
        self._socket.close()
        self._on_end()
