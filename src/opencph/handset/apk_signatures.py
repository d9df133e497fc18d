"""Checks who signed an APK: APK Signature Scheme v3, v2, or JAR signing (`apk_jar.py`), as Android 11 prefers and demands them.

Written from the published block format (source.android.com, "APK Signature Scheme v2" and "v3"); the cryptography is the library's.
Runs in the program that reads APKs (`apk.py`), never in a phone's host.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from itertools import chain
from typing import BinaryIO, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa

from opencph.handset.apk_names import Signed

MAGIC = b"APK Sig Block 42"
V2, V3 = 0x7109871A, 0xF05368C0
STRIPPING_PROTECTION, PROOF_OF_ROTATION = 0xBEEFF00D, 0x3BA06F8C
BLOCK_MAX = 64 << 20
CHUNK_BYTES = 1 << 20
SIGNERS_MAX = 10  # Android's limit
LINEAGE_MAX = 100
NO_CERTIFICATES = "INSTALL_PARSE_FAILED_NO_CERTIFICATES"
INCONSISTENT = "INSTALL_PARSE_FAILED_INCONSISTENT_CERTIFICATES"

Verify = Callable[[object, bytes, bytes], None]


class SignatureError(Exception):
    """The APK is not signed as it must be. `code` is Android's name of the failure."""

    def __init__(self, message: str, code: str = NO_CERTIFICATES) -> None:
        self.code = code
        super().__init__(message)


class _Pieces:
    """Reads little-endian, length-prefixed pieces. Raises SignatureError when they do not fit."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise SignatureError("the signing block is cut short")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def piece(self) -> bytes:
        return self.take(self.number())

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)

    def pieces(self) -> Iterator[_Pieces]:
        inner = _Pieces(self.piece())
        while inner:
            yield _Pieces(inner.piece())


class Zip(NamedTuple):
    """Where the parts of an APK are, in bytes from its start."""

    file: BinaryIO
    block: int  # the signing block; the central directory where there is none
    directory: int
    end: int  # the end record
    size: int
    pairs: dict[int, bytes]  # of the signing block


def open_zip(file: BinaryIO) -> Zip:
    """Find the parts. Raises SignatureError when it is no plain zip."""
    size = file.seek(0, os.SEEK_END)
    tail_at = max(0, size - 65557)
    file.seek(tail_at)
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    while at >= 0 and (len(tail) - at < 22 or struct.unpack_from("<H", tail, at + 20)[0] != len(tail) - at - 22):
        at = tail.rfind(b"PK\5\6", 0, at)
    if at < 0:
        raise SignatureError("it is no zip file")
    length, directory = struct.unpack_from("<II", tail, at + 12)
    if directory + length != tail_at + at:
        raise SignatureError("the zip's directory is not where its end says")
    block, pairs = _signing_block(file, directory)
    return Zip(file, block, directory, tail_at + at, size, pairs)


def _signing_block(file: BinaryIO, directory: int) -> tuple[int, dict[int, bytes]]:
    if directory < 32:
        return directory, {}
    file.seek(directory - 24)
    foot = file.read(24)
    if foot[8:] != MAGIC:
        return directory, {}
    length = int.from_bytes(foot[:8], "little")
    start = directory - length - 8
    if not 24 <= length <= BLOCK_MAX or start < 0:
        raise SignatureError("the signing block's size cannot be")
    file.seek(start)
    if int.from_bytes(file.read(8), "little") != length:
        raise SignatureError("the signing block's two sizes differ")
    pieces = _Pieces(file.read(length - 24))
    pairs: dict[int, bytes] = {}
    while pieces:
        pair = _Pieces(pieces.take(int.from_bytes(pieces.take(8), "little")))
        pairs.setdefault(pair.number(), pair.rest())
    return start, pairs


def check(file: BinaryIO, sdk: int, target_sdk: int) -> Signed:
    """Who signed an APK that is to be installed on an Android of this SDK level. Raises SignatureError."""
    parts = open_zip(file)
    if V3 in parts.pairs and sdk >= 28:
        return _named("v3", lambda: _v3(parts, sdk))
    if V2 in parts.pairs and sdk >= 24:
        return _named("v2", lambda: _v2(parts, sdk))
    from opencph.handset import apk_jar

    signed = apk_jar.check(file, {2, 3} if sdk >= 28 else {2} if sdk >= 24 else set())
    if sdk >= 30 and target_sdk >= 30:
        raise SignatureError("No signature found in package of version 2 or newer: an app for SDK 30 and above needs one")
    return signed


def _named(scheme: str, run: Callable[[], Signed]) -> Signed:
    try:
        return run()
    except (SignatureError, ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        why = str(error) or "the signature does not verify"
        raise SignatureError(f"Failed to collect certificates using APK Signature Scheme {scheme}: {why}") from error


# the digest of the contents


def _digest(parts: Zip, name: str) -> bytes:
    """The two-level digest over everything but the signing block."""
    parts.file.seek(parts.end)
    end = bytearray(parts.file.read())
    end[16:20] = parts.block.to_bytes(4, "little")  # as if there were no block
    chunks = chain(
        _chunks(parts, 0, parts.block),
        _chunks(parts, parts.directory, parts.end),
        (bytes(end[at : at + CHUNK_BYTES]) for at in range(0, len(end), CHUNK_BYTES)),
    )
    digests = [_chunk(name, chunk) for chunk in chunks]
    return hashlib.new(name, b"\x5a" + struct.pack("<I", len(digests)) + b"".join(digests)).digest()


def _chunk(name: str, data: bytes) -> bytes:
    made = hashlib.new(name, b"\xa5" + struct.pack("<I", len(data)))
    made.update(data)
    return made.digest()


def _chunks(parts: Zip, start: int, end: int) -> Iterator[bytes]:
    parts.file.seek(start)
    while start < end:
        data = parts.file.read(min(CHUNK_BYTES, end - start))
        if not data:
            raise SignatureError("the file is cut short")
        start += len(data)
        yield data


# signature algorithms, by their ids


def _rsa_pss(chosen: hashes.HashAlgorithm) -> Verify:
    def verify(key: object, signature: bytes, data: bytes) -> None:
        if not isinstance(key, rsa.RSAPublicKey):
            raise SignatureError("the key is of another kind than the signature")
        key.verify(signature, data, padding.PSS(padding.MGF1(chosen), chosen.digest_size), chosen)

    return verify


def plain(chosen: hashes.HashAlgorithm) -> Verify:
    """RSA with PKCS #1 v1.5, ECDSA or DSA, as the key is. Raises InvalidSignature."""

    def verify(key: object, signature: bytes, data: bytes) -> None:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), chosen)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(chosen))
        elif isinstance(key, dsa.DSAPublicKey):
            key.verify(signature, data, chosen)
        else:
            raise SignatureError("this kind of key signs no APK")

    return verify


_KEYS = {1: rsa.RSAPublicKey, 2: ec.EllipticCurvePublicKey, 3: dsa.DSAPublicKey}
# id -> (digest of the contents, how it is verified); the strongest is the one that counts
ALGORITHMS: dict[int, tuple[str, Verify]] = {
    0x0101: ("sha256", _rsa_pss(hashes.SHA256())),
    0x0102: ("sha512", _rsa_pss(hashes.SHA512())),
    0x0103: ("sha256", plain(hashes.SHA256())),
    0x0104: ("sha512", plain(hashes.SHA512())),
    0x0201: ("sha256", plain(hashes.SHA256())),
    0x0202: ("sha512", plain(hashes.SHA512())),
    0x0301: ("sha256", plain(hashes.SHA256())),
}


def _verify(algorithm: int, key: object, signature: bytes, data: bytes) -> None:
    if algorithm not in ALGORITHMS:
        raise SignatureError(f"signature algorithm {algorithm:#06x} is not supported")
    if not isinstance(key, _KEYS[1 if algorithm < 0x0200 else algorithm >> 8]):
        raise SignatureError("the key is of another kind than the signature")
    ALGORITHMS[algorithm][1](key, signature, data)


def fingerprint(certificate: bytes) -> str:
    """How a certificate is named here."""
    return hashlib.sha256(certificate).hexdigest()


# the schemes


class _SignedData(NamedTuple):
    certificate: bytes
    attributes: dict[int, bytes]
    low: int  # SDK levels, of v3
    high: int


def _signer(parts: Zip, signed: bytes, signatures: list[tuple[int, bytes]], public_key: bytes, v3: bool) -> _SignedData:
    """One signer: its best signature over its signed data, and the contents against the digest in there."""
    known = [one for one in signatures if one[0] in ALGORITHMS]
    if not known:
        raise SignatureError("no supported signature")
    algorithm, signature = max(known, key=lambda one: ALGORITHMS[one[0]][0])
    given = serialization.load_der_public_key(public_key)
    _verify(algorithm, given, signature, signed)
    pieces = _Pieces(signed)
    digests = [(one.number(), one.piece()) for one in pieces.pieces()]
    if [one[0] for one in digests] != [one[0] for one in signatures]:
        raise SignatureError("digests and signatures are of different algorithms")
    if dict(digests)[algorithm] != _digest(parts, ALGORITHMS[algorithm][0]):
        raise SignatureError(f"the {ALGORITHMS[algorithm][0]} digest of the contents did not verify")
    certificates = [one.rest() for one in pieces.pieces()]
    if not certificates:
        raise SignatureError("no certificate")
    key = x509.load_der_x509_certificate(certificates[0]).public_key()
    described = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if described != given.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo):
        raise SignatureError("the certificate is of another key")
    low, high = (pieces.number(), pieces.number()) if v3 else (0, 0)
    attributes = {one.number(): one.rest() for one in pieces.pieces()}
    return _SignedData(certificates[0], attributes, low, high)


def _signatures(pieces: _Pieces) -> list[tuple[int, bytes]]:
    return [(one.number(), one.piece()) for one in pieces.pieces()]


def _v2(parts: Zip, sdk: int) -> Signed:
    found: list[str] = []
    for signer in _Pieces(parts.pairs[V2]).pieces():
        if len(found) == SIGNERS_MAX:
            raise SignatureError(f"more than {SIGNERS_MAX} signers")
        data = _signer(parts, signer.piece(), _signatures(signer), signer.piece(), v3=False)
        wanted = data.attributes.get(STRIPPING_PROTECTION)
        if wanted is not None and int.from_bytes(wanted[:4], "little") == 3 and sdk >= 28:
            raise SignatureError("it says that it is signed with v3, but that signature was removed")
        found.append(fingerprint(data.certificate))
    if not found:
        raise SignatureError("no signers")
    return Signed(2, tuple(sorted(found)))


def _v3(parts: Zip, sdk: int) -> Signed:
    found = []
    for signer in _Pieces(parts.pairs[V3]).pieces():
        signed, low, high = signer.piece(), signer.number(), signer.number()
        signatures, key = _signatures(signer), signer.piece()
        if not low <= sdk <= high:
            continue
        data = _signer(parts, signed, signatures, key, v3=True)
        if (data.low, data.high) != (low, high):
            raise SignatureError("the SDK levels inside and outside of the signed data differ")
        found.append(data)
    if len(found) != 1:
        raise SignatureError(f"{len(found)} signers for SDK {sdk}: one is needed")
    lineage: tuple[tuple[str, int], ...] = ()
    if PROOF_OF_ROTATION in found[0].attributes:
        lineage = _lineage(found[0].attributes[PROOF_OF_ROTATION], found[0].certificate)
    return Signed(3, (fingerprint(found[0].certificate),), lineage)


def _lineage(data: bytes, last: bytes) -> tuple[tuple[str, int], ...]:
    """The proof that every certificate was named by the one before it; the present one is the last."""
    pieces = _Pieces(data)
    pieces.number()  # the version of the structure
    levels = _Pieces(pieces.rest())
    found: list[tuple[str, int]] = []
    key: object = None
    algorithm, certificate = 0, b""
    while levels and len(found) < LINEAGE_MAX:
        level = _Pieces(levels.piece())
        signed, flags, next_algorithm, signature = level.piece(), level.number(), level.number(), level.piece()
        if key is not None:
            _verify(algorithm, key, signature, signed)
        inner = _Pieces(signed)
        certificate = inner.piece()
        if key is not None and inner.number() != algorithm:
            raise SignatureError("the lineage's algorithms differ")
        key, algorithm = x509.load_der_x509_certificate(certificate).public_key(), next_algorithm
        name = fingerprint(certificate)
        if any(name == one for one, _ in found):
            raise SignatureError("a certificate is twice in the lineage")
        found.append((name, flags))
    if certificate != last:
        raise SignatureError("the lineage does not end with the signing certificate")
    return tuple(found)
