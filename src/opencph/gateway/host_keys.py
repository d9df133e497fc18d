"""The SSH host key of an installation: one for all its public addresses and gateways, kept in the database."""

from __future__ import annotations

import base64
import time

from sqlalchemy import bindparam, insert, select

from opencph.store.database import Database, Query, StoreConflictError, command, scalar
from opencph.store.tables import signing_keys

NAME = "ssh_host_key"

_READ: Query[str] = Query(select(signing_keys.c.secret).where(signing_keys.c.name == NAME), scalar)
_ADD = command(insert(signing_keys).values(name=NAME, secret=bindparam("secret"), create_ms=bindparam("create_ms")))


def host_key(database: Database) -> bytes:
    """The private key in OpenSSH's form; made at the first call. Raises StoreError."""
    found = database.row(_READ)
    if found is None:
        import asyncssh  # only here, and then it is needed anyway

        new = base64.b64encode(asyncssh.generate_private_key("ssh-ed25519").export_private_key()).decode()
        try:
            with database.write() as tx:
                tx.run(_ADD, secret=new, create_ms=time.time_ns() // 1_000_000)
            found = new
        except StoreConflictError:  # another gateway was faster
            found = database.row(_READ)
            assert found is not None
    return base64.b64decode(found)
