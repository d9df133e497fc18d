"""What came through the gateway, counted where it passes: plain numbers of one event loop, read when somebody asks for metrics."""

from __future__ import annotations

from opencph.metrics.families import BYTES, CONNECTIONS, TUNNELS, TUNNELS_OPEN


class Flow:
    """One way in. Bytes are counted as they are taken from a socket, `inbound` those to the phone."""

    __slots__ = ("came", "inbound", "open", "outbound")

    def __init__(self) -> None:
        self.came = 0
        self.open = 0
        self.inbound = 0
        self.outbound = 0


#: Port mappings, and SSH tunnels.
mapped, tunnelled = Flow(), Flow()

TUNNELS_OPEN.read_from(lambda: {(): tunnelled.open})
CONNECTIONS.read_from(lambda: {(): mapped.came})
TUNNELS.read_from(lambda: {(): tunnelled.came})
BYTES.read_from(
    lambda: {
        (way, direction): getattr(flow, bound)
        for way, flow in (("mapping", mapped), ("tunnel", tunnelled))
        for direction, bound in (("in", "inbound"), ("out", "outbound"))
    }
)
