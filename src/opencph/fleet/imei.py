"""IMEIs: 15 digits with a valid check digit (seed page: `imei` is a string). Made from a phone's address and id."""

from __future__ import annotations

#: First two digits: the reporting body, as in the seed page's example.
REPORTING_BODY = "86"


def check_digit(digits: str) -> int:
    """The Luhn digit that completes `digits` (14 of them for an IMEI)."""
    total = 0
    for place, digit in enumerate(map(int, reversed(digits))):
        doubled = digit * 2 if place % 2 == 0 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return -total % 10


def imei(phone_ip: int, phone_id: str) -> str:
    """The IMEI of a phone. `phone_ip` as a number; its last 24 bits keep living phones apart, the id tells a successor on the
    same address from its predecessor."""
    digits = f"{REPORTING_BODY}{phone_ip & 0xFFFFFF:08d}{int(phone_id[:8], 16) % 10_000:04d}"
    return f"{digits}{check_digit(digits)}"
