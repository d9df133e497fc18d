"""Says of each line of stdin whether the expression, argument 1, is found in it: 0 or 1, a byte each. A program of its own, because
an expression may be made to take for ever, and a phone's host has other phones to serve. Standard library only.
"""

import re
import resource
import sys

CPU_SECONDS = 5
MEMORY_BYTES = 256 << 20


def main() -> int:
    """The program."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        found = re.compile(sys.argv[1]).search
    except (re.error, RecursionError, OverflowError, MemoryError):
        return 2
    out = sys.stdout.buffer
    out.write(b"+")
    out.flush()
    for line in sys.stdin.buffer:
        out.write(b"1" if found(line.decode("utf-8", "replace").rstrip("\n")) else b"0")
        out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
