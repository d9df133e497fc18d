"""Names, ids, IMEIs and times have the forms of the contract."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from opencph.fleet.ids import new_id, new_order_id, new_uuid, product_id
from opencph.fleet.imei import check_digit, imei
from opencph.fleet.naming import phone_name, phone_name_stem, server_names
from opencph.fleet.times import utc_text


def test_the_check_digit_is_luhns() -> None:
    assert check_digit("49015420323751") == 8  # 490154203237518, the IMEI standard's own example
    assert check_digit("7992739871") == 3


@given(st.integers(0, 2**32 - 1), st.uuids())
def test_every_imei_has_15_digits_and_passes_luhn(phone_ip: int, phone_id: object) -> None:
    number = imei(phone_ip, str(phone_id).replace("-", ""))
    assert re.fullmatch(r"\d{15}", number)
    total = sum(sum(map(int, str(int(digit) * 2))) if place % 2 else int(digit) for place, digit in enumerate(reversed(number)))
    assert total % 10 == 0


@given(st.sets(st.integers(127 << 24, (128 << 24) - 1), max_size=50))
def test_phones_on_different_loopback_addresses_have_different_imeis(phone_ips: set[int]) -> None:
    assert len({imei(phone_ip, "0" * 32) for phone_ip in phone_ips}) == len(phone_ips)


def test_several_servers_get_a_serial_number_and_one_does_not() -> None:
    assert server_names("cph", 1) == ["cph"]
    assert server_names("cph", 3) == ["cph-0001", "cph-0002", "cph-0003"]


@given(st.text(alphabet="aZ9_-云手机", min_size=1, max_size=65), st.integers(1, 99_999))
def test_a_phones_name_has_at_most_65_bytes_and_tells_its_number(server_name: str, number: int) -> None:
    name = phone_name(phone_name_stem(server_name), number)
    assert len(name.encode()) <= 65
    assert name.endswith(f"-{number:05d}")
    assert server_name.startswith(name[:-6])


def test_ids_have_the_documented_forms() -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", new_id())
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", new_uuid())
    assert re.fullmatch(r"CS\d{10}[A-Z0-9]{5}", new_order_id())
    assert re.fullmatch(r"OFFI\d{18}", product_id("a", "b"))
    assert product_id("a", "b") == product_id("a", "b") != product_id("a", "c")


def test_times_are_utc_to_the_second() -> None:
    assert utc_text(1_507_593_600_999) == "2017-10-10T00:00:00Z"
