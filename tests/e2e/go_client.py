"""What goes over the wire when the vendor's Terraform provider calls: headers, signature, what counts as success, strict types.

The signature is written here once more, from the description (all headers but `host`, in order), so that it is not held against
the code it tests.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import time
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

#: what counts as success when a call does not say
OK_CODES = {"GET": (200,), "POST": (200, 201, 202), "PUT": (200, 201, 202), "DELETE": (200, 202, 204)}


class UnexpectedStatusError(Exception):
    """An answer with a status that the provider does not take."""

    def __init__(self, method: str, path: str, status: int, body: bytes) -> None:
        super().__init__(f"{method} {path}: {status} {body.decode()}")
        self.status = status
        self.body = body


class GoClient:
    """The provider's HTTP client, with an access key. `project_id` "" is a client of a service without projects."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str, project_id: str, domain_id: str = "") -> None:
        self.address = urlsplit(endpoint).netloc
        self.access_key, self.secret_key = access_key, secret_key
        self.project_id, self.domain_id = project_id, domain_id

    def request(
        self, method: str, path: str, body: Any = None, *, ok: tuple[int, ...] | None = None, more: dict[str, str] | None = None
    ) -> Any:
        """The decoded answer, None when it has no body. Raises UnexpectedStatusError."""
        path = path.replace("{project_id}", self.project_id)
        payload = b"" if body is None else json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
        headers = {"Accept": "application/json", "User-Agent": "terraform-provider-iac/v1.77.0 golangsdk/2.0.0"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        headers.update(more or {})
        headers["X-Sdk-Date"] = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        headers["Authorization"] = self._authorization(method, path, headers, payload)
        if self.project_id:
            headers["X-Project-Id"] = self.project_id
        if self.domain_id:
            headers["X-Domain-Id"] = self.domain_id
        headers["Accept-Encoding"] = "gzip"
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(payload)))
            connection.endheaders(payload or None)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status not in (ok or OK_CODES[method]):
            raise UnexpectedStatusError(method, path, answer.status, content)
        return json.loads(content) if content else None

    def _authorization(self, method: str, target: str, headers: dict[str, str], payload: bytes) -> str:
        path, _, query = target.partition("?")
        canonical_path = "/".join(quote(part, safe="-_.~") for part in path.split("/"))
        canonical_path += "" if canonical_path.endswith("/") else "/"
        pairs = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in parse_qsl(query, keep_blank_values=True))
        names = sorted(name.lower() for name in headers)
        values = {name.lower(): value.strip() for name, value in headers.items()}
        canonical = "\n".join(
            [
                method,
                canonical_path,
                "&".join(f"{k}={v}" for k, v in pairs),
                *(f"{name}:{values[name]}" for name in names),
                "",
                ";".join(names),
                hashlib.sha256(payload).hexdigest(),
            ]
        )
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        to_sign = f"SDK-HMAC-SHA256\n{headers['X-Sdk-Date']}\n{hashed}"
        signature = hmac.new(self.secret_key.encode(), to_sign.encode(), hashlib.sha256).hexdigest()
        return f"SDK-HMAC-SHA256 Access={self.access_key}, SignedHeaders={';'.join(names)}, Signature={signature}"


def string(value: Any) -> str:
    """Go asserts a string."""
    assert isinstance(value, str), value
    return value


def number(value: Any) -> int:
    """Go asserts a JSON number, and unmarshals a whole one into an int."""
    assert isinstance(value, int) and not isinstance(value, bool), value
    return value


def boolean(value: Any) -> bool:
    """Go asserts a boolean."""
    assert isinstance(value, bool), value
    return value


def nullable_string(value: Any) -> str:
    """A string field of a Go struct: null leaves it empty."""
    return "" if value is None else string(value)
