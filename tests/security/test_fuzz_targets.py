"""What `make fuzz` feeds for minutes, fed for a moment: every seed, seeds that were damaged, and any bytes."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.__main__ import ALL

#: targets that start a program or a connection for each input
SLOW = {"packages": 4, "tunnel": 40, "adb": 60}

every = pytest.mark.parametrize("name", ALL)


@every
def test_every_seed_ends_as_documented(name: str) -> None:
    seeds = list(ALL[name].seeds())
    assert seeds
    for seed in seeds:
        ALL[name].run(seed)


@every
def test_damaged_seeds_end_as_documented(name: str) -> None:
    target = ALL[name]
    seeds = list(target.seeds())

    @settings(max_examples=SLOW.get(name, 150), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def run(data: st.DataObject) -> None:
        damaged = bytearray(data.draw(st.sampled_from(seeds)))
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(damaged)))
            size = data.draw(st.integers(0, 8))
            damaged[at : at + size] = data.draw(st.binary(max_size=8))
        target.run(bytes(damaged[: target.longest]))

    run()


@every
def test_any_bytes_end_as_documented(name: str) -> None:
    target = ALL[name]

    @settings(max_examples=SLOW.get(name, 150), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=300))
    def run(data: bytes) -> None:
        target.run(data)

    run()


#: inputs that once broke a target: what was wrong then, and the input
FOUND: list[tuple[str, str, bytes]] = [
    (
        "sync",
        "a link whose name is no UTF-8",
        b"\xffSEND\x0f\0\0\0/data/b\xff,41471" + b"DATA\x01\0\0\0xDONE\0\0\0\0",
    ),
    (
        "tunnel",
        "packets after one that ended the connection",
        b"\x00Z\x0c\x00\x00\x00\x07\x00\x01\x00\x00\x00\x00\x80\x00P\x06\x00\x00\x00\x01x\x01\x02\t\xff\xff\xf6\x06ignore\x03\x04\x00\x00\x00\xff\xcd\xfa\x9e\x98\x9ein",
    ),
    (
        "tunnel",
        "a channel packet that is too short for its numbers",
        b"\x00Z\x0c\x00\x00\x00\x07\x00\x01\x00\x00\x00\x00\x80\x00^\x00\x00\x00\x00\x00\x05hello]\x08\x00\x00\x00\x00",
    ),
    ("sync", "a link whose target has a NUL", b"\xffSEND\x0d\0\0\0/data/b,41471" + b"DATA\x03\0\0\0a\0bDONE\0\0\0\0"),
]


@pytest.mark.parametrize(("name", "data"), [pytest.param(name, data, id=f"{name}: {what}") for name, what, data in FOUND])
def test_what_was_found_once_stays_mended(name: str, data: bytes) -> None:
    ALL[name].run(data)
