"""`python -m opencph.handset --data DIR --listen ADDR:5555 [--disk BYTES]`: one phone by itself, until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import errno
import hashlib
import ipaddress
import os
import signal
import sys
from pathlib import Path

from opencph.handset.config import GIB, MIB, PHONE_NETWORKS, HandsetError, PhoneConfig
from opencph.handset.host import HostTakenError, take_lock
from opencph.handset.phone import Phone
from opencph.sockets import address_text

LOCK = "handset.lock"  # in the phone's directory, held while its process lives
DISK_MIN, DISK_MAX = MIB, 1024**2 * GIB  # bytes; what is larger than a PiB no machine has


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    try:
        ipaddress.ip_address(host)
        if not 0 <= int(port) < 65536:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not ADDRESS:PORT, such as 127.0.0.1:5555 or [::1]:5555; the port is 0 (any free one) to 65535"
        ) from None
    return host, int(port)


def _port(text: str) -> int:
    try:
        port = int(text)
        if not 0 < port < 65536:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port of 1 to 65535") from None
    return port


def _disk(text: str) -> int:
    try:
        size = int(text)
        if not DISK_MIN <= size <= DISK_MAX:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size of {DISK_MIN} bytes (1 MiB) to {DISK_MAX} bytes (1 PiB)"
        ) from None
    return size


def _property(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = map(int, text.split("x"))
        if not (200 <= width <= 4096 and 200 <= height <= 4096):
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT with sides of 200 to 4096 pixels") from None
    return width, height


def parse(arguments: list[str]) -> PhoneConfig:
    """The phone that the command line describes. Exits with a message when it describes none."""
    parser = argparse.ArgumentParser(prog="python -m opencph.handset", description="A light phone that answers ADB. Not Android.")
    parser.add_argument("--data", type=Path, required=True, help="its directory")
    parser.add_argument("--listen", type=_address, default=("127.0.0.1", 5555), help="address and port of its adbd")
    parser.add_argument("--disk", type=_disk, default=GIB, metavar="BYTES", help="size of /data; default 1 GiB")
    parser.add_argument("--name", default="handset")
    parser.add_argument("--screen", type=_size, default=(720, 1280), metavar="WxH")
    parser.add_argument("--property", type=_property, action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument(
        "--port", type=_port, action="append", default=[], help="a declared port: what listens on it inside is reached outside"
    )
    parser.add_argument(
        "--network", choices=PHONE_NETWORKS, default="off", help="what its programs reach outside; needs slirp4netns"
    )
    options = parser.parse_args(arguments)
    ip, port = options.listen
    if port in options.port:
        parser.error(f"argument --port: {port} is the port of its adbd (--listen); declare another one")
    data = options.data.absolute()
    return PhoneConfig(
        phone_id=hashlib.sha256(str(data).encode()).hexdigest()[:32],
        name=options.name,
        ip=ip,
        adb_port=port,
        data_bytes=options.disk,
        width=options.screen[0],
        height=options.screen[1],
        listen_ports=tuple(dict.fromkeys(options.port)),
        properties=dict(options.property),
        network=options.network,
        directory=data,
    )


def take_directory(directory: Path) -> int:
    """Hold the phone's directory until this process ends: two phones on one would take its files from each other.

    Raises HandsetError that names the process that has it.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return take_lock(directory / LOCK)
    except HostTakenError as error:
        raise HandsetError(errno.EBUSY, f"{error}: it runs a phone on this directory; end it or give another --data") from None
    except OSError as error:
        raise HandsetError(error.errno, f"cannot write {directory / LOCK}: {error.strerror}; give another --data") from None


def _reason(config: PhoneConfig, error: HandsetError) -> str:
    """Why the phone did not boot, and which option to change."""
    if error.errno != errno.EADDRINUSE:
        return str(error)
    option = "--listen" if error.filename == address_text((config.ip, config.adb_port)) else "--port"
    return f"{error.filename} is taken by another program (`ss -ltnp` shows it); end it or give another {option}"


async def run(config: PhoneConfig) -> int:
    """Boot, say so, wait for a signal, power off."""
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end.set)
    try:
        lock = take_directory(config.directory)
        phone = Phone(config)
        await phone.start()
    except HandsetError as error:
        print(f"opencph handset: {_reason(config, error)}", file=sys.stderr)
        return 1
    print(f"ready adb connect {address_text((config.ip, phone.adb_port))}", flush=True)
    await end.wait()
    await phone.stop()
    os.close(lock)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(run(parse(sys.argv[1:]))))
