"""The endpoint with a certificate: clients that trust its issuer are served, others and plain HTTP are not; keys are kept."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.http.http_config import HttpConfig
from huaweicloudsdkcph.v1 import CphClient, ListCloudPhoneModelsRequest

from api.api_service import Service
from opencph import doctor
from opencph.api.tls import TlsError, tls_of
from opencph.settings import Settings
from security.raw_http import connect, service


class Files(NamedTuple):
    """A certificate with its key, and its issuer's certificate."""

    cert: Path
    key: Path
    ca: Path


def make(directory: Path, *, days: int = 90) -> Files:
    """A certificate for 127.0.0.1, issued by an authority of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)

    def issue(name: str, key: Any, issuer: str, issuer_key: Any, ca: bool) -> x509.Certificate:
        def named(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named(issuer)).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=100))
        builder = builder.not_valid_after(now + datetime.timedelta(days=days))
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
        builder = builder.add_extension(authority, critical=False)
        if not ca:
            here = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([here, x509.DNSName("localhost")]), critical=False)
        return builder.sign(issuer_key, hashes.SHA256())

    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    files = Files(directory / "cert.pem", directory / "key.pem", directory / "ca.pem")
    authority = issue("test authority", authority_key, "test authority", authority_key, True)
    files.ca.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    own = issue("opencph", key, "test authority", authority_key, False)
    files.cert.write_bytes(own.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files.key.touch(0o600)
    files.key.write_bytes(pem)
    return files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def api(files: Files) -> Iterator[Service]:
    with service(174, tls_cert=str(files.cert), tls_key=str(files.key)) as running:
        yield running


def test_who_trusts_the_issuer_is_served_and_who_does_not_is_warned(api: Service, files: Files) -> None:
    assert api.endpoint.startswith("https://127.0.0.1:")
    assert json.loads((api.data / "credentials.json").read_text())["endpoint"] == api.endpoint
    context = ssl.create_default_context(cafile=str(files.ca))
    assert httpx.get(f"{api.endpoint}/healthz", verify=context).json() == {"status": "ok"}
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{api.endpoint}/healthz")


def test_the_vendors_sdk_works_over_tls(api: Service, files: Files) -> None:
    config = HttpConfig.get_default_config()
    config.ssl_ca_cert = str(files.ca)
    keys = api.credentials["access_key"], api.credentials["secret_key"], api.project_id
    client = (
        CphClient.new_builder()
        .with_http_config(config)
        .with_credentials(BasicCredentials(*keys))
        .with_endpoints([api.endpoint])
        .build()
    )
    assert client.list_cloud_phone_models(ListCloudPhoneModelsRequest()).phone_models


def test_a_token_shows_addresses_with_tls(api: Service, files: Files) -> None:
    user = {
        "name": api.credentials["user_name"],
        "password": api.credentials["password"],
        "domain": {"name": api.credentials["domain_name"]},
    }
    auth = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": {"project": {"id": api.project_id}}}
    context = ssl.create_default_context(cafile=str(files.ca))
    catalog = httpx.post(f"{api.endpoint}/v3/auth/tokens", json={"auth": auth}, verify=context).json()["token"]["catalog"]
    assert {endpoint["url"].split(":")[0] for one in catalog for endpoint in one["endpoints"]} == {"https"}


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
def test_plain_http_and_old_versions_get_nothing(api: Service) -> None:
    with connect(api) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        plain.settimeout(20)
        with suppress(ConnectionError):
            assert b"HTTP/1.1 200" not in plain.recv(65536)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with connect(api) as old, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(old)


def test_handshakes_that_stall_hold_up_nobody(api: Service, files: Files) -> None:
    stalled = [connect(api) for _ in range(30)]
    for connection in stalled[::2]:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01")
    context = ssl.create_default_context(cafile=str(files.ca))
    assert httpx.get(f"{api.endpoint}/healthz", verify=context).status_code == 200
    for connection in stalled:
        connection.close()


def settings(files: Files, **more: object) -> Settings:
    return Settings.load({"tls_cert": str(files.cert), "tls_key": str(files.key), **more}, environ={})


def test_a_key_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    files = make(tmp_path)
    assert tls_of(settings(files)) is not None
    files.key.chmod(0o604)
    with pytest.raises(TlsError, match="chmod 600"):
        tls_of(settings(files))
    with pytest.raises(AssertionError, match="chmod 600"), service(175, tls_cert=str(files.cert), tls_key=str(files.key)):
        pass


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    files, others = make(tmp_path / "a"), make(tmp_path / "b")
    for broken, words in (
        (files._replace(key=others.key), "do not belong together"),
        (files._replace(cert=tmp_path / "none"), "No such file"),
        (files._replace(cert=files.key), "cannot be used"),
    ):
        with pytest.raises(TlsError, match=words):
            tls_of(settings(broken))
    with pytest.raises(TlsError, match="tls_key is not set"):
        tls_of(Settings.load({"tls_cert": str(files.cert)}, environ={}))
    pem = serialization.load_pem_private_key(files.key.read_bytes(), None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    files.key.write_bytes(pem)
    with pytest.raises(TlsError, match="password"):
        tls_of(settings(files))


@pytest.mark.parametrize(
    ("days", "state", "words"), [(90, "ok", "good until"), (5, "note", "good until"), (-5, "missing", "expired")]
)
def test_the_doctor_looks_at_the_expiry(tmp_path: Path, days: int, state: str, words: str) -> None:
    found = doctor._tls(settings(make(tmp_path, days=days)))
    assert found.state == state
    assert words in found.found
