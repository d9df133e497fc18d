"""What the headers and parameters of an object request ask for: ranges, conditions, metadata, and what no store here can do.

A header that changes what an object is or who may have it is never passed over: what is not done is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime

from opencph.api.object_bodies import CHECKED, UNCHECKED
from opencph.objects import ALWAYS, NOT_MET, Condition, ObjectError, ObjectInfo

METADATA_BYTES_MAX = 2048
OVERRIDE_BYTES_MAX = 1024
#: Parameters of requests that are served; any other subresource is refused rather than ignored.
PLAIN = frozenset(
    {
        *("prefix", "delimiter", "marker", "max-keys", "list-type", "continuation-token", "start-after", "encoding-type"),
        *("fetch-owner", "location", "delete", "uploads", "uploadid", "partnumber", "apiversion", "x-id"),
    }
)
#: Parameters of a GET that replace a header of its answer.
OVERRIDES = {
    "response-content-type": "Content-Type",
    "response-content-disposition": "Content-Disposition",
    "response-content-encoding": "Content-Encoding",
    "response-content-language": "Content-Language",
    "response-cache-control": "Cache-Control",
    "response-expires": "Expires",
}
#: Headers of a put that every get answers with: kept among the metadata under these names, which no one's own metadata can have.
KEPT = ("Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Expires")
_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)")
_META = ("x-amz-meta-", "x-obs-meta-")
_OWN = ("x-amz-", "x-obs-")
#: Headers of the two protocols that are obeyed, or that change nothing of what is kept.
_KNOWN = frozenset(
    {
        *("date", "content-sha256", "decoded-content-length", "trailer", "sdk-checksum-algorithm", "checksum-mode", "te"),
        *(f"checksum-{name}" for name in (*CHECKED, *UNCHECKED, "type")),
        *("checksum-algorithm", "user-agent", "expected-bucket-owner", "mp-object-size"),
    }
)
#: Headers that may only ask for what is so anyway.
_AS_IT_IS = {
    "acl": "private",
    "bucket-type": "OBJECT",
    "location": "true",
    "storage-class": "STANDARD",
    "default-storage-class": "STANDARD",  # of a bucket, as OBS clients write it in the S3 signatures
    "object-ownership": "BucketOwnerEnforced",
    "request-payer": "requester",
}


#: Headers of OBS clients that lack the prefix of the others.
_SAME_AS = {"x-default-storage-class": "x-obs-default-storage-class", "success-action-redirect": "x-obs-success-action-redirect"}


def check_headers(headers: Mapping[bytes, bytes], domain_id: str) -> None:
    """Raises ObjectError NotImplemented for a header that asks for what this object store does not do, and AccessDenied when the
    bucket is expected to be another account's."""
    for raw_name, raw_value in headers.items():
        name = _SAME_AS.get(raw_name.decode("latin-1"), raw_name.decode("latin-1"))
        if not name.startswith(_OWN) or name.startswith(_META):
            continue
        short, value = name[6:], raw_value.decode("latin-1").strip()
        if short in ("copy-source", "copy-source-range"):
            raise ObjectError("NotImplemented", "this object store does not copy; get the object and put it", 501)
        if short == "expected-bucket-owner" and value != domain_id:
            raise ObjectError("AccessDenied", f"{name} is {value[:64]!r}, and the caller's account is another", 403)
        if short not in _KNOWN and (short not in _AS_IT_IS or value.lower() != _AS_IT_IS[short].lower()):
            only = f"; it may only be {_AS_IT_IS[short]}" if short in _AS_IT_IS else ""
            raise ObjectError("NotImplemented", f"{name}: this object store has no such function{only}", 501)


def described(headers: Mapping[bytes, bytes]) -> tuple[str, dict[str, str]]:
    """The content type, and the user's own metadata with the KEPT headers. Raises ObjectError MetadataTooLarge."""
    metadata = {
        name[len(prefix) :].decode("latin-1"): value.decode("latin-1")
        for name, value in headers.items()
        for prefix in (b"x-amz-meta-", b"x-obs-meta-")
        if name.startswith(prefix)
    }
    for name in KEPT:
        value = headers.get(name.lower().encode(), b"").decode("latin-1").strip()
        if name == "Content-Encoding":  # aws-chunked is how the contents travel
            value = ", ".join(one.strip() for one in value.split(",") if one.strip() not in ("", "aws-chunked"))
        if value:
            metadata[name] = value
    if sum(len(name) + len(value) for name, value in metadata.items()) > METADATA_BYTES_MAX:
        raise ObjectError("MetadataTooLarge", f"metadata has at most {METADATA_BYTES_MAX} bytes, with {', '.join(KEPT)}")
    return headers.get(b"content-type", b"").decode("latin-1")[:256], metadata


def answered(metadata: Mapping[str, str], kind: str) -> dict[str, str]:
    """The headers that tell what `described` has found; `kind` is the prefix of metadata in the caller's protocol."""
    return {name if name in KEPT else f"{kind}{name}": value for name, value in metadata.items()}


def span(headers: Mapping[bytes, bytes], info: ObjectInfo) -> tuple[int, int] | None:
    """First byte and length of the part that is asked for; None when it is all. Raises ObjectError InvalidRange."""
    found = _RANGE.fullmatch(headers.get(b"range", b"").decode("latin-1").replace(" ", ""))
    if found is None or found.groups() == ("", ""):
        return None
    low, high = found.groups()
    first = int(low) if low else max(0, info.size - int(high))
    last = min(int(high), info.size - 1) if low and high else info.size - 1
    if first > last:
        raise ObjectError("InvalidRange", f"the object has {info.size} bytes", 416)
    return first, last - first + 1


def overrides(query: Mapping[str, str]) -> dict[str, str]:
    """Headers of the answer that the request names. Raises ObjectError for one that no header may be."""
    found = {header: query[name] for name, header in OVERRIDES.items() if name in query}
    for header, value in found.items():
        if len(value) > OVERRIDE_BYTES_MAX or not value.isprintable():
            rule = f"must be printable, at most {OVERRIDE_BYTES_MAX} characters"
            raise ObjectError("InvalidArgument", f"response-{header.lower()} {rule}")
    return found


# --- conditions ----------------------------------------


def check_reading(headers: Mapping[bytes, bytes], info: ObjectInfo) -> None:
    """Raises ObjectError PreconditionFailed or NotModified (304). The order is that of RFC 9110, section 13.2.2."""
    match, none_match = _etags(headers, b"if-match"), _etags(headers, b"if-none-match")
    changed = info.modified_ms // 1000
    if match:
        if not match & {"*", info.etag}:
            raise ObjectError(NOT_MET, "the object has another ETag")
    elif (since := _time(headers, b"if-unmodified-since")) is not None and changed > since:
        raise ObjectError(NOT_MET, "the object has changed since")
    if none_match:
        if none_match & {"*", info.etag}:
            raise ObjectError("NotModified", "the object is the one you have", 304)
    elif (since := _time(headers, b"if-modified-since")) is not None and changed <= since:
        raise ObjectError("NotModified", "the object has not changed since", 304)


def writing(headers: Mapping[bytes, bytes]) -> Condition:
    """What a put or a deletion insists on. Raises ObjectError NotImplemented for conditions that nobody could keep here."""
    for name in (b"if-modified-since", b"if-unmodified-since"):
        if name in headers:
            raise ObjectError("NotImplemented", f"{name.decode()}: only If-Match, and If-None-Match: *, are kept on writing", 501)
    none_match = _etags(headers, b"if-none-match")
    if none_match - {"*"}:
        raise ObjectError("NotImplemented", "If-None-Match may only be * on writing", 501)
    match = _etags(headers, b"if-match")
    if not match and not none_match:
        return ALWAYS
    return Condition(frozenset(match), bool(none_match))


def _etags(headers: Mapping[bytes, bytes], name: bytes) -> set[str]:
    value = headers.get(name, b"").decode("latin-1")
    return {_bare(one) for one in value.split(",")} if value.strip() else set()


def _bare(etag: str) -> str:
    return etag.strip().removeprefix("W/").strip('"')


def _time(headers: Mapping[bytes, bytes], name: bytes) -> int | None:
    try:
        return int(parsedate_to_datetime(headers[name].decode("latin-1")).timestamp())
    except (KeyError, ValueError, TypeError, OverflowError):
        return None  # a date that is none is to be ignored


def strange(names: Iterable[str]) -> None:
    """Raises ObjectError NotImplemented for parameters that are none of ours."""
    unknown = set(names) - PLAIN - OVERRIDES.keys()
    if unknown:
        raise ObjectError("NotImplemented", f"{min(unknown)[:64]}: this object store has no such function", 501)


def check_no_uploads(query: Mapping[str, str]) -> None:
    """Raises ObjectError NotImplemented for a GET that asks which uploads, or which parts of one, there are."""
    if "uploads" in query or "uploadid" in query:
        raise ObjectError("NotImplemented", "uploads and their parts are not listed; remember what was uploaded", 501)
