"""Checks of the query parameters of the list operations (cph-api.md sections 4 and 8). Pure.

An empty filter or marker counts as left out; an empty offset or limit is no number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

from opencph.wire.checks import NUL_RULE, check_id
from opencph.wire.errors import CphError, shown
from opencph.wire.images import ListCloudPhoneImagesQuery
from opencph.wire.jobs import ListJobsQuery
from opencph.wire.models import (
    ListCloudPhoneModelsQuery,
    ListCloudPhoneServerModelOfferingsQuery,
    ListCloudPhoneServerModelsQuery,
)
from opencph.wire.phones import ListCloudPhonesQuery
from opencph.wire.servers import ListCloudPhoneServersQuery
from opencph.wire.tags import ListProjectTagsQuery

Query = Mapping[str, str]

LIMIT_DEFAULT = 100
LIMIT_MAX = 100
LIMIT_MAX_PHONES = 200
LIMIT_MAX_IMAGES = 500
LIMIT_MAX_OFFERINGS = 1000
REQUEST_IDS_MAX = 20
FILTER_MAX_BYTES = 256

PHONE_STATUSES = (0, 1, 2, 3, 4, 6, 7, 8, -5, -6, -7, -8, -9)
SERVER_STATUSES = (0, 1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 13)
BAD_PAGE = "CPS.0002"
IMAGE_TYPES = ("public", "private", "share", "all")

_INTEGER = re.compile(r"-?[0-9]{1,18}")


def list_cloud_phone_servers(query: Query) -> ListCloudPhoneServersQuery:
    """Check the query of ListCloudPhoneServers."""
    version = query.get("network_version", "").lower() or None
    if version not in (None, "v1", "v2"):
        raise CphError("CPS.0240", f"network_version {shown(version)}: must be v1 or v2")
    create_since, create_until = since(query)
    return ListCloudPhoneServersQuery(
        offset=_offset(query),
        limit=_limit(query, LIMIT_MAX),
        server_name=text(query, "server_name", "CPS.0087"),
        server_id=id_of(query, "server_id", "CPS.0016"),
        network_version=version,
        phone_model_name=text(query, "phone_model_name", "CPS.0028"),
        create_since=create_since,
        create_until=create_until,
        status=choice(query, "status", "CPS.0010", SERVER_STATUSES),
    )


def list_cloud_phones(query: Query) -> ListCloudPhonesQuery:
    """Check the query of ListCloudPhones."""
    return ListCloudPhonesQuery(
        offset=_offset(query),
        limit=_limit(query, LIMIT_MAX_PHONES),
        phone_name=text(query, "phone_name", "CPS.0025"),
        server_id=id_of(query, "server_id", "CPS.0016"),
        status=choice(query, "status", "CPS.0010", PHONE_STATUSES),
        type=choice(query, "type", "CPS.0116", (0, 1)),
    )


def list_cloud_phone_server_models(query: Query) -> ListCloudPhoneServerModelsQuery:
    """Check the query of ListCloudPhoneServerModels."""
    return ListCloudPhoneServerModelsQuery(
        product_type=choice(query, "product_type", "CPS.0144", (0, 1)),
        marker=text(query, "marker", "CPS.0002"),
        limit=_limit(query, LIMIT_MAX),
    )


def list_cloud_phone_models(query: Query) -> ListCloudPhoneModelsQuery:
    """Check the query of ListCloudPhoneModels."""
    return ListCloudPhoneModelsQuery(
        status=choice(query, "status", "CPS.0010", (0, 1)),
        offset=_offset(query),
        limit=_limit(query, LIMIT_MAX),
    )


def list_cloud_phone_images(query: Query) -> ListCloudPhoneImagesQuery:
    """Check the query of ListCloudPhoneImages."""
    image_type = query.get("image_type") or "all"
    if image_type not in IMAGE_TYPES:
        raise CphError("CPS.0116", f"image_type {shown(image_type)}: must be one of {', '.join(IMAGE_TYPES)}")
    return ListCloudPhoneImagesQuery(
        image_type=image_type,
        marker=text(query, "marker", "CPS.0002"),
        limit=_limit(query, LIMIT_MAX_IMAGES, default=LIMIT_MAX_IMAGES),
    )


def list_jobs(query: Query) -> ListJobsQuery:
    """Check the query of ListJobs. `request_ids` wins when both are given; ids come back in lower case, each once."""
    given = query.get("request_ids") or query.get("request_id") or ""
    request_ids = tuple(dict.fromkeys(one for one in (part.strip().lower() for part in given.split(",")) if one))
    if any("\0" in request_id for request_id in request_ids):
        raise CphError("CPS.0050", f"request_ids {NUL_RULE}")
    if not request_ids:
        raise CphError("CPS.0049", "give request_id, or request_ids separated by commas")
    if len(request_ids) > REQUEST_IDS_MAX:
        raise CphError("CPS.0161", f"request_ids has {len(request_ids)} ids: at most {REQUEST_IDS_MAX}")
    return ListJobsQuery(request_ids=request_ids, offset=_offset(query), limit=_limit(query, LIMIT_MAX))


def list_project_tags(query: Query) -> ListProjectTagsQuery:
    """Check the query of ListProjectTags."""
    return ListProjectTagsQuery(offset=_offset(query), limit=_limit(query, LIMIT_MAX))


def list_cloud_phone_server_model_offerings(query: Query) -> ListCloudPhoneServerModelOfferingsQuery:
    """Check the query of ListCloudPhoneServerModelOfferings."""
    return ListCloudPhoneServerModelOfferingsQuery(
        marker=text(query, "marker", "CPS.0002"), limit=_limit(query, LIMIT_MAX_OFFERINGS)
    )


def limit_of(query: Query, limit_max: int, default: int) -> int:
    """limit, of a query with a default of its own."""
    return _limit(query, limit_max, default=default)


def page_of(query: Query, limit_max: int) -> tuple[int, int]:
    """offset and limit of a query that has nothing else."""
    return _offset(query), _limit(query, limit_max)


def since(query: Query) -> tuple[int | None, int | None]:
    """create_since and create_until, in seconds since the epoch."""
    low = _integer(query, "create_since", "CPS.0174", low=0)
    return low, _integer(query, "create_until", "CPS.0174", low=0)


def _integer(query: Query, field: str, code: str, *, low: int = -(2**62), high: int = 2**62) -> int | None:
    text = query.get(field)
    if text is None or (text == "" and code != BAD_PAGE):
        return None
    if _INTEGER.fullmatch(text) is None:
        raise CphError(code, f"{field} {shown(text)}: must be an integer of at most 18 digits")
    number = int(text)
    if not low <= number <= high:
        limit = f"at least {low}" if high == 2**62 else f"{low} to {high}"
        raise CphError(code, f"{field} {number}: must be {limit}")
    return number


def _offset(query: Query) -> int:
    return _integer(query, "offset", BAD_PAGE, low=0) or 0


def _limit(query: Query, high: int, *, default: int = LIMIT_DEFAULT) -> int:
    limit = _integer(query, "limit", BAD_PAGE, low=1, high=high)
    return default if limit is None else limit


def choice(query: Query, field: str, code: str, choices: Collection[int]) -> int | None:
    """A number out of a few, or None when left out."""
    number = _integer(query, field, code)
    if number is not None and number not in choices:
        raise CphError(code, f"{field} {number}: must be one of {', '.join(map(str, choices))}")
    return number


def text(query: Query, field: str, code: str) -> str | None:
    """A text, or None when left out or empty."""
    value = query.get(field) or None
    if value is not None and "\0" in value:
        raise CphError(code, f"{field} {shown(value)} {NUL_RULE}")
    if value is not None and len(value.encode()) > FILTER_MAX_BYTES:
        raise CphError(code, f"{field} {shown(value)} has {len(value.encode())} bytes: at most {FILTER_MAX_BYTES} bytes")
    return value


def id_of(query: Query, field: str, code: str, check: Callable[[str, str, str], str] = check_id) -> str | None:
    """An id, of 32 hexadecimal characters unless `check` says otherwise, or None when left out or empty."""
    value = query.get(field)
    return check(value, code, field) if value else None
