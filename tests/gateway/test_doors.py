"""Turns before the SSH service by themselves: real sockets, no gateway. Floods against a gateway are in test_admission.py."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from opencph.gateway.ssh_admission import STALLED_LOOKS, Door, Doors, Guest, TurnedAwayError
from opencph.gateway.ssh_farewell import VERSION_LINE


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's end and ours."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), 10)
        ours, _ = listener.accept()
    ours.setblocking(False)
    with client, ours:
        yield client, ours


def _evict(door: Door, guest: Guest) -> None:
    door.evict(door._shares[guest.client], guest, "no room")


def test_who_is_sent_away_at_the_moment_it_speaks_is_told_so(pair: tuple[socket.socket, socket.socket]) -> None:
    async def main() -> None:
        door = Doors().door("eip")
        guest = Guest(pair[1])
        door.enter(guest)
        turn = asyncio.create_task(door.turn(guest))
        await asyncio.sleep(0)
        guest.wake.set_result(None)  # its first word is there, and nobody has looked at it yet
        _evict(door, guest)
        with pytest.raises(TurnedAwayError, match="no room"):
            await turn
        door.leave(guest)
        assert not door._shares and door._count == 0

    asyncio.run(main())


def test_who_is_sent_away_before_its_task_has_begun_is_told_so(pair: tuple[socket.socket, socket.socket]) -> None:
    async def main() -> None:
        doors = Doors()
        door = doors.door("eip")
        guest = Guest(pair[1])
        door.enter(guest)
        _evict(door, guest)
        with pytest.raises(TurnedAwayError, match="no room"):
            await door.turn(guest)
        door.leave(guest)
        later = doors.door("eip")
        door.leave(guest)
        assert doors.door("eip") is later, "one who is late closes the door of others"

    asyncio.run(main())


def test_only_who_does_nothing_at_its_own_move_stands_still(pair: tuple[socket.socket, socket.socket]) -> None:
    client, ours = pair

    async def main() -> None:
        door = Doors().door("eip")
        guest = Guest(ours)
        door.enter(guest)
        assert client.recv(100) == VERSION_LINE

        def still_after(looks: int) -> int:
            for _ in range(looks):
                guest.look()
            return guest.still

        assert still_after(STALLED_LOOKS + 1) == STALLED_LOOKS
        client.sendall(b"SSH-2.0-x\r\n")
        assert still_after(STALLED_LOOKS) == 0  # its words wait for us
        ours.recv(100)
        guest.busy = lambda: True
        assert still_after(STALLED_LOOKS) == 0  # it waits for our answer
        guest.busy = lambda: False
        assert still_after(STALLED_LOOKS) == STALLED_LOOKS
        ours.sendall(b"our answer")
        assert client.recv(100) == b"our answer"
        async with asyncio.timeout(10):
            while still_after(1):  # noqa: ASYNC110 - the kernel tells a little later that it has got something
                await asyncio.sleep(0.01)

    asyncio.run(main())
