"""Bandwidths on the wire (cph-api.md section 4, numbers 50 and 51), with their checks."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from opencph.wire.checks import Fields, check_uuid, json_object
from opencph.wire.errors import CphError
from opencph.wire.query_checks import page_of
from opencph.wire.servers import ServerBandWidth

BAND_WIDTH_MAX_MBIT = 2_000
#: From one of these sizes on (Mbit/s) only multiples of the step are sizes.
STEPS = ((1_000, 500), (300, 50))


class ShowBandwidthDetailQuery(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v1/{project_id}/cloud-phone/bandwidths."""

    offset: int = 0
    limit: int = 100


class ShowBandwidthDetailResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the project's bandwidths, newest first."""

    request_id: str
    band_widths: list[ServerBandWidth]


class UpdateBandwidthRequest(msgspec.Struct, frozen=True, kw_only=True):
    """PUT /v1/{project_id}/cloud-phone/bandwidths/{band_width_id}."""

    band_width_size: int


class UpdateBandwidthResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The bandwidth has its new size."""

    request_id: str
    error_code: str | None = None
    error_msg: str | None = None


def show_bandwidth_detail(query: Mapping[str, str]) -> ShowBandwidthDetailQuery:
    """Check the query of ShowBandwidthDetail."""
    offset, limit = page_of(query, 100)
    return ShowBandwidthDetailQuery(offset=offset, limit=limit)


def band_width_id(value: str) -> str:
    """The id of a bandwidth in the path, in lower case. Raises CPS.0033."""
    return check_uuid(value, "CPS.0033", "band_width_id")


def update_bandwidth(body: bytes) -> UpdateBandwidthRequest:
    """Decode and check the body of UpdateBandwidth: 1 to 300 Mbit/s in steps of 1, to 1000 of 50, above of 500."""
    size = Fields(json_object(body)).integer("band_width_size", "CPS.0036", 1, BAND_WIDTH_MAX_MBIT)
    for above, step in STEPS:
        if size > above and size % step:
            raise CphError("CPS.0036", f"band_width_size {size}: above {above} Mbit/s it must be a multiple of {step}")
    return UpdateBandwidthRequest(band_width_size=size)
