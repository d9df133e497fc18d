"""The names of object storage: buckets, keys, `obs://bucket/key` (cph-api.md sections 24 and 37 to 45). Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
BUCKET_RULE = "a bucket's name has 3 to 63 lower-case letters, digits, '-' and '.', a letter or digit first and last"
#: What the other services have as the first part of their paths on the same endpoint.
TAKEN = frozenset({"v2.0", "v2.1", "healthz", "readyz", "openapi.json", "console", "metrics"})
KEY_BYTES_MAX = 1024
#: What XML 1.0 has no way to write (section 2.2), and bytes that are no UTF-8, as surrogates.
UNLISTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class ObjectName(NamedTuple):
    """Where an object is."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"obs://{self.bucket}/{self.key}"


def bucket_problem(name: str) -> str:
    """What is wrong with a bucket's name; "" when nothing is."""
    if BUCKET.fullmatch(name) is None or ".." in name or ".-" in name or "-." in name:
        return BUCKET_RULE
    if re.fullmatch(r"[0-9]+(\.[0-9]+){3}", name):
        return "a bucket's name must not look like an IP address"
    return f"{name} is part of this endpoint's own paths" if name in TAKEN else ""


def key_problem(key: str) -> str:
    """What keeps a new object's key out of every listing; "" when nothing does."""
    found = UNLISTABLE.search(key)
    return f"the key has the character {found.group()!a}, which no listing (XML 1.0) can carry; leave it out" if found else ""


def parse(text: str) -> ObjectName | None:
    """`obs://bucket/key`; None when it is not of that form."""
    bucket, slash, key = text.removeprefix("obs://").partition("/")
    if not text.startswith("obs://") or not slash or not key or bucket_problem(bucket) or len(key.encode()) > KEY_BYTES_MAX:
        return None
    return ObjectName(bucket, key)
