"""OpenCPH for tests and scripts: start one that disturbs nobody, wait for it, end it; bodies that it accepts. Knows only the
command line and its files.

with opencph_up() as cph:
    print(cph.endpoint, cph.credentials["access_key"])
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

READY_SECONDS = 60.0
STOP_SECONDS = 30.0
#: the longest wait for a network that somebody else has
NETWORK_SECONDS = 240.0


PHONES_PER_SERVER = 60  # of the flavor that `purchase` buys


def purchase(credentials: Mapping[str, Any], name: str = "test", count: int = 1) -> dict[str, Any]:
    """A body for CreateNet2CloudPhoneServer: servers of 60 phones, with a public address and one open port each."""
    return {
        "server_name": name,
        "server_model_name": "physical.rx1.xlarge",
        "phone_model_name": "rx1.cp.c60.d10.e1v1",
        "image_id": "24110020241130d006101e2100000e18",
        "count": count,
        "keypair_name": credentials["keypair_name"],
        "ports": [{"name": "web", "listen_port": 12000, "internet_accessible": "true"}],
        "extend_param": {"charging_mode": 1, "period_type": 2, "period_num": 1, "is_auto_pay": 1, "is_auto_renew": 0},
        **network_fields(credentials),
    }


def change(credentials: Mapping[str, Any]) -> dict[str, Any]:
    """The example request of the documentation's page "Changing the Cloud Phone Server", with our ids filled in."""
    return {
        "phone_model_name": "kg1.cp.c20.d64SSD.e1v1",
        "image_id": "20060220200717f201120a2300000e91",
        "keypair_name": credentials["keypair_name"],
        "property": '{"sys.prop.writephonenum":"13666666666","sys.prop.writeimsi":"460021624617113",'
        '"sys.prop.writewifissid":"test_wifi"}',
        "ports": [
            {"name": "myServer1", "listen_port": 20000, "internet_accessible": "false"},
            {"name": "myServer2", "listen_port": 20001, "internet_accessible": "true"},
        ],
        "extend_param": {"enterprise_project_id": "0"},
        **network_fields(credentials),
    }


def network_fields(credentials: Mapping[str, Any]) -> dict[str, Any]:
    """The part of both bodies that says how a server is reached: our VPC and subnet, a public address, a bandwidth of its own."""
    return {
        "tenant_vpc_id": credentials["vpc_id"],
        "nics": [{"subnet_id": credentials["subnet_id"]}],
        "public_ip": {"eip": {"type": "5_bgp"}},
        "band_width": {"band_width_share_type": 0, "band_width_size": 300, "band_width_charge_mode": 1},
    }


class UpError(Exception):
    """`opencph up` did not get ready. The message is what it said."""


class RunningCph:
    """A running `opencph up`."""

    def __init__(self, process: subprocess.Popen[str], data: Path, network: str, started: float) -> None:
        self.process = process
        self.data = data
        self.network = network
        self.started = started
        self.endpoint = ""
        self.ready_seconds = 0.0
        self.output: list[str] = []  # lines of stdout and stderr
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line.rstrip("\n"))
            if line.startswith("ready ") and not self.endpoint:
                self.endpoint = line.split()[1]
                self.ready_seconds = time.monotonic() - self.started
                self._ready.set()
        self._ready.set()

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        """Raises UpError when it ended, or is not ready after so long."""
        if not self._ready.wait(seconds) or not self.endpoint:
            raise UpError("\n".join(self.output) or f"silent for {seconds:g} s")

    @property
    def credentials(self) -> dict[str, Any]:
        """`DATA/credentials.json`."""
        return dict(json.loads((self.data / "credentials.json").read_text()))

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """SIGTERM, then wait. Returns the exit status; kills what does not stop."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self._reader.join(1.0)
        return status


@contextmanager
def own_network(wanted: str = "") -> Iterator[str]:
    """A /16 of 127.0.0.0/8 that no other user of this function has; `wanted`: that one, once it is free. Raises UpError.

    The mark is a name of the network namespace, as the addresses are: containers that share one do not disturb each other.
    """
    deadline = time.monotonic() + (NETWORK_SECONDS if wanted else 0.0)
    seconds = [int(wanted.split(".")[1])] if wanted else random.sample(range(128, 200), 72)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mark:
        while (second := _marked(mark, seconds)) is None:
            if time.monotonic() >= deadline:
                raise UpError(f"{wanted or 'all 72 test networks from 127.128.0.0 to 127.199.0.0'}: in use")
            time.sleep(0.1)
        yield f"127.{second}.0.0/16"


def _marked(mark: socket.socket, seconds: Sequence[int]) -> int | None:
    """The first of `seconds` that was nobody's."""
    for second in seconds:
        with suppress(OSError):
            mark.bind(f"\0opencph-network-127.{second}")
            return second
    return None


def start_up(
    data: Path, network: str, *arguments: str, settings: Mapping[str, str] | None = None, command: str = "up"
) -> RunningCph:
    """Start `opencph up`, or another command, on `data` with a free port; does not wait.

    `settings` are OPENCPH_* variables without the prefix.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENCPH_")}
    environment |= {"OPENCPH_NETWORK": network, "OPENCPH_LISTEN": "127.0.0.1:0"}
    environment |= {f"OPENCPH_{name.upper()}": value for name, value in (settings or {}).items()}
    started = time.monotonic()
    process = subprocess.Popen(  # noqa: S603 (our own command)
        [sys.executable, "-m", "opencph", command, "--data", str(data), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    return RunningCph(process, data, network, started)


@contextmanager
def opencph_up(*arguments: str, data: Path | None = None, settings: Mapping[str, str] | None = None) -> Iterator[RunningCph]:
    """A running OpenCPH on an empty directory with a network and port of its own; all gone at the end. Raises UpError."""
    directory = data or Path(tempfile.mkdtemp(prefix="cph-", dir="/tmp" if Path("/tmp").is_dir() else None))  # noqa: S108 (short)
    with own_network() as network:
        running = start_up(directory, network, *arguments, settings=settings)
        try:
            running.wait_until_ready()
            yield running
        finally:
            running.stop()
            if data is None:
                with suppress(FileNotFoundError):
                    shutil.rmtree(directory)
