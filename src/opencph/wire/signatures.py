"""Request signatures, SDK-HMAC-SHA256: make one, verify one (cph-api.md 1.2). Pure: keys and clocks are the business of `iam`.

Everything is bytes as it came over the wire. Verification uses exactly the headers that the client lists; `x-sdk-date` must be one
of them. Clients differ in what else they sign (the Go SDK and Terraform do not sign `host`).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from calendar import timegm
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

ALGORITHM = "SDK-HMAC-SHA256"
DATE_HEADER = b"x-sdk-date"
CONTENT_HEADER = b"x-sdk-content-sha256"
UNSIGNED_PAYLOAD = b"UNSIGNED-PAYLOAD"
AUTHORIZATION_MAX_BYTES = 4096
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest().encode()

_AUTHORIZATION = re.compile(rb"SDK-HMAC-SHA256 +Access=([^ ,;=]{1,128}), *SignedHeaders=([a-zA-Z0-9;._-]{1,2048}), *")
_HEX = re.compile(rb"[0-9a-fA-F]{64}")
_PLAIN_PATH = re.compile(rb"/[A-Za-z0-9._~/-]*")
_DATE = re.compile(rb"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z")


class SignatureError(Exception):
    """The request is not signed as it should be. The message says what is wrong, without saying what would be right."""


class SigningKey:
    """A secret key, made ready to sign: the two halves of HMAC-SHA256 with the key already in them."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, secret_key: bytes) -> None:
        padded = (secret_key if len(secret_key) <= 64 else hashlib.sha256(secret_key).digest()).ljust(64, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))

    def sign(self, text: bytes) -> bytes:
        """The signature of a text, in lower-case hex."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text)
        outer.update(inner.digest())
        return outer.hexdigest().encode()


class Authorization(NamedTuple):
    """A parsed Authorization header."""

    access_key: str
    signed_headers: tuple[bytes, ...]  # lower case, in the client's order
    header_names: bytes  # the same, joined by semicolons
    signature: bytes  # lower-case hex


def parse_authorization(value: bytes) -> Authorization:
    """Take an Authorization header apart. Raises SignatureError."""
    if len(value) > AUTHORIZATION_MAX_BYTES:
        raise SignatureError(f"the Authorization header is longer than {AUTHORIZATION_MAX_BYTES} bytes")
    claims, found, signature = value.rpartition(b"Signature=")
    if not found or _HEX.fullmatch(signature) is None:
        raise SignatureError(_FORM)
    return Authorization(*_parse_claims(claims), signature.lower())


_FORM = f"the Authorization header must be '{ALGORITHM} Access=..., SignedHeaders=..., Signature=<64 hex characters>'"


@lru_cache(maxsize=1024)  # a client's are the same in all its requests
def _parse_claims(claims: bytes) -> tuple[str, tuple[bytes, ...], bytes]:
    found = _AUTHORIZATION.fullmatch(claims)
    if found is None:
        raise SignatureError(_FORM)
    names = found[2].lower()
    headers = tuple(names.split(b";"))
    if DATE_HEADER not in headers:
        raise SignatureError("X-Sdk-Date must be one of SignedHeaders")
    if len(set(headers)) != len(headers):
        raise SignatureError("SignedHeaders names a header twice")
    return found[1].decode("latin-1"), headers, names


@lru_cache(maxsize=64)
def parse_date(value: bytes) -> int:
    """Seconds since the epoch of an X-Sdk-Date, `20261122T124211Z`. Raises SignatureError."""
    found = _DATE.fullmatch(value)
    if found is None:
        raise SignatureError("X-Sdk-Date must be UTC in the form 20261122T124211Z")
    year, month, day, hour, minute, second = (int(part) for part in found.groups())
    if not (year >= 1970 and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61):
        raise SignatureError("X-Sdk-Date is no date")
    return timegm((year, month, day, hour, minute, second))


def canonical_path(raw_path: bytes) -> bytes:
    """Percent-decoded once, encoded again by the rules of the signature, ending in a slash."""
    if _PLAIN_PATH.fullmatch(raw_path) is None:
        decoded = unquote_to_bytes(raw_path)
        raw_path = b"/".join(quote_from_bytes(part, safe="~").encode() for part in decoded.split(b"/"))
    return raw_path if raw_path.endswith(b"/") else raw_path + b"/"


def canonical_query(raw_query: bytes) -> bytes:
    """Pairs decoded, sorted by key and value, encoded again. `+` is a space, as it is for who reads the query afterwards."""
    if not raw_query:
        return b""
    pairs = []
    for pair in raw_query.split(b"&"):
        if pair:
            key, _, value = pair.partition(b"=")
            pairs.append((unquote_to_bytes(key.replace(b"+", b" ")), unquote_to_bytes(value.replace(b"+", b" "))))
    pairs.sort()
    return "&".join(f"{quote_from_bytes(key, safe='~')}={quote_from_bytes(value, safe='~')}" for key, value in pairs).encode()


def _signature(
    key: SigningKey,
    method: bytes,
    raw_path: bytes,
    raw_query: bytes,
    header_lines: bytes,
    header_names: bytes,
    date: bytes,
    payload_hash: bytes,
) -> bytes:
    """The signature in lower-case hex."""
    request = b"%b\n%b\n%b\n%b\n%b\n%b" % (
        method,
        canonical_path(raw_path),
        canonical_query(raw_query) if raw_query else b"",
        header_lines,
        header_names,
        payload_hash,
    )
    text = b"SDK-HMAC-SHA256\n%b\n%b" % (date, hashlib.sha256(request).hexdigest().encode())
    return key.sign(text)


def verify(
    authorization: Authorization,
    key: SigningKey,
    method: bytes,
    raw_path: bytes,
    raw_query: bytes,
    headers: Mapping[bytes, bytes],
    body: bytes,
) -> None:
    """Check a signature. `headers` has lower-case names; a header that came twice must not be in it. Raises SignatureError.

    A body hash given in X-Sdk-Content-Sha256 must be the body's, or UNSIGNED-PAYLOAD, which the client signs as such.
    """
    lines = []
    for name in authorization.signed_headers:
        value = headers.get(name)
        if value is None:
            raise SignatureError(f"the header {name.decode('latin-1')} is signed, but is not there exactly once")
        lines.append(b"%b:%b\n" % (name, value.strip()))
    hashes = [hashlib.sha256(body).hexdigest().encode() if body else EMPTY_SHA256]
    stated = headers.get(CONTENT_HEADER)
    if stated is not None and stated != hashes[0]:
        if stated != UNSIGNED_PAYLOAD:
            raise SignatureError("X-Sdk-Content-Sha256 is not the hash of the body")
        # Of an empty body some SDKs sign the hash all the same.
        hashes = [UNSIGNED_PAYLOAD] if body else [UNSIGNED_PAYLOAD, EMPTY_SHA256]
    block, names, date = b"".join(lines), authorization.header_names, headers[DATE_HEADER].strip()
    for payload_hash in hashes:
        computed = _signature(key, method, raw_path, raw_query, block, names, date, payload_hash)
        if hmac.compare_digest(computed, authorization.signature):
            return
    raise SignatureError("the signature does not match the request")


def sign(
    access_key: str,
    secret_key: str,
    method: str,
    raw_path: str,
    raw_query: str = "",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> str:
    """The Authorization header of a request, signing all `headers` (X-Sdk-Date among them), as the Python SDK does."""
    signed = sorted((name.lower().encode(), value.strip().encode()) for name, value in (headers or {}).items())
    names = b";".join(name for name, _ in signed)
    signature = _signature(
        SigningKey(secret_key.encode()),
        method.upper().encode(),
        raw_path.encode(),
        raw_query.encode(),
        b"".join(b"%b:%b\n" % header for header in signed),
        names,
        dict(signed)[DATE_HEADER],
        hashlib.sha256(body).hexdigest().encode(),
    )
    return f"{ALGORITHM} Access={access_key}, SignedHeaders={names.decode()}, Signature={signature.decode()}"
