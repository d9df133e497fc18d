"""Checks a JAR signature (APK Signature Scheme v1): META-INF/*.SF and its PKCS #7 block, MANIFEST.MF, and every file against it."""

from __future__ import annotations

import base64
import hashlib
import re
import zipfile
from typing import BinaryIO

from asn1crypto import cms  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes

from opencph.handset.apk_names import Signed
from opencph.handset.apk_signatures import INCONSISTENT, SignatureError, fingerprint, plain

MANIFEST = "META-INF/MANIFEST.MF"
SIGNATURE_FILE = re.compile(r"META-INF/[^/]+\.SF", re.IGNORECASE)
BLOCK_FILE = re.compile(r"META-INF/[^/]+\.(RSA|DSA|EC)", re.IGNORECASE)
DIGESTS = {"SHA-512": "sha512", "SHA-384": "sha384", "SHA-256": "sha256", "SHA1": "sha1"}  # the strongest first
HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1,  # old apps are signed so, and Android takes them
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
META_MAX = 32 << 20
PIECE_BYTES = 1 << 20

Section = dict[str, str]


def check(file: BinaryIO, newer: set[int]) -> Signed:
    """Who signed. `newer` are the schemes that a signature file must not name, for they would have been found.

    Raises SignatureError.
    """
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if len(set(names)) != len(names):
            raise SignatureError("a file is in it twice")
        blocks = [name for name in names if BLOCK_FILE.fullmatch(name)]
        if not blocks or MANIFEST not in names:
            raise SignatureError("Package has no certificates at entry AndroidManifest.xml")
        manifest = _small(archive, MANIFEST)
        _, sections = _parse(manifest)
        signers = []
        for block in blocks:
            name = next((one for one in names if one.upper() == f"{block.rpartition('.')[0]}.SF".upper()), "")
            if not name:
                raise SignatureError(f"{block} has no .SF file beside it")
            signers.append(_signer(_small(archive, name), _small(archive, block), manifest, newer))
        _contents(archive, sections)
    return Signed(1, tuple(sorted(set(signers))))


def _small(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > META_MAX:
        raise SignatureError(f"{name} is larger than {META_MAX} bytes")
    return archive.read(name)


def _parse(data: bytes) -> tuple[Section, dict[str, tuple[Section, bytes]]]:
    """The main section, and the others by name with their raw bytes."""
    parts = re.split(rb"(?<=\n\r\n)|(?<=\n\n)", data)
    sections = [(_attributes(part), part) for part in parts if part.strip()]
    if not sections:
        raise SignatureError("an empty manifest")
    return sections[0][0], {one["Name"]: (one, part) for one, part in sections[1:] if "Name" in one}


def _attributes(part: bytes) -> Section:
    lines = re.sub(rb"\r?\n ", b"", part).decode("utf-8", "replace").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines) if key}


def _digest_matches(section: Section, suffix: str, data: bytes) -> bool | None:
    """Whether the strongest digest in a section is that of the data; None when it has none."""
    for name, algorithm in DIGESTS.items():
        value = section.get(f"{name}-Digest{suffix}") or (section.get(f"SHA-1-Digest{suffix}") if name == "SHA1" else None)
        if value:
            return base64.b64encode(hashlib.new(algorithm, data).digest()).decode() == value
    return None


def _signer(signature_file: bytes, block: bytes, manifest: bytes, newer: set[int]) -> str:
    certificate = _verified(signature_file, block)
    main, named = _parse(signature_file)
    stripped = {word.strip() for word in main.get("X-Android-APK-Signed", "").split(",")} & {str(one) for one in newer}
    if stripped:
        raise SignatureError(f"it says that it is signed with v{max(stripped)}, but that signature was removed")
    if not _digest_matches(main, "-Manifest", manifest):
        _, sections = _parse(manifest)
        for name, (section, _) in named.items():
            if name not in sections or not _digest_matches(section, "", sections[name][1]):
                raise SignatureError("the signature file is of another manifest")
        if set(sections) - set(named):
            raise SignatureError("the signature file does not name every file")
    return fingerprint(certificate)


def _verified(signed: bytes, block: bytes) -> bytes:
    """The DER certificate whose key signed these bytes."""
    try:
        info = cms.ContentInfo.load(block)
        data = info["content"]
        signer = data["signer_infos"][0]
        serial = signer["sid"].chosen["serial_number"].native
        certificate = next(
            one.chosen.dump() for one in data["certificates"] if one.chosen["tbs_certificate"]["serial_number"].native == serial
        )
        algorithm = str(signer["digest_algorithm"]["algorithm"].native)
        attributes = signer["signed_attrs"]
        message = signed
        if attributes.native:
            digest = next(one["values"][0].native for one in attributes if one["type"].native == "message_digest")
            if digest != hashlib.new(algorithm, signed).digest():
                raise SignatureError("the signature block is of another signature file")
            message = attributes.untag().dump()
            message = b"\x31" + message[1:]  # signed as a SET, stored with a tag of its own
        key = x509.load_der_x509_certificate(certificate).public_key()
        plain(HASHES[algorithm]())(key, signer["signature"].native, message)
    except (ValueError, TypeError, KeyError, IndexError, StopIteration, InvalidSignature, AttributeError) as error:
        raise SignatureError("the signature block does not verify") from error
    return bytes(certificate)


def _contents(archive: zipfile.ZipFile, sections: dict[str, tuple[Section, bytes]]) -> None:
    for info in archive.infolist():
        name = info.filename
        if name.endswith("/") or name == MANIFEST or SIGNATURE_FILE.fullmatch(name) or BLOCK_FILE.fullmatch(name):
            continue
        if name not in sections:
            raise SignatureError(f"Package has no certificates at entry {name[:64]}", INCONSISTENT)
        section = sections[name][0]
        chosen = next(((key, algorithm) for key, algorithm in DIGESTS.items() if f"{key}-Digest" in section), None)
        if chosen is None:
            chosen, section = ("SHA1", "sha1"), {"SHA1-Digest": section.get("SHA-1-Digest", "")}
        made = hashlib.new(chosen[1])
        with archive.open(info) as file:
            while piece := file.read(PIECE_BYTES):
                made.update(piece)
        if base64.b64encode(made.digest()).decode() != section[f"{chosen[0]}-Digest"]:
            raise SignatureError(f"{name[:64]} is not what was signed")
