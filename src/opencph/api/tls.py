"""The certificate and the key of the HTTPS endpoint: whether they can be used, and until when. The HTTP server does the rest."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from opencph.settings import Settings

EXPIRES_SOON_DAYS = 14


class TlsError(Exception):
    """The certificate or the key cannot be used. The message names the file and says what to do."""


class Tls(NamedTuple):
    """A certificate chain and its key, both PEM, that belong together."""

    certificate: Path
    key: Path
    expires: datetime

    @property
    def days_left(self) -> int:
        """Whole days until the certificate expires; negative when it has."""
        return (self.expires - datetime.now(UTC)).days


def tls_of(settings: Settings) -> Tls | None:
    """The certificate and key of the settings, looked through; None without. Raises TlsError."""
    if not settings.tls_cert and not settings.tls_key:
        return None
    if not settings.tls_cert or not settings.tls_key:
        missing = "tls_key" if settings.tls_cert else "tls_cert"
        raise TlsError(f"{missing} is not set: a certificate and its key are needed, both or none")
    certificate, key = Path(settings.tls_cert).expanduser(), Path(settings.tls_key).expanduser()
    try:
        mode = key.stat().st_mode
        if mode & stat.S_IRWXO:
            raise TlsError(f"everybody on this machine can read the key {key}: chmod 600 {key}")
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
        expires = _expiry(certificate)
    except ssl.SSLError as error:
        why = "they do not belong together" if error.reason == "KEY_VALUES_MISMATCH" else error.reason or str(error)
        raise TlsError(f"{certificate} and {key} cannot be used: {why}; both must be PEM, the key without a password") from error
    except (OSError, ValueError) as error:
        raise TlsError(f"{certificate} and {key} cannot be used: {error}") from error
    return Tls(certificate, key, expires)


def _no_password() -> str:
    raise ValueError("the key has a password; keep one without, in a file that only you can read")


def _expiry(certificate: Path) -> datetime:
    from cryptography import x509

    return x509.load_pem_x509_certificates(certificate.read_bytes())[0].not_valid_after_utc
