"""SSH key pairs: making one, and its fingerprint. Storing them is `bootstrap`'s and the key pair service's."""

from __future__ import annotations

import base64
import hashlib
from typing import NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

# As the vendor's key pair service makes them. The PEM form is the old one, which every SSH client and library reads.
RSA_BITS = 2048


class KeyPair(NamedTuple):
    """A key pair as text."""

    private_key: str  # PEM
    public_key: str  # OpenSSH one-line form
    fingerprint: str


def make_keypair(name: str) -> KeyPair:
    """Make an RSA key pair."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    return KeyPair(private.decode(), f"{public} {name}", fingerprint(public))


def fingerprint(public_key: str) -> str:
    """MD5 of the key, in hex pairs with colons, as key pair services show it. Raises ValueError when it is no key."""
    parts = public_key.split()
    if len(parts) < 2:
        raise ValueError("a public key is '<type> <base64> [comment]'")
    digest = hashlib.md5(base64.b64decode(parts[1], validate=True), usedforsecurity=False).hexdigest()
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))
