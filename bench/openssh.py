"""The other ends of the bench's SSH tunnels: OpenSSH's own server to compare with, and its client. Measures nothing."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path


def free_port(ip: str = "127.0.0.1") -> int:
    """A port that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind((ip, 0))
        return int(probe.getsockname()[1])


def until_listening(address: tuple[str, int], process: subprocess.Popen[bytes], what: str) -> None:
    """Wait for it, 15 s at most. Raises RuntimeError."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if not probe.connect_ex(address):
                return
        time.sleep(0.02)
    raise RuntimeError(f"{what} does not listen")


@contextmanager
def program(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs for as long as the block."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextmanager
def sshd(directory: Path, key: Path) -> Iterator[tuple[int, int]]:
    """OpenSSH's own server on loopback with the same user key: the port where it has TCP_NODELAY, and where it is as it comes.

    By itself sshd sets TCP_NODELAY only for terminals. What asks and waits for an answer, as adb does every 1 MiB, then waits for
    Nagle's algorithm and the client's delayed acknowledgement as well, 40 ms each time. To compare the servers and not a socket
    option, it is given the option the gateway sets too: `sshd -i` takes its connection from whoever accepted it.
    """
    binary = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(binary).exists():
        raise RuntimeError("no sshd to compare with: sudo apt-get install openssh-server")
    Path("/run/sshd").mkdir(exist_ok=True)  # its own place for privilege separation
    port = free_port()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / "host")], check=True)
    public = subprocess.run(["ssh-keygen", "-y", "-f", str(key)], check=True, capture_output=True).stdout
    (directory / "authorized").write_bytes(public)
    (directory / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {directory}/host\nAuthorizedKeysFile {directory}/authorized\n"
        "StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\nPidFile none\nAllowTcpForwarding yes\n"
    )
    with (
        program(binary, "-D", "-f", str(directory / "config")) as process,
        socket.create_server(("127.0.0.1", 0)) as listener,
        ExitStack() as serving,
    ):
        until_listening(("127.0.0.1", port), process, "sshd")

        def serve() -> None:
            with suppress(OSError):
                while True:
                    with listener.accept()[0] as accepted:
                        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        one = subprocess.Popen(
                            [binary, "-i", "-f", str(directory / "config")],
                            stdin=accepted.fileno(),
                            stdout=accepted.fileno(),
                            stderr=subprocess.DEVNULL,
                        )
                    serving.callback(one.wait)
                    serving.callback(one.terminate)

        accepting = threading.Thread(target=serve, daemon=True)
        accepting.start()
        try:
            yield listener.getsockname()[1], port
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()


@contextmanager
def ssh_tunnel(directory: Path, key: Path, user: str, at: tuple[str, int], target: str, cipher: str) -> Iterator[tuple[str, int]]:
    """A stock ssh client with one forward; where to connect."""
    local = ("127.0.0.1", free_port())
    options = ["StrictHostKeyChecking=no", f"UserKnownHostsFile={directory}/known", "IdentitiesOnly=yes", "BatchMode=yes"]
    flags = [part for option in (*options, f"Ciphers={cipher}") for part in ("-o", option)]
    forward = f"{local[0]}:{local[1]}:{target}"
    destination = ["-i", str(key), "-p", str(at[1]), "-N", "-L", forward, f"{user}@{at[0]}"]
    with program("ssh", "-F", "none", *flags, *destination) as process:
        until_listening(local, process, "ssh")
        yield local
