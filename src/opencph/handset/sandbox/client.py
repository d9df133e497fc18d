"""Runs inside a phone, as getprop, pm, screencap and so on: passes its arguments and streams to the phone, which does the work.

Only the standard library, and little of it: it starts with every call.
"""

# before all else: Ctrl-C ends the command as it ends every other program, and says nothing
from _signal import SIG_DFL, SIGINT, signal  # type: ignore[import-not-found]

signal(SIGINT, SIG_DFL)

import os  # noqa: E402
import select  # noqa: E402
import socket  # noqa: E402
import struct  # noqa: E402
import sys  # noqa: E402

STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN, ARGUMENTS, WANT_STDIN, LOG_TAGS = 0, 1, 2, 3, 4, 16, 17, 18


def main() -> int:
    """Returns the command's exit code."""
    arguments = [sys.argv[0].rpartition("/")[2], *sys.argv[1:]]
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect("\0opencph.handset")
    except OSError as error:
        os.write(2, f"{arguments[0]}: the phone does not answer: {error}\n".encode())
        return 1
    tags = os.fsencode(os.environ.get("ANDROID_LOG_TAGS", ""))[:4096]
    if tags:  # the one variable that a command of the phone follows
        sock.sendall(struct.pack("<BI", LOG_TAGS, len(tags)) + tags)
    payload = b"\0".join(os.fsencode(word) for word in arguments)
    sock.sendall(struct.pack("<BI", ARGUMENTS, len(payload)) + payload)
    received = b""
    watched = [sock.fileno()]
    while True:
        readable = select.select(watched, [], [])[0]
        if 0 in readable:
            data = os.read(0, 65536)
            if data:
                sock.sendall(struct.pack("<BI", STDIN, len(data)) + data)
            else:
                sock.sendall(struct.pack("<BI", CLOSE_STDIN, 0))
                watched.remove(0)
        if sock.fileno() not in readable:
            continue
        data = sock.recv(262144)
        if not data:
            return 1
        received += data
        while len(received) >= 5:
            kind, length = struct.unpack_from("<BI", received)
            if len(received) < 5 + length:
                break
            piece = memoryview(received)[5 : 5 + length]
            received = received[5 + length :]
            if kind == EXIT:
                return piece[0]
            if kind == WANT_STDIN and 0 not in watched:
                watched.append(0)
            if kind in (STDOUT, STDERR):
                while piece:
                    piece = piece[os.write(kind, piece) :]


if __name__ == "__main__":
    try:
        code = main()
    except (BrokenPipeError, ConnectionError):
        code = 1
    os._exit(code)
