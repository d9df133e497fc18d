"""The OpenSSH client, as a user of a tunnel runs it."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from gateway.gateway_world import SECONDS, Network, wait_until


def make_key(path: Path, kind: str = "rsa") -> str:
    """A key pair as a user has it; returns the public half."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path)], check=True)
    return path.with_suffix(".pem.pub").read_text().strip()


class Ssh:
    """Runs the OpenSSH client against one EIP."""

    def __init__(self, network: Network, public: str, directory: Path, key: Path) -> None:
        self.network, self.public, self.key = network, public, key
        self.directory = directory
        self.local = f"{network.block}.250"  # the user's end of the tunnels
        self.source = "127.0.0.1"  # where its connections come from, unless they are bound to another
        self._next_port = 11000
        self.processes: list[subprocess.Popen[bytes]] = []

    def command(self, *arguments: str, user: str | None = None, key: Path | None = None) -> list[str]:
        options = {
            "StrictHostKeyChecking": "accept-new",
            "UserKnownHostsFile": str(self.directory / "known_hosts"),
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "ExitOnForwardFailure": "yes",
            "ConnectTimeout": "10",
        }
        flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        destination = f"{user or self.network.project_id}@{self.public}"
        return ["ssh", "-F", "none", *flags, "-i", str(key or self.key), "-p", str(self.network.ssh_port), *arguments, destination]

    def run(self, *arguments: str, user: str | None = None, key: Path | None = None, words: str = "") -> tuple[int, str]:
        """Run to the end; the status and what was said."""
        command = [*self.command(*arguments, user=user, key=key), *words.split()]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS)
        return done.returncode, (done.stdout + done.stderr).decode()

    def tunnel(self, *targets: str, options: tuple[str, ...] = ()) -> list[int]:
        """`ssh -N -L` to each `ip:port` with more `options` of ssh's own; the ports at `local`, once they listen."""
        ports = [self._next_port + number for number in range(len(targets))]
        self._next_port += len(targets)
        forwards = [part for port, target in zip(ports, targets, strict=True) for part in ("-L", f"{self.local}:{port}:{target}")]
        forwards += [part for option in options for part in ("-o", option)]
        log = self.directory / "ssh.log"
        with log.open("ab") as stream:
            process = subprocess.Popen(self.command("-N", *forwards), stdin=subprocess.DEVNULL, stderr=stream)
        self.processes.append(process)

        def listens() -> bool:
            assert process.poll() is None, log.read_text()
            with socket.socket() as sock:
                return sock.connect_ex((self.local, ports[-1])) == 0

        wait_until(listens, "the tunnel")
        return ports

    def said(self) -> str:
        """What the tunnels have written to stderr."""
        return (self.directory / "ssh.log").read_text()

    def end(self) -> None:
        """End the tunnels."""
        for process in self.processes:
            process.kill()
            process.wait()
