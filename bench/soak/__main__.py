"""`python -m bench.soak [--minutes N] [--database URL]`: run the soak and print its account. Returns 1 when anything was wrong."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench.soak.actors import CAST, Actor, World, missing_tools
from bench.soak.invariants import Look
from bench.soak.record import Record
from bench.soak.watch import Watch
from opencph.testing import opencph_up

#: fewer phones a server than are sold: it is the number of servers and calls that matters here
CATALOGUE = """
[phone_models."rx1.cp.c60.d10.e1v1"]
phone_capacity = 6
[phone_models."kg1.cp.c20.d64SSD.e1v1"]
phone_capacity = 4
"""
GROWTH_MINUTES = 5.0  # a shorter run is over before caches and pools are full, and says nothing of growth
ACTOR_SECONDS = 150.0  # what one round may still take when the time is up


def soak(seconds: float, database: str = "", judge_growth: bool = True) -> tuple[Record, list[str]]:
    """Run every actor for so long; returns what became of it all and its account in lines."""
    record = Record()
    with tempfile.TemporaryDirectory(prefix="soak-", dir="/tmp") as name:
        directory = Path(name)
        catalogue = directory / "catalogue.toml"
        catalogue.write_text(CATALOGUE)
        arguments = ("--database", database) if database else ()
        settings = {"CATALOGUE": str(catalogue), "SYNC_COMMANDS_PER_MINUTE": "100000"}
        with opencph_up(*arguments, data=directory / "data", settings=settings) as cph:
            world = World(cph, record, directory, seconds)
            watch = Watch(cph.process.pid, cph.data)
            watch.start()
            actors: list[Actor] = [kind(world, number) for kind, count in CAST for number in range(count)]
            threads = [threading.Thread(target=actor.run, name=actor.name, daemon=True) for actor in actors]
            for thread in threads:
                thread.start()
            end = time.monotonic() + seconds + ACTOR_SECONDS
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))
                if thread.is_alive():
                    record.fail(f"{thread.name} does not come to its end")
            world.over.set()
            watch.stop()
            lines, grew = watch.judge()
            if judge_growth:
                for one in grew:
                    record.fail(one)
            look = Look(world, database or f"sqlite:///{cph.data / 'opencph.db'}")
            try:
                look.at_rest()
                look.emptied()
            finally:
                look.close()
            for line in (cph.data / "logs" / "opencph.log").read_text().splitlines():
                if '"level":"error"' in line.replace(": ", ":") or '"level":"critical"' in line.replace(": ", ":"):
                    record.fail(f"logged: {line[:1000]}")
            record.unexpected += [f"said: {line}" for line in cph.output if "starting it again" in line or "cannot" in line]
    jobs = f"  {len(record.jobs)} jobs accepted and followed to their end"
    return record, ["calls and what became of them:", *record.lines(), jobs, "what the processes hold:", *lines]


def main() -> int:
    """Run it as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--database", default="", help="URL of an empty one; `postgresql`: in a server of its own")
    options = parser.parse_args()
    if tools := missing_tools():
        print(f"needs {', '.join(tools)}: sudo apt-get install adb openssh-client", file=sys.stderr)
        return 1
    with contextlib.ExitStack() as stack:
        if options.database == "postgresql":
            sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
            from postgresql_cluster import PostgresqlCluster, missing

            if reason := missing():
                print(reason, file=sys.stderr)
                return 1
            cluster = PostgresqlCluster()
            stack.callback(cluster.remove)
            options.database = cluster.create_database()
        judge_growth = options.minutes >= GROWTH_MINUTES
        record, lines = soak(options.minutes * 60, options.database, judge_growth)
    print("\n".join(lines))
    if not judge_growth:
        print(f"what processes hold was not judged: that takes {GROWTH_MINUTES:g} minutes")
    print(f"soak: {options.minutes:g} minutes, {'PostgreSQL' if options.database else 'SQLite'}:", end=" ")
    print(f"{len(record.unexpected)} things that were wrong" if record.unexpected else "nothing was wrong")
    return 1 if record.unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
