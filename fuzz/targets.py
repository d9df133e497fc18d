"""The targets that need nothing but bytes: wire decoding, signatures, tokens, routes, XML, archives, packages. How they run is
`__main__`'s; those that need a phone or a tunnel are in `phone_targets` and `tunnel_target`."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from opencph.adb.messages import HEADER_BYTES, ProtocolError, parse_banner, parse_header
from opencph.adb.shell_protocol import PacketReader, packet
from opencph.api import object_bodies
from opencph.api.routes import ROUTES
from opencph.api.routing import Router
from opencph.fleet import archives
from opencph.iam import keypairs, policies, tickets, tokens
from opencph.objects import ObjectError
from opencph.wire import (
    billing_checks,
    command_checks,
    eip_checks,
    identity_checks,
    keypair_checks,
    object_signatures,
    object_xml,
    phone_checks,
    properties,
    query_checks,
    server_action_checks,
    server_checks,
    share_checks,
    signatures,
    tag_checks,
    vpc_checks,
)
from opencph.wire.errors import CphError, IdentityError, ServiceError
from opencph.wire.signatures import SignatureError

KEY = b"k" * 32


class Target(NamedTuple):
    """One thing to fuzz. `seeds` are inputs that get far; `longest` is how many bytes an input may have."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    longest: int = 4096


# --- bodies and queries ----------------------------------------

_BODY_MODULES = (
    *(server_checks, server_action_checks, phone_checks, command_checks, share_checks, tag_checks, vpc_checks, eip_checks),
    *(keypair_checks, identity_checks, billing_checks),
)


def _checks(modules: Iterable[Any], first: str) -> list[Callable[..., object]]:
    """The functions whose only parameter is called so: one per operation."""
    found = []
    for module in modules:
        for name, value in sorted(vars(module).items()):
            code = getattr(getattr(value, "__wrapped__", value), "__code__", None)
            if code is not None and not name.startswith("_") and value.__module__ == module.__name__:
                parameters = code.co_varnames[: code.co_argcount]
                if parameters == (first,):
                    found.append(value)
    return found


BODY_CHECKS = _checks(_BODY_MODULES, "body")
QUERY_CHECKS = _checks((query_checks, share_checks, billing_checks), "query")


def bodies(data: bytes) -> None:
    """A byte that chooses the operation, and its body."""
    with suppress(CphError, IdentityError, ServiceError):
        BODY_CHECKS[data[0] % len(BODY_CHECKS) if data else 0](data[1:])


def _body_seeds() -> Iterable[bytes]:
    anything = {
        "server_name": "a",
        "phone_ids": ["0" * 32],
        "phones": [{"phone_id": "0" * 32, "property": '{"ro.x":"1"}', "new_size": 10}],
        "server_ids": ["0" * 32],
        "count": 1,
        "extend_param": {"charging_mode": 1},
        "nics": [{"subnet_id": "fca063f6-b942-42a8-9004-e5545f58d6a2"}],
        "public_ip": {"eip": {"type": "5_bgp"}},
        "band_width": {"band_width_share_type": 0, "band_width_size": 300},
        "ports": [{"name": "web", "listen_port": 20000, "internet_accessible": "TRUE"}],
        "command": "shell",
        "content": "ls /data",
        "tags": [{"key": "a", "value": "b"}],
        "action": "create",
        "vpc": {"name": "vpc", "cidr": "10.9.0.0/16"},
        "subnet": {"name": "s", "cidr": "10.9.0.0/24", "gateway_ip": "10.9.0.1"},
        "auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "x", "password": "y"}}}},
        "keypair": {"name": "made", "public_key": "ssh-ed25519 AAAA"},
    }
    whole = json.dumps(anything).encode()
    for number, check in enumerate(BODY_CHECKS):
        assert callable(check)
        yield bytes([number]) + whole
    yield b"\0" + b'{"a":' * 1000
    yield b'\0{"a":NaN,"a":1e999,"b":"\\ud800","c":' + b"9" * 4400 + b"}"


def queries(data: bytes) -> None:
    """A byte that chooses the operation, and its query string."""
    pairs = (pair.partition(b"=") for pair in data[1:].split(b"&") if pair)
    query = {unquote_plus(key.decode("latin-1")): unquote_plus(value.decode("latin-1")) for key, _, value in pairs}
    with suppress(CphError, IdentityError, ServiceError):
        QUERY_CHECKS[data[0] % len(QUERY_CHECKS) if data else 0](query)


def _query_seeds() -> Iterable[bytes]:
    for number in range(len(QUERY_CHECKS)):
        yield (
            bytes([number])
            + b"limit=10&offset=0&server_id="
            + b"0" * 32
            + b"&status=5&create_since=1&name=%E6%89%8B&product_type=0"
        )


def property_text(data: bytes) -> None:
    """The JSON text in the `property` field."""
    with suppress(CphError):
        properties.check_custom_properties(properties.check_properties(data.decode("utf-8", "replace")))


def policy(data: bytes) -> None:
    """A policy document, and one question to it."""
    with suppress(policies.PolicyError):
        policies.parse(data.decode("utf-8", "replace")).allows("cph:phones:list")


def public_key(data: bytes) -> None:
    """A public key as a user sends it."""
    with suppress(ValueError):
        keypairs.fingerprint(data.decode("utf-8", "replace"))


# --- who is calling ----------------------------------------


def signature(data: bytes) -> None:
    """An Authorization header, a path, a query and a header, one per line. Nobody has the key: nothing may pass."""
    lines = [*data.split(b"\n"), b"", b"", b"", b""]
    path, query = signatures.canonical_path(lines[1]), signatures.canonical_query(lines[2])
    assert signatures.canonical_path(path) == path, "a canonical path is canonical"
    assert signatures.canonical_query(query) == query, "a canonical query is canonical"
    try:
        authorization = signatures.parse_authorization(lines[0])
        headers = {signatures.DATE_HEADER: b"20261122T124211Z", lines[3].partition(b":")[0].lower(): lines[3].partition(b":")[2]}
        signatures.parse_date(headers[signatures.DATE_HEADER])
        signatures.verify(authorization, signatures.SigningKey(KEY), b"GET", lines[1], lines[2], headers, b"")
    except SignatureError:
        return
    raise AssertionError("a signature was forged")


def _signature_seeds() -> Iterable[bytes]:
    claim = b"SDK-HMAC-SHA256 Access=AK, SignedHeaders=host;x-sdk-date, Signature=" + b"0" * 64
    yield claim + b"\n/v1/%E6%89%8B/a%2Fb\nlimit=1&limit=2&a=%20+\nHost: x"
    yield claim.replace(b"host;", b"") + b"\n/\n\nx-sdk-date:20261122T124211Z"


def object_signature(data: bytes) -> None:
    """As `signature`, in the three dialects of object storage."""
    lines = [*data.split(b"\n"), b"", b"", b"", b""]
    headers = {b"host": b"x", b"date": lines[3], b"x-amz-date": lines[4] if len(lines) > 4 else b""}
    request = object_signatures.ObjectRequest("GET", lines[1], lines[2], headers)
    try:
        signed = object_signatures.parse_authorization(lines[0])
        object_signatures.verify(signed, KEY.decode(), request)
        object_signatures.signed_at(signed, headers)
    except SignatureError:
        return
    raise AssertionError("a signature was forged")


def _object_signature_seeds() -> Iterable[bytes]:
    v4 = b"AWS4-HMAC-SHA256 Credential=AK/20261122/cn-east-3/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=" + b"0" * 64
    date = b"Sun, 22 Nov 2026 12:00:00 GMT"
    yield v4 + b"\n/bucket/a%2Fb\nuploads&x=%20\n" + date + b"\n20261122T120000Z"
    for dialect in (b"AWS", b"OBS"):
        yield dialect + b" AK:AAAAAAAAAAAAAAAAAAAAAAAAAAA=\n/bucket/\nuploads&partnumber=1\n" + date


def token(data: bytes) -> None:
    """A token, and a ticket."""
    try:
        tokens.read(KEY, data, 1)
    except tokens.TokenError:
        pass
    else:
        raise AssertionError("a token was forged")
    try:
        tickets.verify(KEY, data.decode("latin-1"), 1)
    except tickets.TicketError:
        return
    raise AssertionError("a ticket was forged")


_router = Router(ROUTES)


def route(data: bytes) -> None:
    """A method and a path. What is found must be of that method, with no empty and no unencodable parameter."""
    method, _, path = data.replace(b"\0", b"").partition(b" ")  # the HTTP server lets no raw NUL through
    found = _router.find(method.decode("latin-1"), path)
    if found is not None:
        assert found[0].method == method.decode("latin-1")
        assert all(found[1]) and all("\0" not in value for value in found[1])


def _route_seeds() -> Iterable[bytes]:
    for one in ROUTES:
        yield f"{one.method} {one.path}".encode()
    yield b"GET /v1/a%2Fb/cloud-phone/..%2fphones/%00"


# --- objects ----------------------------------------


def xml(data: bytes) -> None:
    """The documents that object clients send."""
    for read in (object_xml.keys_to_delete, object_xml.parts_to_join, object_xml.place_wanted):
        with suppress(object_xml.XmlError):
            read(data)


def _xml_seeds() -> Iterable[bytes]:
    yield b"<Delete><Quiet>true</Quiet><Object><Key>a</Key></Object></Delete>"
    yield b'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>&#x41;&amp;</Key></Object></Delete>'
    yield b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;x&quot;</ETag></Part></CompleteMultipartUpload>"
    yield b"<CreateBucketConfiguration><LocationConstraint>here</LocationConstraint></CreateBucketConfiguration>"
    yield b"<?xml version='1.0' encoding='UTF-16'?><!DOCTYPE a [<!ENTITY b 'c'>]><Delete>&b;</Delete>"
    yield b"<a>" * 500


def chunked(data: bytes) -> None:
    """An aws-chunked body, cut into pieces of the size of its first byte."""
    step = (data[0] if data else 0) + 1

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(1, len(data), step):
            yield data[at : at + step]

    async def read() -> int:
        return sum([len(piece) async for piece in object_bodies.unchunked(pieces())])

    with suppress(ObjectError):
        assert asyncio.run(read()) <= len(data)


def archive(data: bytes) -> None:
    """A tar archive. What is let through must be harmless."""
    try:
        archives.check(io.BytesIO(data), 1 << 20)
        for entry in archives.entries(io.BytesIO(data)):
            assert entry.path.startswith("/") and ".." not in entry.path.split("/") and "\0" not in entry.path
            assert not entry.mode & 0o7000 and entry.size <= 1 << 20
            assert sum(map(len, entry.pieces())) <= 1 << 20
    except archives.ArchiveError:
        return


def _archive_seeds() -> Iterable[bytes]:
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=form) as made:
            for name, kind in (("data/a", tarfile.REGTYPE), ("data/b", tarfile.DIRTYPE), ("data/b/l", tarfile.SYMTYPE)):
                info = tarfile.TarInfo(name)
                info.type, info.linkname, info.size = kind, "../a" if kind == tarfile.SYMTYPE else "", 3 if name == "data/a" else 0
                made.addfile(info, io.BytesIO(b"abc"))
            if form != tarfile.USTAR_FORMAT:
                made.addfile(tarfile.TarInfo("data/" + "x" * 200))
        yield file.getvalue()[:4096]


# --- packages ----------------------------------------

APK_SECONDS = 40.0
_READER = (sys.executable, "-I", "-m", "opencph.handset.apk")


def package(data: bytes) -> None:
    """An APK, or the binary manifest of one. Any answer will do, but there must be one, in time and within its memory."""
    if not data.startswith(b"PK"):
        made_of = io.BytesIO()
        with zipfile.ZipFile(made_of, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("AndroidManifest.xml", data)
            made.writestr("resources.arsc", data)
        data = made_of.getvalue()
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        done = subprocess.run(_READER, stdin=file, capture_output=True, timeout=APK_SECONDS, check=False)  # noqa: S603 - our own words
    lines = done.stdout.decode().splitlines()
    assert done.returncode in (0, 1, -9, -24), done  # -9 and -24: the limits of memory and processor time
    assert len(lines) <= 1 or done.returncode == 0, done


def _package_seeds() -> Iterable[bytes]:
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from apk_maker import apk

    package = apk()
    yield package
    with zipfile.ZipFile(io.BytesIO(package)) as members:
        yield members.read("AndroidManifest.xml")


# --- ADB, as far as it needs no phone ----------------------------------------


def adb_header(data: bytes) -> None:
    """A message's header, and a banner."""
    with suppress(ProtocolError):
        head = parse_header(data[:HEADER_BYTES].ljust(HEADER_BYTES, b"\0"))
        assert head.length <= 1 << 20
    parse_banner(data)


def shell_packets(data: bytes) -> None:
    """Packets of the shell protocol: cut anywhere, they say the same."""

    def read(step: int) -> tuple[list[tuple[int, bytes]], bool]:
        reader = PacketReader()
        found: list[tuple[int, bytes]] = []
        try:
            for at in range(1, len(data), step):
                for kind, piece in reader.feed(memoryview(data)[at : at + step]):
                    if found and found[-1][0] == kind:
                        found[-1] = (kind, found[-1][1] + bytes(piece))
                    else:
                        found.append((kind, bytes(piece)))
        except ValueError:
            return found, True
        return found, False

    assert read(1) == read((data[0] if data else 0) + 1)


TARGETS: dict[str, Target] = {
    "bodies": Target(bodies, _body_seeds, 16384),
    "queries": Target(queries, _query_seeds),
    "properties": Target(property_text, lambda: [b'{"ro.product.model":"x","sys.prop.writephonenum":"13666666666"}', b"{}"]),
    "policies": Target(policy, lambda: [b'{"Version":"1.1","Statement":[{"Effect":"Allow","Action":["cph:phones:*","*"]}]}']),
    "public-keys": Target(public_key, lambda: [b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== name"]),
    "signatures": Target(signature, _signature_seeds),
    "object-signatures": Target(object_signature, _object_signature_seeds),
    "tokens": Target(
        token,
        lambda: [
            tokens.issue(b"other" * 8, "0" * 32, "1" * 32, 1, 1000)[0].encode(),
        ],
    ),
    "routes": Target(route, _route_seeds, 512),
    "object-xml": Target(xml, _xml_seeds),
    "object-bodies": Target(chunked, lambda: [b"\x035;chunk-signature=x\r\nhello\r\n0\r\nx-amz-trailer: y\r\n\r\n"]),
    "archives": Target(archive, _archive_seeds, 8192),
    "packages": Target(package, _package_seeds, 16384),
    "adb-messages": Target(adb_header, lambda: [b"CNXN" + bytes(20), b"host::features=shell_v2,cmd;a=b"]),
    "shell-packets": Target(shell_packets, lambda: [b"\x02" + packet(0, b"abc") + packet(5, b"24x80,0x0") + packet(4)]),
}
