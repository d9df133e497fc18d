"""Headers and banners of the ADB protocol."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencph.adb import messages
from opencph.adb.messages import ProtocolError


@given(st.sampled_from(sorted(messages.COMMANDS)), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=5000))
def test_a_message_comes_apart_as_it_was_put_together(command: int, arg0: int, arg1: int, payload: bytes) -> None:
    whole = messages.message(command, arg0, arg1, payload)
    head = messages.parse_header(whole[:24])
    assert head == (command, arg0, arg1, len(payload), sum(payload) & 0xFFFFFFFF)
    assert whole[24:] == payload


@given(st.binary(min_size=24, max_size=24))
def test_any_24_bytes_are_a_header_or_a_protocol_error(data: bytes) -> None:
    try:
        head = messages.parse_header(data)
    except ProtocolError:
        return
    assert head.command in messages.COMMANDS
    assert head.length <= messages.MAX_PAYLOAD


def test_a_payload_over_the_limit_is_refused_with_the_limit() -> None:
    head = messages.header(messages.WRTE, 1, 1, messages.MAX_PAYLOAD + 1)
    with pytest.raises(ProtocolError, match="1048577 bytes is over the limit of 1048576"):
        messages.parse_header(head)


def test_a_banner_tells_properties_and_features() -> None:
    banner = messages.parse_banner(messages.make_banner("device", {"ro.product.name": "x"}, ("shell_v2", "cmd")) + b"\0")
    assert banner == ("device", {"ro.product.name": "x"}, frozenset(("shell_v2", "cmd")))


@given(st.binary(max_size=300))
def test_no_banner_makes_the_parser_fail(payload: bytes) -> None:
    messages.parse_banner(payload)
