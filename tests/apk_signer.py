"""Signs test APKs: JAR signing (v1) and APK Signature Scheme v2 and v3, each as its published format says."""

from __future__ import annotations

import base64
import datetime
import hashlib
import io
import struct
import zipfile
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

MAGIC = b"APK Sig Block 42"
V2, V3 = 0x7109871A, 0xF05368C0
ECDSA_SHA256 = 0x0201
CHUNK = 1 << 20
_CURVE_SECRET = 0x5EED
_DAY = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)  # noqa: UP017 - one name in all Pythons


@cache
def signer(name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """The key and certificate of somebody; the same ones in every process."""
    secret = int.from_bytes(hashlib.sha256(f"{_CURVE_SECRET}{name}".encode()).digest()[:31], "big")
    key = ec.derive_private_key(secret, ec.SECP256R1())
    return key, _certificate(name, key)


def _certificate(name: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> x509.Certificate:
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key.public_key()).serial_number(7)
    made = made.not_valid_before(_DAY).not_valid_after(_DAY + datetime.timedelta(days=10_000))
    if isinstance(key, rsa.RSAPrivateKey):
        return made.sign(key, hashes.SHA256())
    return made.sign(key, hashes.SHA256(), ecdsa_deterministic=True)


@cache
def _rsa_signer(name: str) -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    key = rsa.generate_private_key(65537, 2048)
    return key, _certificate(name, key)


def _piece(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def _pieces(*parts: bytes) -> bytes:
    return _piece(b"".join(_piece(part) for part in parts))


def _sign(name: str, data: bytes) -> bytes:
    return signer(name)[0].sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def _der(name: str) -> bytes:
    return signer(name)[1].public_bytes(serialization.Encoding.DER)


def _digest(data: bytes, directory: int, end: int) -> bytes:
    made, count = b"", 0
    for part in (data[:directory], data[directory:end], data[end:]):
        for at in range(0, len(part), CHUNK):
            piece = part[at : at + CHUNK]
            made += hashlib.sha256(b"\xa5" + struct.pack("<I", len(piece)) + piece).digest()
            count += 1
    return hashlib.sha256(b"\x5a" + struct.pack("<I", count) + made).digest()


def _lineage(names: list[str], flags: int) -> bytes:
    levels = []
    for number, name in enumerate(names):
        signed = _piece(_der(name)) + struct.pack("<I", ECDSA_SHA256 if number else 0)
        signature = _sign(names[number - 1], signed) if number else b""
        levels.append(_piece(signed) + struct.pack("<II", flags, ECDSA_SHA256) + _piece(signature))
    return struct.pack("<I", 1) + b"".join(_piece(level) for level in levels)


def signed_v2(data: bytes, name: str = "tester", *, schemes: tuple[int, ...] = (2,), lineage: list[str] | None = None,
              flags: int = 23, says_v3: bool = False) -> bytes:  # fmt: skip
    """The zip with a signing block of these schemes. `lineage` are the older signers, the oldest first."""
    end = data.rindex(b"PK\5\6")
    directory = struct.unpack_from("<I", data, end + 16)[0]
    digests = _pieces(struct.pack("<I", ECDSA_SHA256) + _piece(_digest(data, directory, end)))
    certificates = _pieces(_der(name))
    public = signer(name)[0].public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    pairs = b""
    for scheme in schemes:
        levels = struct.pack("<II", 28, 0x7FFFFFFF) if scheme == 3 else b""
        attributes = _piece(b"")
        if scheme == 3 and lineage:
            attributes = _pieces(struct.pack("<I", 0x3BA06F8C) + _lineage([*lineage, name], flags))
        elif scheme == 2 and says_v3:
            attributes = _pieces(struct.pack("<II", 0xBEEFF00D, 3))
        inner = digests + certificates + levels + attributes
        signatures = _pieces(struct.pack("<I", ECDSA_SHA256) + _piece(_sign(name, inner)))
        value = _pieces(_piece(inner) + levels + signatures + _piece(public))
        pairs += struct.pack("<QI", len(value) + 4, V3 if scheme == 3 else V2) + value
    size = len(pairs) + 24
    block = struct.pack("<Q", size) + pairs + struct.pack("<Q", size) + MAGIC
    tail = bytearray(data[end:])
    tail[16:20] = struct.pack("<I", directory + len(block))
    return data[:directory] + block + data[directory:end] + bytes(tail)


def signed_v1(data: bytes, name: str = "jar", *, says: str = "") -> bytes:
    """The zip with MANIFEST.MF, CERT.SF and CERT.RSA. `says` is what X-Android-APK-Signed names."""
    key, certificate = _rsa_signer(name)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        contents = {one: archive.read(one) for one in archive.namelist()}
    sections = {one: f"Name: {one}\r\nSHA-256-Digest: {_b64(body)}\r\n\r\n" for one, body in contents.items()}
    manifest = ("Manifest-Version: 1.0\r\n\r\n" + "".join(sections.values())).encode()
    head = f"Signature-Version: 1.0\r\nSHA-256-Digest-Manifest: {_b64(manifest)}\r\n"
    head += f"X-Android-APK-Signed: {says}\r\n" if says else ""
    file = (
        head + "\r\n" + "".join(f"Name: {one}\r\nSHA-256-Digest: {_b64(text.encode())}\r\n\r\n" for one, text in sections.items())
    ).encode()
    made = pkcs7.PKCS7SignatureBuilder().set_data(file).add_signer(certificate, key, hashes.SHA256())
    options = [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary]
    block = made.sign(serialization.Encoding.DER, options)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for one, body in {
            **contents,
            "META-INF/MANIFEST.MF": manifest,
            "META-INF/CERT.SF": file,
            "META-INF/CERT.RSA": block,
        }.items():
            archive.writestr(one, body)
    return out.getvalue()


def _b64(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()
