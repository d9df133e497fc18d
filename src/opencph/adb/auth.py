"""RSA authentication of the ADB protocol: keys in Android's format, signatures of tokens. No I/O.

Source: AOSP `packages/modules/adb/client/auth.cpp`, `system/core/libcrypto_utils/android_pubkey.cpp`.
"""

from __future__ import annotations

import base64
import binascii
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

TOKEN_BYTES = 20
_WORDS = 64  # 2048 bits
_KEY = struct.Struct("<II256s256sI")


def parse_public_key(line: bytes) -> RSAPublicKey:
    """A line of `adbkey.pub` or `adb_keys`. Raises ValueError when it is none."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    try:
        words, _, modulus, _, exponent = _KEY.unpack(base64.b64decode(line.strip(b"\0 \n").split(b" ")[0], validate=True))
    except (binascii.Error, struct.error, IndexError) as error:
        raise ValueError(f"not an adb public key: {error}") from None
    if words != _WORDS:
        raise ValueError(f"not an adb public key: {words} words instead of {_WORDS}")
    return rsa.RSAPublicNumbers(exponent, int.from_bytes(modulus, "little")).public_key()


def verify(key: RSAPublicKey, token: bytes, signature: bytes) -> bool:
    """Whether `signature` is the key owner's answer to `token` (the token stands where a SHA-1 digest would)."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, utils

    try:
        key.verify(signature, token, padding.PKCS1v15(), utils.Prehashed(hashes.SHA1()))  # noqa: S303 - the protocol's choice
    except InvalidSignature:
        return False
    return True


def sign(key: RSAPrivateKey, token: bytes) -> bytes:
    """The answer to `token`."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, utils

    return key.sign(token, padding.PKCS1v15(), utils.Prehashed(hashes.SHA1()))  # noqa: S303 - the protocol's choice
