"""Joins two TCP connections and moves the bytes between them inside the kernel. Knows nothing of mappings or phones.

Bytes go socket -> pipe -> socket with splice(2), so they are never copied into this process. A pipe is borrowed only while bytes
are on their way: an idle connection holds two sockets and nothing else, and what is in flight per direction is bounded by one
pipe. A half-closed side stays half-closed, a reset is passed on as a reset. Where a bandwidth is shared, each direction takes its
portions from the bucket before it takes bytes from a socket.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import select
import socket
from collections import deque
from collections.abc import Callable

from opencph.gateway.bandwidth import BYTES_PER_MBIT, Bucket, Limit
from opencph.gateway.flows import mapped
from opencph.sockets import do_not_pace

Address = tuple[str, int]

PIPE_BYTES = 1024 * 1024
#: What one direction may move before others get their turn.
TURN_BYTES = 4 * PIPE_BYTES
#: Empty pipes kept for the next burst. More would only hold memory that the kernel accounts to the user.
IDLE_PIPES = 16
CONNECT_SECONDS = 10.0
KEEPALIVE_IDLE_SECONDS = 60
#: What the kernel may hold of a connection whose bandwidth is limited: so many seconds of it, within these bounds.
LIMITED_SECONDS, LIMITED_BYTES_MIN, LIMITED_BYTES_MAX = 0.05, 64 * 1024, 4 * 1024 * 1024

_SPLICE = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_READABLE = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_WRITABLE = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR
_RESET = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # struct linger: on, 0 s


class _Pipe:
    """A pipe and how many bytes it can hold."""

    __slots__ = ("read", "size", "write")

    def __init__(self) -> None:
        self.read, self.write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self.size = fcntl.fcntl(self.write, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:  # an ordinary user's share of pipe memory is used up: the default size works too
            self.size = fcntl.fcntl(self.write, fcntl.F_GETPIPE_SZ)

    def close(self) -> None:
        os.close(self.read)
        os.close(self.write)


class _End:
    """One socket of a relay and what the kernel last said of it."""

    __slots__ = ("fd", "readable", "relay", "socket", "writable")

    def __init__(self, sock: socket.socket, relay: Relay) -> None:
        self.socket = sock
        self.fd = sock.fileno()
        self.relay = relay
        self.readable = False
        self.writable = False


class _Direction:
    """The bytes from one end to the other."""

    __slots__ = ("_inbound", "_limit", "done", "eof", "pending", "pipe", "sink", "source")

    def __init__(self, source: _End, sink: _End, limit: Limit | None, inbound: bool) -> None:
        self._limit = limit
        self._inbound = inbound
        self.source = source
        self.sink = sink
        self.pipe: _Pipe | None = None
        self.pending = 0  # bytes in the pipe
        self.eof = False
        self.done = False  # everything is delivered, and the sink has been told so

    @property
    def _bucket(self) -> Bucket | None:
        limit = self._limit
        return None if limit is None else limit.inbound if self._inbound else limit.outbound

    def go_on(self) -> None:
        """The bucket has a portion for it."""
        self.source.relay.pump()

    def pump(self, pipes: list[_Pipe]) -> bool:
        """Move what can be moved now. True: the turn is over though there may be more. Raises OSError when an end is dead."""
        if self.done:
            return False
        source, sink, moved, bucket, flow = self.source, self.sink, 0, self._bucket, mapped
        while True:
            progressed = False
            if self.pending and sink.writable:
                assert self.pipe is not None
                try:
                    sent = os.splice(self.pipe.read, sink.fd, self.pending, flags=_SPLICE)
                except BlockingIOError:
                    sink.writable = False
                else:
                    self.pending -= sent
                    moved += sent
                    progressed = True
            if source.readable and not self.eof:
                if self.pipe is None:
                    self.pipe = pipes.pop() if pipes else _Pipe()
                room = self.pipe.size - self.pending
                if room and bucket is not None:
                    room = bucket.take(self, room)
                if room:
                    try:
                        taken = os.splice(source.fd, self.pipe.write, room, flags=_SPLICE)
                    except BlockingIOError:
                        if bucket is not None:
                            bucket.give_back(room)
                        # With bytes in the pipe this may also mean that all its slots are taken: ask again when it is empty.
                        if not self.pending:
                            source.readable = False
                    else:
                        if bucket is not None:
                            bucket.give_back(room - taken)
                        self.pending += taken
                        if self._inbound:
                            flow.inbound += taken
                        else:
                            flow.outbound += taken
                        self.eof = taken == 0
                        progressed = progressed or taken > 0
            if not progressed:
                break
            if moved >= TURN_BYTES:
                return True
        if not self.pending:
            self._give_back(pipes)
            if self.eof:
                self.done = True
                sink.socket.shutdown(socket.SHUT_WR)
        return False

    def _give_back(self, pipes: list[_Pipe]) -> None:
        if self.pipe is not None:
            if len(pipes) < IDLE_PIPES and not self.pending:
                pipes.append(self.pipe)
            else:
                self.pipe.close()
            self.pipe = None

    def close(self, pipes: list[_Pipe]) -> None:
        """Let the pipe go; bytes still in it are lost, as they are when a connection is reset."""
        self._give_back(pipes)
        bucket = self._bucket
        if bucket is not None:
            bucket.leave(self)


class Relay:
    """One accepted connection joined to the connection we made for it."""

    __slots__ = ("_client", "_connected", "_directions", "_gone", "_on_close", "_relays", "_target", "_timer", "cause", "queued")

    def __init__(
        self, relays: Relays, client: socket.socket, target: socket.socket, on_close: Callable[[Relay], None], limit: Limit | None
    ) -> None:
        self._relays = relays
        self._client = _End(client, self)
        self._target = _End(target, self)
        self._directions = (
            _Direction(self._client, self._target, limit, inbound=True),
            _Direction(self._target, self._client, limit, inbound=False),
        )
        self._on_close = on_close
        self._connected = False
        self._gone = False
        self.cause = ""  # why it was cut; empty: it came to its end
        self._timer: asyncio.TimerHandle | None = relays.loop.call_later(CONNECT_SECONDS, self.abort, "the phone does not answer")
        self.queued = False
        relays.watch(self._target)

    def on_event(self, end: _End, events: int) -> None:
        """The kernel reports a change of one end."""
        if self._gone:
            return
        if events & _READABLE:
            end.readable = True
        if events & _WRITABLE:
            end.writable = True
        if not self._connected:
            number = end.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                self.abort(f"the phone does not answer: {os.strerror(number)}")
                return
            if not events & select.EPOLLOUT:
                return
            self._connected = True
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._relays.watch(self._client)
        self.pump()
        if events & select.EPOLLERR and not self._gone:
            self.abort(f"the {'client' if end is self._client else 'phone'} has reset it")

    def pump(self) -> None:
        """Move bytes both ways; ask for another turn when there is more."""
        self.queued = False
        if self._gone:
            return
        first, second = self._directions
        pipes = self._relays.pipes
        try:
            more = first.pump(pipes)
            more = second.pump(pipes) or more
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._relays.on_no_descriptors()
            self.abort(f"the connection broke: {error.strerror}")
            return
        if first.done and second.done:
            self._close()
        elif more:
            self._relays.queue(self)

    def abort(self, cause: str) -> None:
        """Reset both ends."""
        if not self._gone:
            self.cause = cause
            for end in (self._client, self._target):
                end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._close()

    def _close(self) -> None:
        self._gone = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for direction in self._directions:
            direction.close(self._relays.pipes)
        for end in (self._client, self._target):
            self._relays.forget(end)
            end.socket.close()
        self._on_close(self)


class Relays:
    """All relays of a process: one epoll set of its own inside the event loop, edge-triggered."""

    def __init__(self, on_no_descriptors: Callable[[], None] = lambda: None) -> None:
        self.loop = asyncio.get_running_loop()
        self.on_no_descriptors = on_no_descriptors
        self.pipes: list[_Pipe] = []
        self._epoll = select.epoll(flags=select.EPOLL_CLOEXEC)
        self._ends: dict[int, _End] = {}
        self._queue: deque[Relay] = deque()
        self.loop.add_reader(self._epoll.fileno(), self._on_ready)

    def __len__(self) -> int:
        return len(self._ends) // 2

    def join(
        self, client: socket.socket, target: Address, on_close: Callable[[Relay], None], limit: Limit | None = None
    ) -> Relay | None:
        """Connect to `target` and join `client` to it. Owns `client` from now on; None when it could not even begin.

        When the target cannot be reached, or not within CONNECT_SECONDS, the client is reset.
        """
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        try:
            client.setblocking(False)
            upstream = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self.on_no_descriptors()
            reset(client)
            return None
        for sock in (client, upstream):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS)
            if limit is not None and limit.mbit is not None:  # else it fills megabytes before the sender feels the limit
                wanted = int(limit.mbit * BYTES_PER_MBIT * LIMITED_SECONDS)
                held = min(max(wanted, LIMITED_BYTES_MIN), LIMITED_BYTES_MAX)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, held)
        mapped.came += 1
        do_not_pace(upstream, target[0])
        if upstream.connect_ex(target) not in (0, errno.EINPROGRESS):
            upstream.close()
            reset(client)
            return None
        return Relay(self, client, upstream, on_close, limit)

    def watch(self, end: _End) -> None:
        """Report what happens at this end from now on, and its state now."""
        self._ends[end.fd] = end
        self._epoll.register(end.fd, _EDGES)

    def forget(self, end: _End) -> None:
        """The end is about to be closed."""
        if self._ends.pop(end.fd, None) is not None:
            self._epoll.unregister(end.fd)

    def queue(self, relay: Relay) -> None:
        """Give the relay another turn after the others had theirs."""
        if not relay.queued:
            relay.queued = True
            if not self._queue:
                self.loop.call_soon(self._run_queue)
            self._queue.append(relay)

    def close(self) -> None:
        """Cut every connection."""
        for end in list(self._ends.values()):
            end.relay.abort("the gateway is stopping")
        self.loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        for pipe in self.pipes:
            pipe.close()
        self.pipes.clear()

    def _on_ready(self) -> None:
        ends = self._ends
        for fd, events in self._epoll.poll(0, 256):
            end = ends.get(fd)
            if end is not None:
                end.relay.on_event(end, events)

    def _run_queue(self) -> None:
        turn, self._queue = self._queue, deque()
        for relay in turn:
            relay.pump()


def reset(sock: socket.socket) -> None:
    """Close a connection so that its peer sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()
