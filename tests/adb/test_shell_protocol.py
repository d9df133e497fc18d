"""Cutting the shell protocol's byte stream into packets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencph.adb import shell_protocol as wire


@given(
    st.lists(
        st.tuples(st.sampled_from([wire.STDIN, wire.STDOUT, wire.STDERR, wire.EXIT, wire.CLOSE_STDIN]), st.binary(max_size=40))
    ),
    st.integers(1, 50),
)
def test_packets_survive_any_cutting(packets: list[tuple[int, bytes]], step: int) -> None:
    stream = b"".join(wire.packet(kind, data) for kind, data in packets)
    reader = wire.PacketReader()
    got: list[tuple[int, bytes]] = []
    for at in range(0, len(stream), step):
        got += [(kind, bytes(piece)) for kind, piece in reader.feed(memoryview(stream[at : at + step]))]
    for kind in (wire.STDIN, wire.STDOUT, wire.STDERR):
        assert b"".join(data for k, data in got if k == kind) == b"".join(data for k, data in packets if k == kind)
    for kind in (wire.EXIT, wire.CLOSE_STDIN):
        assert sum(k == kind for k, _ in got) >= sum(k == kind for k, _ in packets)
    assert [data for k, data in got if k == wire.EXIT] == [data for k, data in packets if k == wire.EXIT]


def test_a_window_size_packet_of_a_gigabyte_is_refused() -> None:
    with pytest.raises(ValueError, match="over 65536"):
        list(wire.PacketReader().feed(memoryview(wire.HEADER.pack(wire.WINDOW_SIZE, 1 << 30))))
