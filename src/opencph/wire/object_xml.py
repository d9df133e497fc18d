"""The XML that clients of object storage read and write, in the form that S3 and OBS have in common. No I/O."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from opencph.wire.object_names import UNLISTABLE

HEADER = '<?xml version="1.0" encoding="UTF-8"?>\n'
KEYS_PER_DELETE = 1000
PARTS_MAX = 10_000
#: Stands for what XML cannot carry.
UNKNOWN = "\ufffd"
_RETURN = {"\r": "&#13;"}  # readers would make a line feed of it


class XmlError(Exception):
    """The body is not the XML that is wanted."""


class ListedObject(NamedTuple):
    """A line of a listing. Time in milliseconds since the epoch."""

    key: str
    size: int
    modified_ms: int
    etag: str


class Listing(NamedTuple):
    """A page of a bucket. `following` is "" on the last one."""

    bucket: str
    prefix: str
    delimiter: str
    marker: str
    max_keys: int
    objects: Sequence[ListedObject]
    prefixes: Sequence[str]
    following: str
    version_2: bool
    url_encoded: bool


def iso_time(ms: int) -> str:
    """`2026-11-22T16:00:00.000Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"


def error(code: str, message: str, resource: str, request_id: str) -> bytes:
    """A refusal."""
    fields = {"Code": code, "Message": message, "Resource": resource, "RequestId": request_id, "HostId": "opencph"}
    return _document("Error", _fields(fields))


def buckets(owner_id: str, owner_name: str, found: Iterable[tuple[str, int]], region: str) -> bytes:
    """The buckets of an account: names and times of making."""
    items = "".join(
        f"<Bucket>{_fields({'Name': name, 'CreationDate': iso_time(ms), 'Location': region, 'BucketType': 'OBJECT'})}</Bucket>"
        for name, ms in found
    )
    owner = _fields({"ID": owner_id, "DisplayName": owner_name})
    return _document("ListAllMyBucketsResult", f"<Owner>{owner}</Owner><Buckets>{items}</Buckets>")


def listing(page: Listing) -> bytes:
    """A page of objects, in version 1 or 2."""

    def key(text: str) -> str:
        return _quoted(text) if page.url_encoded else text

    objects = "".join(
        "<Contents>"
        + _fields(
            {
                "Key": key(one.key),
                "LastModified": iso_time(one.modified_ms),
                "ETag": f'"{one.etag}"',
                "Size": str(one.size),
                "StorageClass": "STANDARD",
            }
        )
        + "</Contents>"
        for one in page.objects
    )
    prefixes = "".join(f"<CommonPrefixes>{_fields({'Prefix': key(one)})}</CommonPrefixes>" for one in page.prefixes)
    fields = {
        "Name": page.bucket,
        "Prefix": key(page.prefix),
        "Delimiter": key(page.delimiter),
        "MaxKeys": str(page.max_keys),
        "IsTruncated": "true" if page.following else "false",
    }
    if page.url_encoded:
        fields["EncodingType"] = "url"
    if page.version_2:
        fields["KeyCount"] = str(len(page.objects) + len(page.prefixes))
        if page.following:
            fields["NextContinuationToken"] = _quoted(page.following)
    else:
        fields["Marker"] = key(page.marker)
        if page.following:
            fields["NextMarker"] = key(page.following)
    return _document("ListBucketResult", _fields(fields) + objects + prefixes)


def location(region: str) -> bytes:
    """Where a bucket is. OBS names the region inside an element, S3 as the document's text: both are given."""
    return _document("CreateBucketConfiguration", _fields({"Location": region}))


def s3_location(region: str) -> bytes:
    """As `location`, for S3 clients."""
    return _document("LocationConstraint", escape(region))


def deleted(keys: Iterable[str], failures: Iterable[tuple[str, str, str]], quiet: bool) -> bytes:
    """What became of each key: failures are (key, code, message)."""
    gone = "" if quiet else "".join(f"<Deleted>{_fields({'Key': key})}</Deleted>" for key in keys)
    bad = "".join(f"<Error>{_fields({'Key': key, 'Code': code, 'Message': text})}</Error>" for key, code, text in failures)
    return _document("DeleteResult", gone + bad)


def upload_begun(bucket: str, key: str, upload_id: str) -> bytes:
    """A multipart upload has begun."""
    return _document("InitiateMultipartUploadResult", _fields({"Bucket": bucket, "Key": key, "UploadId": upload_id}))


def upload_done(bucket: str, key: str, etag: str, place: str) -> bytes:
    """A multipart upload has become an object."""
    fields = {"Location": place, "Bucket": bucket, "Key": key, "ETag": f'"{etag}"'}
    return _document("CompleteMultipartUploadResult", _fields(fields))


def place_wanted(body: bytes) -> str:
    """The region that a `CreateBucketConfiguration` document asks for; "" when it asks for none. Raises XmlError."""
    wanted = ""
    for one in _parsed(body, "CreateBucketConfiguration") if body.strip() else ():
        if _name(one) not in ("LocationConstraint", "Location") or len(one):
            raise XmlError(f"CreateBucketConfiguration may only have a LocationConstraint, not {_name(one)[:64]}")
        wanted = (one.text or "").strip()
    return wanted


def keys_to_delete(body: bytes) -> tuple[list[str], bool]:
    """The keys of a `Delete` document, and whether it asks for quiet. Raises XmlError."""
    root = _parsed(body, "Delete")
    keys = [_text(one, "Key") for one in root if _name(one) == "Object"]
    if not 1 <= len(keys) <= KEYS_PER_DELETE:
        raise XmlError(f"a Delete document names 1 to {KEYS_PER_DELETE} objects, not {len(keys)}")
    return keys, any(_name(one) == "Quiet" and (one.text or "").strip() == "true" for one in root)


def parts_to_join(body: bytes) -> list[tuple[int, str]]:
    """Number and ETag of the parts of a `CompleteMultipartUpload` document, in its order. Raises XmlError."""
    parts = []
    for one in _parsed(body, "CompleteMultipartUpload"):
        if _name(one) == "Part":
            number = _text(one, "PartNumber")
            if not number.isascii() or not number.isdigit():
                raise XmlError(f"PartNumber {number[:32]!r} is no number")
            parts.append((int(number), _text(one, "ETag").strip('"')))
    if not 1 <= len(parts) <= PARTS_MAX:
        raise XmlError(f"a CompleteMultipartUpload document names 1 to {PARTS_MAX} parts")
    return parts


def _parsed(body: bytes, wanted: str) -> ElementTree.Element:
    if b"<!" in body or b"\0" in body:  # a zero byte: another encoding, in which a declaration would look different
        raise XmlError("the body must be XML in UTF-8 without declarations")
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 - no declarations are let through, so there is nothing to expand
    except (ElementTree.ParseError, ValueError) as fault:
        raise XmlError(f"the body is not XML: {fault}") from fault
    if _name(root) != wanted:
        raise XmlError(f"the body must be a {wanted} document")
    return root


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(element: ElementTree.Element, name: str) -> str:
    for child in element:
        if _name(child) == name:
            return child.text or ""
    raise XmlError(f"{_name(element)} has no {name}")


def _fields(fields: dict[str, str]) -> str:
    return "".join(f"<{name}>{escape(value, _RETURN)}</{name}>" for name, value in fields.items())


def _quoted(key: str) -> str:
    return quote(key, safe="/", errors="surrogateescape")


def _document(name: str, inside: str) -> bytes:
    return f"{HEADER}<{name}>{UNLISTABLE.sub(UNKNOWN, inside)}</{name}>".encode()
