"""Starts a real api process for tests, and talks to it. No worker runs: what a call accepts stays accepted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from opencph.wire.signatures import sign

READY_SECONDS = 30

_RUN = """
import json
import sys
from pathlib import Path
from opencph import log
from opencph.api.process import run_api
from opencph.preparation import prepare_database, prepare_directories, write_credentials
from opencph.settings import Settings

values = dict(
    data=Path(sys.argv[1]), listen="127.0.0.1:0", database=sys.argv[2], network=sys.argv[3], body_limit_bytes=200_000,
    quota_servers=100_000, quota_phones=1_000_000, quota_eips=100_000, host_phones=1_000_000, host_servers=100_000,
)
settings = Settings(**{**values, **json.loads(sys.argv[4])})
log.configure(settings.log_level, process="api")
prepare_directories(settings)
prepare_database(settings)

def ready(endpoint):
    write_credentials(settings, endpoint)
    print("ready", endpoint, flush=True)

run_api(settings, ready)
"""


@dataclass
class Service:
    """A running api process."""

    process: subprocess.Popen[str]
    endpoint: str
    credentials: dict[str, Any]
    data: Path
    database_url: str

    @property
    def project_id(self) -> str:
        found: str = self.credentials["project_id"]
        return found

    @property
    def v1(self) -> str:
        return f"/v1/{self.project_id}/cloud-phone"

    @property
    def v2(self) -> str:
        return f"/v2/{self.project_id}/cloud-phone"

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.endpoint.partition("://")[2].rpartition(":")
        return host, int(port)

    def signed(self, method: str, path: str, query: str = "", body: bytes = b"", *, at: float | None = None) -> httpx.Response:
        """One request signed with the access key, `at` seconds since the epoch."""
        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() if at is None else at))
        headers = {"Content-Type": "application/json", "Host": self.endpoint.removeprefix("http://"), "X-Sdk-Date": date}
        keys = self.credentials["access_key"], self.credentials["secret_key"]
        headers["Authorization"] = sign(*keys, method, path, query, headers, body)
        url = f"{self.endpoint}{path}?{query}" if query else f"{self.endpoint}{path}"
        return httpx.request(method, url, headers=headers, content=body, timeout=30)

    def json(self, method: str, path: str, body: object = None, query: str = "") -> httpx.Response:
        """One signed request with a JSON body."""
        return self.signed(method, path, query, b"" if body is None else json.dumps(body).encode())

    def purchase(self, **changes: object) -> dict[str, Any]:
        """The body that buys one server of the seed page's flavor."""
        body: dict[str, Any] = {
            "server_name": "server",
            "server_model_name": "physical.kg1.4xlarge.cp",
            "phone_model_name": "kg1.cp.c20.d64SSD.e1v1",
            "image_id": "20060220200717f201120a2300000e91",
            "count": 1,
            "keypair_name": self.credentials["keypair_name"],
            "ports": [{"name": "web", "listen_port": 20000, "internet_accessible": "TRUE"}],
            "extend_param": {"charging_mode": 1},
            "tenant_vpc_id": self.credentials["vpc_id"],
            "nics": [{"subnet_id": self.credentials["subnet_id"]}],
            "public_ip": {"eip": {"type": "5_bgp"}},
            "band_width": {"band_width_share_type": 0, "band_width_size": 300, "band_width_charge_mode": 1},
        }
        return {**body, **changes}


def start(data: Path, database_url: str, network: str, **settings: object) -> Service:
    """An api process; `settings` go over those that tests have."""
    process = subprocess.Popen(
        [sys.executable, "-c", _RUN, str(data), database_url, network, json.dumps(settings)],
        stdout=subprocess.PIPE,
        stderr=(data / "log").open("w"),
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("ready "):
        process.wait(READY_SECONDS)
        raise AssertionError(f"the api process did not start: {(data / 'log').read_text()}")
    credentials = json.loads((data / "credentials.json").read_text())
    return Service(process, line.split()[1], credentials, data, database_url)


def stop(service: Service) -> int:
    """End the process; its exit code."""
    if service.process.poll() is None:
        service.process.send_signal(signal.SIGTERM)
    code = service.process.wait(30)
    if service.process.stdout is not None:
        service.process.stdout.close()
    return code


def get_token(service: Service, scope: object) -> str:
    user = {
        "name": service.credentials["user_name"],
        "password": service.credentials["password"],
        "domain": {"name": service.credentials["domain_name"]},
    }
    auth: dict[str, object] = {"identity": {"methods": ["password"], "password": {"user": user}}}
    if scope is not None:
        auth["scope"] = scope
    response = httpx.post(f"{service.endpoint}/v3/auth/tokens", json={"auth": auth})
    assert response.status_code == 201, response.text
    return response.headers["X-Subject-Token"]
