"""The rules of `com.cph.bandwidth_limit` that need the phone's server: not above its bandwidth, not on the qemu flavor (10.11)."""

from __future__ import annotations

from opencph.wire.errors import CphError
from opencph.wire.properties import check_properties

NAME = "com.cph.bandwidth_limit"
KBIT_PER_MBIT = 1000
UNLIMITED = -1


def check(property_text: str, phone_model_name: str, bandwidth_mbit: int | None) -> None:
    """Check the limit in a `property` text, if it has one. `bandwidth_mbit` is None without public address.

    Raises CphError CPS.0163 on a flavor that has no such property, CPS.0164 above the bandwidth, and as `check_properties`.
    """
    value = check_properties(property_text).get(NAME)
    if value is None:
        return
    if phone_model_name.endswith(".qemu"):
        raise CphError("CPS.0163", f"{phone_model_name} is a qemu flavor", subject=NAME)
    if bandwidth_mbit is not None and int(value) != UNLIMITED and int(value) > bandwidth_mbit * KBIT_PER_MBIT:
        most = bandwidth_mbit * KBIT_PER_MBIT
        raise CphError(
            "CPS.0164",
            f"{value} kbit/s is above the bandwidth of the server: at most {most} ({bandwidth_mbit} Mbit/s)",
            subject=NAME,
        )
