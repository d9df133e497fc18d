"""Ids of ours: 32 lower-case hex characters, order numbers, product numbers. Nothing is read from or kept in the database."""

from __future__ import annotations

import os
import secrets
import string
import time
import uuid
from hashlib import blake2b

_ORDER_LETTERS = string.ascii_uppercase + string.digits


def new_id() -> str:
    """A server, generation, phone, job or request id (cph-api.md section 5: 32 hex characters without dashes)."""
    return os.urandom(16).hex()


def new_uuid() -> str:
    """A VPC, subnet, bandwidth or EIP id: UUID text."""
    return str(uuid.UUID(bytes=os.urandom(16), version=4))


def new_order_id() -> str:
    """An order number in the form of the seed page, `CS1710111105S8IPB`: CS, yymmddHHMM in UTC, five letters or digits."""
    stamp = time.strftime("%y%m%d%H%M", time.gmtime())
    return f"CS{stamp}{''.join(secrets.choice(_ORDER_LETTERS) for _ in range(5))}"


def product_id(server_model_name: str, phone_model_name: str) -> str:
    """The product a pair of flavors is: `OFFI` and 18 digits (cph-api.md section 5), always the same for the same pair."""
    digest = blake2b(f"{server_model_name}/{phone_model_name}".encode(), digest_size=8).digest()
    return f"OFFI{int.from_bytes(digest, 'big') % 10**18:018d}"


def derived_uuid(what: str, of: str) -> str:
    """A UUID that is always the same for the same thing: for ids that clients expect and nothing here needs."""
    return str(uuid.UUID(bytes=blake2b(f"{what} {of}".encode(), digest_size=16).digest(), version=4))


def default_security_group_id(project_id: str) -> str:
    """The security group that every project has."""
    return derived_uuid("default security group", project_id)
