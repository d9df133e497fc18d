"""How clients of object storage sign: AWS signature version 4, and version 2 as AWS and as OBS have it. Pure; verification only.

Version 4 signs the hash of the contents, or says that it does not; the contents themselves are checked while they stream by.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from base64 import b64encode
from calendar import timegm
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from opencph.wire.signatures import SignatureError

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"
STREAMED = "STREAMING-"  # begins the payload hash of a body in aws-chunked encoding

_V4 = re.compile(
    rb"AWS4-HMAC-SHA256 +Credential=([^/, ]{1,128})/([0-9]{8})/([^/, ]{1,64})/(s3|obs)/aws4_request, *"
    rb"SignedHeaders=([a-z0-9;._-]{1,2048}), *Signature=([0-9a-f]{64})"
)
_V2 = re.compile(rb"(AWS|OBS) ([^ :]{1,128}):([A-Za-z0-9+/=]{1,64})")
_V4_CREDENTIAL = re.compile(r"([^/, ]{1,128})/([0-9]{8}/[^/, ]{1,64}/(?:s3|obs))/aws4_request")
_V4_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z")

#: Parameters of a URL that carries its signature: of version 4, and of version 2 as AWS and OBS have it. In lower case.
_URL_V4 = ("x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires", "x-amz-signedheaders", "x-amz-signature")
_URL_V2 = ("awsaccesskeyid", "accesskeyid", "expires", "signature")
SIGNED_URL_PARAMETERS = frozenset({*_URL_V4, *_URL_V2})
URL_SECONDS_MAX = 7 * 24 * 3600

#: Query parameters that version 2 signs.
_SUBRESOURCES = frozenset(
    {
        *("acl", "append", "backtosource", "bucketstatus", "cors", "delete", "deletebucket", "directcoldaccess"),
        *("dispolicy", "encryption", "fileinterface", "inventory", "length", "lifecycle", "location", "logging"),
        *("metadata", "modify", "name", "notification", "object-lock", "obscompresspolicy", "partnumber"),
        *("policy", "policystatus", "position", "publicaccessblock", "quota", "rename", "replication"),
        *("requestpayment", "restore", "retention", "storageclass", "storageinfo", "storagepolicy", "tagging"),
        *("torrent", "truncate", "uploadid", "uploads", "versionid", "versioning", "versions", "website"),
        *("response-cache-control", "response-content-disposition", "response-content-encoding", "response-content-language"),
        *(
            "response-content-type",
            "response-expires",
        ),
    }
)


#: Where each dialect looks for the date, first to last. Version 4 signs the date that was found, wherever it was.
_DATES = {
    "AWS4": (b"x-amz-date", b"x-obs-date", b"date"),
    "AWS": (b"x-amz-date", b"date"),
    "OBS": (b"x-obs-date", b"date"),
}


class ObjectRequest(NamedTuple):
    """What is signed. `headers` has lower-case names."""

    method: str
    raw_path: bytes
    raw_query: bytes
    headers: Mapping[bytes, bytes]


class Signed(NamedTuple):
    """A parsed Authorization header, or the same from a URL. `expires_at` is in seconds since the epoch, 0 for a header."""

    access_key: str
    dialect: str  # AWS4 | AWS | OBS
    signature: bytes
    scope: str = ""  # AWS4: date/region/service
    signed_headers: tuple[str, ...] = ()
    date: str = ""  # AWS4, of a URL
    expires_at: int = 0


def is_signed_url(raw_query: bytes) -> bool:
    """Whether a URL carries a signature of object storage."""
    if b"ignature=" not in raw_query:
        return False
    names = {key.decode("latin-1").lower() for key, _ in _pairs(raw_query)}
    return "x-amz-signature" in names or {"signature", "expires"} <= names


def parse_url(raw_query: bytes) -> Signed:
    """The signature that a URL carries, good until its time is up. Raises SignatureError."""
    given = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in _pairs(raw_query)}
    if "x-amz-signature" not in given:
        access_key = given.get("accesskeyid") or given.get("awsaccesskeyid", "")
        if not access_key or not _seconds(given["expires"]):
            raise SignatureError("a signed URL needs AccessKeyId or AWSAccessKeyId, Expires and Signature")
        dialect = "OBS" if "accesskeyid" in given else "AWS"
        return Signed(access_key, dialect, given["signature"].encode(), expires_at=int(given["expires"]))
    found, seconds = _V4_CREDENTIAL.fullmatch(given.get("x-amz-credential", "")), given.get("x-amz-expires", "")
    date, names = given.get("x-amz-date", ""), tuple(given.get("x-amz-signedheaders", "").split(";"))
    if given.get("x-amz-algorithm") != "AWS4-HMAC-SHA256" or found is None or "host" not in names or not _V4_DATE.fullmatch(date):
        raise SignatureError("a signed URL needs X-Amz-Algorithm, -Credential, -Date, -Expires, -SignedHeaders and -Signature")
    if not _seconds(seconds) or not 1 <= int(seconds) <= URL_SECONDS_MAX:
        raise SignatureError(f"X-Amz-Expires must be 1 to {URL_SECONDS_MAX} seconds")
    signed = Signed(found.group(1), "AWS4", given["x-amz-signature"].encode(), found.group(2), names, date)
    return signed._replace(expires_at=signed_at(signed, {}) + int(seconds))


def _seconds(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 12


def is_object_authorization(value: bytes) -> bool:
    """Whether an Authorization header is one of object storage's."""
    return value.startswith((b"AWS4-HMAC-SHA256 ", b"AWS ", b"OBS "))


def parse_authorization(value: bytes) -> Signed:
    """Take it apart. Raises SignatureError."""
    found = _V4.fullmatch(value)
    if found is not None:
        key, date, region, service, names, signature = (part.decode("latin-1") for part in found.groups())
        headers = tuple(names.split(";"))
        if "host" not in headers or len(set(headers)) != len(headers):
            raise SignatureError("SignedHeaders must name host, and no header twice")
        return Signed(key, "AWS4", signature.encode(), f"{date}/{region}/{service}", headers)
    found = _V2.fullmatch(value)
    if found is not None:
        dialect, key, signature = (part.decode("latin-1") for part in found.groups())
        return Signed(key, dialect, signature.encode())
    raise SignatureError("the Authorization header is neither AWS4-HMAC-SHA256 nor 'AWS key:signature' nor 'OBS key:signature'")


def signed_at(signed: Signed, headers: Mapping[bytes, bytes]) -> int:
    """When the client says that it signed, in seconds since the epoch. Raises SignatureError.

    Only a date that the signature covers counts, else anybody could send an old request again with a new date beside it.
    """
    if signed.expires_at and signed.dialect != "AWS4":
        return 0  # it says only until when
    text = signed.date or _first(headers, *_DATES[signed.dialect])
    if text is None:
        raise SignatureError("there is no date header")
    found = _V4_DATE.fullmatch(text)
    try:
        if found is not None:
            numbers = tuple(int(part) for part in found.groups())
            return timegm((*numbers, 0, 0, 0))
        return int(parsedate_to_datetime(text).timestamp())
    except (ValueError, TypeError, OverflowError) as error:
        raise SignatureError("the date header is no date") from error


def payload_hash(headers: Mapping[bytes, bytes]) -> str:
    """What a version 4 signature says of the body: hex SHA-256, UNSIGNED-PAYLOAD, or STREAMING-..."""
    return _first(headers, b"x-amz-content-sha256", b"x-obs-content-sha256") or UNSIGNED


def verify(signed: Signed, secret_key: str, request: ObjectRequest) -> None:
    """Check the signature of a request's head. Raises SignatureError."""
    if signed.dialect == "AWS4":
        expected = _v4(signed, secret_key, request)
    else:
        text = _text_v2(signed, request)
        expected = b64encode(hmac.digest(secret_key.encode(), text, "sha1"))
    if not hmac.compare_digest(expected, signed.signature):
        raise SignatureError("the signature does not match the request")


def _first(headers: Mapping[bytes, bytes], *names: bytes) -> str | None:
    for name in names:
        if name in headers:
            return headers[name].decode("latin-1").strip()
    return None


# --- version 4 ----------------------------------------


@lru_cache(maxsize=256)
def _key_v4(secret_key: str, scope: str) -> bytes:
    key = f"AWS4{secret_key}".encode()
    for part in (*scope.split("/"), "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _v4(signed: Signed, secret_key: str, request: ObjectRequest) -> bytes:
    lines = []
    for name in signed.signed_headers:
        value = request.headers.get(name.encode())
        if value is None:
            raise SignatureError(f"the header {name} is signed, but is not there exactly once")
        lines.append(f"{name}:{' '.join(value.decode('latin-1').split())}\n")
    url = bool(signed.expires_at)
    unsigned = [name for name in request.headers if url and name.startswith((b"x-amz-", b"x-obs-")) and name not in _UNCHECKED]
    if strays := {name.decode("latin-1") for name in unsigned} - set(signed.signed_headers):
        raise SignatureError(f"the header {min(strays)} is not among those that the URL signs")
    given = [pair for pair in _pairs(request.raw_query) if not (url and pair[0].lower() == b"x-amz-signature")]
    pairs = sorted((_encoded(key), _encoded(value)) for key, value in given)
    canonical = "\n".join(
        (
            request.method,
            quote_from_bytes(unquote_to_bytes(request.raw_path), safe="/~"),
            "&".join(f"{key}={value}" for key, value in pairs),
            "".join(lines),
            ";".join(signed.signed_headers),
            UNSIGNED if url else payload_hash(request.headers),
        )
    )
    # Some clients send an RFC 1123 date, and sign it in the other form.
    date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(signed_at(signed, request.headers)))
    digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{date}\n{signed.scope}/aws4_request\n{digest}"
    return hmac.digest(_key_v4(secret_key, signed.scope), text.encode("latin-1"), "sha256").hex().encode()


#: Headers that are about the contents, which the URL leaves open.
_UNCHECKED = frozenset({b"x-amz-content-sha256", b"x-obs-content-sha256"})


def _pairs(raw_query: bytes) -> list[tuple[bytes, bytes]]:
    pairs = []
    for pair in raw_query.split(b"&"):
        if pair:
            key, _, value = pair.partition(b"=")
            pairs.append((unquote_to_bytes(key), unquote_to_bytes(value)))
    return pairs


def _encoded(text: bytes) -> str:
    return quote_from_bytes(text, safe="~")


# --- version 2 ----------------------------------------


def _text_v2(signed: Signed, request: ObjectRequest) -> bytes:
    prefix = b"x-obs-" if signed.dialect == "OBS" else b"x-amz-"
    headers = request.headers
    own = sorted((name, value.strip()) for name, value in headers.items() if name.startswith(prefix))
    date = b"" if prefix + b"date" in headers else headers.get(b"date", b"")
    if signed.expires_at:
        date = str(signed.expires_at).encode()
    lines = [request.method.encode(), headers.get(b"content-md5", b""), headers.get(b"content-type", b""), date]
    lines += [name + b":" + value for name, value in own]
    return b"\n".join([*lines, _resource_v2(request)])


def _resource_v2(request: ObjectRequest) -> bytes:
    path = request.raw_path
    if path.count(b"/") == 2 and path.endswith(b"/"):
        path = path[:-1]  # the bucket itself, in path style
    signed = []
    for pair in request.raw_query.split(b"&"):
        key, equals, value = pair.partition(b"=")
        if key.decode("latin-1").lower() in _SUBRESOURCES:
            signed.append((key, key + equals + unquote_to_bytes(value)))
    return path + (b"?" + b"&".join(text for _, text in sorted(signed)) if signed else b"")
