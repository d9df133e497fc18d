"""`python -m bench [ROW...] [--phones N] [--stored N] [--no-page]`: measure, print the table, write docs/numbers.md."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from bench import handsets, http, objects, phones, several, starting, ways
from bench.table import Row, machine, show, write_page

#: name -> what measures it; several names may share one start of OpenCPH
ROWS = {
    "ready": starting.ready,
    "buy": phones.buy_and_change,
    "change": phones.buy_and_change,
    "restart": phones.restart,
    "memory": phones.memory,
    "get": http.get_phone,
    "list": http.list_phones,
    "push": phones.push,
    "handset": handsets.daily,
    "large": handsets.large,
    "neighbours": handsets.neighbours,
    "objects": objects.large,
    "mapping": ways.mapping,
    "tunnel": ways.tunnel,
    "tunnel-push": ways.push_ways,
    "tunnels-idle": ways.idle,
    "bandwidth": ways.limit,
    "takeover": several.takeover,
    "abnormal": several.abnormal,
    "rolling": several.rolling,
    "ready-postgresql": starting.ready_postgresql,
}


def main() -> int:
    """Measure. Returns 1 when a row could not be measured or misses its target."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; without any: all")
    parser.add_argument("--phones", type=int, default=5_000, help="light phones to boot for the row memory")
    parser.add_argument("--stored", type=int, default=100_000, help="phones in the database for the rows get and list")
    parser.add_argument("--no-page", action="store_true", help="do not write docs/numbers.md")
    options = parser.parse_args()
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    done: list[Row] = []
    failed = False
    for measure in dict.fromkeys(ROWS[name] for name in options.rows or ROWS):
        begun = time.monotonic()
        try:
            rows = measure(options)
        except Exception:
            traceback.print_exc()
            failed = True
            continue
        print(f"{measure.__name__}: {time.monotonic() - begun:.0f} s", file=sys.stderr)
        done += rows
    show(done)
    print(machine())
    if not options.no_page and done:
        write_page(done)
    return 0 if not failed and all(row.ok for row in done) else 1


if __name__ == "__main__":
    sys.exit(main())
