"""What a phone knows of who signed a package, and what that allows. Checking signatures is `apk_signatures.py`, elsewhere."""

from __future__ import annotations

from typing import NamedTuple

INSTALLED_DATA, ROLLBACK = 1, 8  # what an older certificate of a lineage is still trusted with


class Signed(NamedTuple):
    """Who signed: certificates by the SHA-256 of their DER bytes, in hex."""

    scheme: int  # 1, 2 or 3
    signers: tuple[str, ...]
    lineage: tuple[tuple[str, int], ...] = ()  # v3: the older and the present certificate, with what each is trusted with


def may_update(old: Signed, new: Signed) -> bool:
    """Whether an installed package takes an update from this signer: the same one, or one that its lineage leads to."""
    if not old.signers or set(old.signers) == set(new.signers):
        return True
    if len(old.signers) != 1 or len(new.signers) != 1:
        return False
    forward = dict(new.lineage).get(old.signers[0], 0) & INSTALLED_DATA
    back = dict(old.lineage).get(new.signers[0], 0) & ROLLBACK
    return bool(forward or back)
