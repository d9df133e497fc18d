"""Who may stand before an EIP's SSH service, and whose turn it is to log in. Sockets, addresses and time; nothing of SSH.

A client is an address. Each has a share of an EIP's connections and turns of its own to log in. A connection that has said nothing
holds no turn; one that stops in the middle of its login loses it when others of the same client wait. Where there is no room, the
oldest that has not logged in goes first, so that a flood of connections that never do keeps nobody out.

That it stops is seen by looking at it again and again, and only while it is the client's move: where the gateway itself is slow,
few looks are taken, bytes lie unread or an answer is being made, and nobody is blamed for it.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context

from opencph.gateway.ssh_farewell import VERSION_LINE

#: Connections to one EIP at a time, and of one client to it.
CONNECTIONS_PER_ADDRESS, CONNECTIONS_PER_CLIENT = 2000, 1500
#: How many connections of one client may be logging in to one EIP; others of it wait for their turn, the newest first.
LOGINS_PER_CLIENT = 50
#: So long a client may say nothing at all, and so long it waits for its turn to log in.
HELLO_SECONDS, QUEUE_SECONDS = 30.0, 60.0
#: Who does nothing for so long while it logs in, at so many looks, loses its turn, if others of the same client wait for one.
STALLED_SECONDS, STALLED_LOOKS = 5.0, 5
#: Connections to all EIPs together that have no turn yet.
OUTSIDE_MAX = 4000

#: struct tcp_info: eight bytes, 24 numbers and two long ones before tcpi_bytes_acked and tcpi_bytes_received.
_BYTES_ACKED, _TCP_INFO_BYTES = 8 + 24 * 4 + 2 * 8, 8 + 24 * 4 + 4 * 8


class TurnedAwayError(Exception):
    """There is no room for this connection. The message is the reason, for its client."""


class GoneError(Exception):
    """The client has hung up before its turn."""


def moved(sock: socket.socket) -> tuple[int, int]:
    """How many bytes the peer has taken and sent, as the kernel says. Raises OSError."""
    taken, sent = struct.unpack_from("=QQ", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES), _BYTES_ACKED)
    return int(taken), int(sent)


def unread(sock: socket.socket) -> int:
    """How many bytes of the peer wait for us. Raises OSError."""
    return int(struct.unpack("=i", fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4)))[0])


class Guest:
    """One connection."""

    __slots__ = ("_moved", "busy", "client", "cut", "evicted", "sock", "still", "wake")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        try:
            self.client = str(sock.getpeername()[0])
        except OSError:
            self.client = ""  # gone already
        self.wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.evicted = ""  # why it has to go
        self.still = 0  # looks in a row at which it was its move, and it had done nothing
        self._moved: tuple[int, int] | None = None  # at the last look
        # once it logs in:
        self.cut: Callable[[str], None] | None = None  # ends the connection with this reason
        self.busy: Callable[[], bool] = lambda: False  # whether an answer to it is being made

    def look(self) -> None:
        """See whether it gets on with its login."""
        with suppress(OSError):
            found = moved(self.sock)
            waits = found == self._moved and not unread(self.sock) and not self.busy()
            self.still, self._moved = self.still + 1 if waits else 0, found

    def check(self) -> None:
        """Raises TurnedAwayError when it has to go."""
        if self.evicted:
            raise TurnedAwayError(self.evicted)


class _Share:
    """The connections of one client to one EIP, by how far they have come; the oldest first."""

    __slots__ = ("inside", "logging_in", "silent", "timer", "waiting")

    def __init__(self) -> None:
        self.silent: dict[Guest, None] = {}
        self.waiting: dict[Guest, None] = {}
        self.logging_in: dict[Guest, None] = {}
        self.inside: dict[Guest, None] = {}
        self.timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return self.outside + len(self.inside)

    @property
    def outside(self) -> int:
        return len(self.silent) + len(self.waiting) + len(self.logging_in)

    def remove(self, guest: Guest) -> bool:
        """Forget it, wherever it is. False: it was nowhere."""
        for place in (self.silent, self.waiting, self.logging_in, self.inside):
            if guest in place:
                del place[guest]
                return True
        return False


class Doors:
    """The doors of all EIPs: they share what the process can hold."""

    def __init__(self) -> None:
        self.outside: dict[Guest, tuple[Door, _Share]] = {}  # without a turn, of all EIPs; the oldest first
        self._doors: dict[str, Door] = {}

    def door(self, ip: str) -> Door:
        """The door of an EIP."""
        return self._doors.setdefault(ip, Door(ip, self))

    def close(self, door: Door) -> None:
        """Nobody is there any more."""
        if self._doors.get(door.ip) is door:
            del self._doors[door.ip]


class Door:
    """The connections to one EIP."""

    def __init__(self, ip: str, doors: Doors) -> None:
        self.ip, self._doors = ip, doors
        self._loop = asyncio.get_running_loop()
        self._shares: dict[str, _Share] = {}
        self._count = 0

    def enter(self, guest: Guest) -> None:
        """Let it stand here and greet it. Raises TurnedAwayError."""
        share = self._shares.get(guest.client) or _Share()
        if len(share) >= CONNECTIONS_PER_CLIENT and not self._make_room(share):
            raise TurnedAwayError(f"too many connections from {guest.client} to this address: at most {CONNECTIONS_PER_CLIENT}")
        if self._count >= CONNECTIONS_PER_ADDRESS:
            crowd = max(self._shares.values(), key=lambda each: each.outside)
            if not self._make_room(crowd):
                raise TurnedAwayError(f"too many connections to this address: at most {CONNECTIONS_PER_ADDRESS}")
        while len(self._doors.outside) >= OUTSIDE_MAX:
            oldest = next(iter(self._doors.outside))
            door, of = self._doors.outside[oldest]
            door.evict(of, oldest, "too many clients log in at once: try again")
        self._shares[guest.client] = share
        share.silent[guest] = None
        self._doors.outside[guest] = self, share
        self._count += 1
        with suppress(OSError):
            guest.sock.send(VERSION_LINE)

    async def turn(self, guest: Guest) -> None:
        """Wait until it is this one's turn to log in. Raises TurnedAwayError, GoneError."""
        guest.check()
        share = self._shares[guest.client]
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                await self._first_word(guest)
        except TimeoutError:
            guest.check()
            if not _has_spoken(guest):  # else it is we who were slow
                raise TurnedAwayError(f"nothing was heard from you in {HELLO_SECONDS:.0f} s") from None
        guest.check()
        del share.silent[guest]
        share.waiting[guest] = None
        guest.wake = self._loop.create_future()
        self._give_turns(share)
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await guest.wake
        except TimeoutError:
            guest.check()
            raise TurnedAwayError(f"too many logins at once from {guest.client}: at most {LOGINS_PER_CLIENT}, try again") from None
        guest.check()

    def logged_in(self, guest: Guest) -> None:
        """It is in: its turn goes to the next."""
        share = self._shares.get(guest.client)
        if share is not None and guest in share.logging_in:
            del share.logging_in[guest]
            share.inside[guest] = None
            self._give_turns(share)

    def leave(self, guest: Guest) -> None:
        """Its connection is over, or it was turned away."""
        share = self._shares.get(guest.client)
        self._doors.outside.pop(guest, None)
        if share is not None:
            if share.remove(guest):
                self._count -= 1
                self._give_turns(share)
            if not len(share):
                del self._shares[guest.client]
                if share.timer is not None:
                    share.timer.cancel()
        if not self._shares:
            self._doors.close(self)

    def evict(self, share: _Share, guest: Guest, reason: str) -> None:
        """Make room: it is no longer counted, and told why."""
        self._doors.outside.pop(guest, None)
        if share.remove(guest):
            self._count -= 1
        guest.evicted = reason
        if guest.cut is not None:
            guest.cut(reason)
        elif not guest.wake.done():
            guest.wake.set_result(None)  # else it is awake, and about to see it

    async def _first_word(self, guest: Guest) -> None:
        fd = guest.sock.fileno()

        def spoken() -> None:
            if not guest.wake.done():
                guest.wake.set_result(None)

        self._loop.add_reader(fd, spoken)
        try:
            await guest.wake
        finally:
            self._loop.remove_reader(fd)
        if not guest.evicted:
            _has_spoken(guest)

    def _make_room(self, share: _Share) -> bool:
        """Send the oldest of a client away that does not log in. False: there is none."""
        oldest = next(iter(share.silent), None) or next(iter(share.waiting), None) or next(iter(self._stalled(share)), None)
        if oldest is not None:
            self.evict(share, oldest, "too many connections that do not log in")
        return oldest is not None

    def _stalled(self, share: _Share) -> list[Guest]:
        return [guest for guest in share.logging_in if guest.cut is not None and guest.still >= STALLED_LOOKS]

    def _give_turns(self, share: _Share) -> None:
        while share.waiting and len(share.logging_in) < LOGINS_PER_CLIENT:
            guest, _ = share.waiting.popitem()
            self._doors.outside.pop(guest, None)
            if not guest.wake.done():
                share.logging_in[guest] = None
                guest.wake.set_result(None)
            else:
                self._count -= 1
        if share.logging_in and share.timer is None:
            share.timer = self._loop.call_later(STALLED_SECONDS / STALLED_LOOKS, self._look, share, context=Context())

    def _look(self, share: _Share) -> None:
        share.timer = None
        for guest in share.logging_in:
            guest.look()
        if share.waiting:
            for guest in self._stalled(share):
                self.evict(share, guest, "your login stood still while others of your address waited")
        self._give_turns(share)


def _has_spoken(guest: Guest) -> bool:
    """Whether something has come from it. Raises GoneError."""
    try:
        if guest.sock.recv(1, socket.MSG_PEEK):
            return True
    except BlockingIOError:
        return False
    except OSError as error:
        raise GoneError from error
    raise GoneError
