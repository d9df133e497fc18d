"""The crash matrix: `kill -9` of every victim at every step of every kind of job, on both databases.

The steps are found from the registered kinds; a kind without a scenario and a step that no scenario comes to are violations.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import queue
import random
import sys
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from typing import NamedTuple, cast

from crash.invariants import Watch, done_once, nothing_leaks, possessions
from crash.program import VICTIMS, ViolationError, until
from crash.scenarios import Scenario
from crash.scenarios_data import SCENARIOS
from crash.site import V1, Site
from opencph.fleet import Fleet
from opencph.jobs import JobKind
from opencph.jobs.failpoints import points, undo_points
from opencph.runtimes import Runtime
from opencph.worker import kinds
from postgresql_cluster import PostgresqlCluster, missing

ALL_KINDS: dict[str, JobKind] = kinds(cast(Fleet, None), cast(Runtime, None))  # to be listed, not to be run
UNDO_EFFECTS = {(kind.name, step.name) for kind in ALL_KINDS.values() for step in kind.steps if step.undo_effect is not None}
DATABASES = ("sqlite", "postgresql")
REACH_SECONDS = 30.0
#: the longest wait from the beginning of an effect to the kill in its middle
DURING_SECONDS_MAX = 0.3
DURING = "during"
GENTLE = ("api", "worker", "gateway")
#: victims with which the process dies that runs the jobs
RUN_JOBS = ("worker", "reboot")
#: victims that have no part in what a step does: one scenario to come to it is enough
ONCE_EACH = ("api", "gateway")


class Case(NamedTuple):
    """One kill."""

    database: str
    scenario: str  # name of the class
    point: str  # KIND:STEP:POINT
    victim: str
    seed: int

    @property
    def kind(self) -> str:
        return self.point.partition(":")[0]


class Result(NamedTuple):
    """What came of a case. `violation` is empty when all was well."""

    case: Case
    violation: str
    seconds: float


def points_of(kind: JobKind, *, fails: bool) -> list[str]:
    """Every point at which work that succeeds, or that fails, can be met; and the middle of every effect."""
    if fails:
        return undo_points([kind])
    middles = [f"{kind.name}:{step.name}:{DURING}" for step in kind.steps if step.effect is not None]
    return points([kind]) + middles


def all_cases(kinds_wanted: Iterable[str], databases: Iterable[str], victims: Sequence[str], seed: int) -> list[Case]:
    """The whole matrix of these kinds. Raises ViolationError for a kind that has no scenario."""
    found = []
    for name in kinds_wanted:
        kind = ALL_KINDS[name]
        if not SCENARIOS.get(name):
            raise ViolationError(f"kind {name} has no crash scenario: add one to tests/crash/scenarios.py or scenarios_data.py")
        if undo_points([kind]) and not any(one.fails for one in SCENARIOS[name]):
            raise ViolationError(f"kind {name} is undone when it fails, and has no crash scenario that fails: add one")
        firsts = {next(one for one in SCENARIOS[name] if one.fails == fails) for fails in {one.fails for one in SCENARIOS[name]}}
        for scenario in SCENARIOS[name]:
            undone = scenario.fails and bool(undo_points([kind]))
            for point in points_of(kind, fails=undone):
                if scenario.fails and not undone and point.split(":")[1] != kind.steps[0].name:
                    continue  # what fails in its first step comes to no other
                of = [victim for victim in victims if victim not in ONCE_EACH or scenario in firsts]
                found += [Case(database, scenario.__name__, point, victim, seed) for database in databases for victim in of]
    return found


def scenario_of(case: Case) -> type[Scenario]:
    """The class that a case names."""
    return next(one for one in SCENARIOS[case.kind] if one.__name__ == case.scenario)


def run(site: Site, case: Case) -> None:
    """One case on an installation where all is quiet. Raises ViolationError."""
    scenario = scenario_of(case)(site)
    gentle = case.victim in GENTLE
    site.halt.disarm()
    before = possessions(site)
    passed_before = len(site.halt.passed())
    scenario.prepare()
    site.jobs_ended(0)
    after = max((job.seq for job in site.jobs()), default=0)
    during = scenario.during = case.point.endswith(f":{DURING}")
    point = case.point.replace(f":{DURING}", ":before")
    try:
        with Watch(site):
            site.halt.arm(scenario.provoke_at or point)
            scenario.accept()
            _stand(site, scenario.provoke_at or point)
            if scenario.provoke_at:
                scenario.provoke()
                site.halt.arm(point)
                site.halt.release()
                _stand(site, point)
            if during:
                site.halt.release()
                time.sleep(random.Random(f"{case}").uniform(0.0, DURING_SECONDS_MAX))
            site.kill(case.victim)
            site.halt.disarm()
            if gentle and scenario.keeps_serving:
                silent = site.answers()
                scenario.must(not silent, f"phones that serve do not answer while the {case.victim} is away: {silent}")
            shown = site.call("GET", f"{V1}/servers/{site.home}")
            scenario.must(shown.status == 200, f"the server cannot be shown: {shown}")
            jobs = site.jobs_ended(after)
        scenario.outcome(jobs, gentle=gentle)
        scenario.appease()
        if not gentle:
            site.recovered()
        scenario.check(jobs, gentle=gentle)
    except BaseException:
        site.halt.disarm()
        with suppress(Exception):
            scenario.clean()
        raise
    scenario.clean()
    site.settle()
    nothing_leaks(site)
    changes = before.kept(possessions(site), scenario.leaves, scenario.makes)
    scenario.must(not changes, f"left behind: {changes}")
    again = done_once(site.halt.passed()[passed_before:], case.victim in RUN_JOBS, UNDO_EFFECTS)
    scenario.must(not again, f"done again: {again}")


def _stand(site: Site, point: str) -> None:
    until(site.halt.is_reached, REACH_SECONDS, lambda: f"somebody comes to {point}: {site.jobs()[-3:]} {site.words()}")


# --- many cases, in processes of their own ----------------------------------------


class Crew(NamedTuple):
    """Where processes on one database get their cases from; they take no more once `over` is set."""

    cases: multiprocessing.Queue[Case | None]
    over: Event

    def next(self) -> Case | None:
        """The next case; None when there are no more, and when whoever wants to know has ended."""
        parent = multiprocessing.parent_process()
        while not self.over.is_set() and (parent is None or parent.is_alive()):
            with suppress(queue.Empty):
                return self.cases.get(timeout=1)
        return None


def work(database: str, crew: Crew, results: multiprocessing.Queue[Result | None]) -> None:
    """Run cases until there are no more; one installation for as long as nothing is violated."""
    cluster: PostgresqlCluster | None = None
    site: Site | None = None
    try:
        while (case := crew.next()) is not None:
            start = time.monotonic()
            violation = ""
            try:
                if database == "postgresql" and cluster is None:
                    cluster = PostgresqlCluster()
                if site is None:
                    site = Site(cluster.create_database() if cluster else None)
                    start = time.monotonic()
                run(site, case)
            except ViolationError as error:
                violation = str(error)
            except Exception:
                violation = traceback.format_exc()
            results.put(Result(case, violation, time.monotonic() - start))
            if violation and site is not None:
                site.close()
                site = None
    finally:
        if site is not None:
            left = site.close()
            if left:
                print(f"processes were left: {left}", file=sys.stderr)
        if cluster is not None:
            cluster.remove()
        results.put(None)


def run_all(cases: Sequence[Case], processes: int, deadline: float, tell: bool) -> list[Result]:
    """Run cases side by side; those that have not begun at the deadline (monotonic seconds) are left out."""
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[Result | None] = context.Queue()
    over = context.Event()
    crews: list[tuple[BaseProcess, multiprocessing.Queue[Case | None]]] = []  # a queue ends with its last name here
    for database in dict.fromkeys(case.database for case in cases):
        todo: multiprocessing.Queue[Case | None] = context.Queue()
        todo.cancel_join_thread()  # cases that nobody takes any more keep nobody
        mine = [case for case in cases if case.database == database]
        size = min(processes, len(mine))
        for case in [*mine, *[None] * size]:
            todo.put(case)
        crews += [(context.Process(target=work, args=(database, Crew(todo, over), results)), todo) for _ in range(size)]
    for process, _ in crews:
        process.start()
    found: list[Result] = []
    alive = len(crews)
    try:
        while alive:
            try:
                result = results.get(timeout=5)
            except queue.Empty:
                if not any(process.is_alive() for process, _ in crews):
                    break
            else:
                if result is None:
                    alive -= 1
                    continue
                found.append(result)
                if tell:
                    _tell(result, len(found), len(cases))
            if time.monotonic() > deadline:
                over.set()
    except KeyboardInterrupt:
        print("ended by hand: the cases that have begun are finished", flush=True)
        over.set()
    for process, _ in crews:
        process.join(60)
    return found


def _tell(result: Result, count: int, of: int) -> None:
    case = result.case
    if result.violation:
        print(f"VIOLATION {case.database} {case.scenario} {case.point} {case.victim}: {result.violation}\n", flush=True)
    elif count % 25 == 0:
        print(f"{count} of {of}", flush=True)


def table(results: Sequence[Result]) -> str:
    """Kind and step against victim: cases that were well, and those that were not."""
    cells: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for result in results:
        kind, step, _ = result.case.point.split(":")
        cells[kind, step, result.case.victim]["violation" if result.violation else "ok"] += 1
    rows = list(dict.fromkeys((kind, step) for kind, step, _ in cells))
    order = [(kind.name, step.name) for kind in ALL_KINDS.values() for step in kind.steps]
    lines = [f"{'kind':25}{'step':10}" + "".join(f"{victim:>14}" for victim in VICTIMS)]
    for kind, step in sorted(rows, key=order.index):
        words = []
        for victim in VICTIMS:
            cell = cells[kind, step, victim]
            words.append(
                f"{cell['violation']} of {cell.total()} BAD" if cell["violation"] else f"{cell['ok']} ok" if cell["ok"] else "-"
            )
        lines.append(f"{kind:25}{step:10}" + "".join(f"{word:>14}" for word in words))
    return "\n".join(lines)


def _at_least_one(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 up")
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make crash ARGS=", description=__doc__)
    parser.add_argument("--kind", action="append", choices=list(ALL_KINDS), help="only this kind (may be given again)")
    parser.add_argument("--database", action="append", choices=DATABASES, help="only this database")
    parser.add_argument("--victim", action="append", choices=VICTIMS, help="only this victim")
    parser.add_argument("--point", help="only points that contain this")
    parser.add_argument("--scenario", help="only this scenario")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="order, and when in a step the kill comes")
    parser.add_argument("--sample", type=_at_least_one, help="only so many cases, chosen by the seed")
    parser.add_argument("--processes", type=_at_least_one, default=max(2, (os.cpu_count() or 2)), help="installations per database")
    parser.add_argument("--minutes", type=float, default=90.0, help="begin no case after so long")
    options = parser.parse_args()
    databases = options.database or list(DATABASES)
    if "postgresql" in databases and (reason := missing()):
        print(f"without PostgreSQL: {reason}")
        databases.remove("postgresql")
    try:
        cases = all_cases(options.kind or ALL_KINDS, databases, options.victim or VICTIMS, options.seed)
    except ViolationError as error:
        print(f"VIOLATION {error}")
        return 1
    cases = [case for case in cases if (options.point or "") in case.point and options.scenario in (None, case.scenario)]
    random.Random(options.seed).shuffle(cases)
    cases = cases[: options.sample]
    if not cases:
        parser.error(
            "there is no such case: `--point` and `--scenario` are parts of what `--kind` has, and all together leave nothing"
        )
    print(f"{len(cases)} cases, seed {options.seed}, {options.processes} installations per database", flush=True)
    start = time.monotonic()
    results = run_all(cases, options.processes, start + options.minutes * 60, tell=True)
    bad = [result for result in results if result.violation]
    print(table(results))
    seconds = time.monotonic() - start
    mean = sum(result.seconds for result in results) / max(1, len(results))
    print(
        f"{len(results)} of {len(cases)} cases on {' and '.join(databases)}: {len(results) - len(bad)} ok, {len(bad)} violations; "
        f"{seconds:.0f} s, {mean:.1f} s a case"
    )
    for case, violation, _ in bad:
        first = " ".join(violation.partition("--- output")[0].split())[:300]
        print(f"  {case.database} {case.scenario} {case.point} {case.victim}: {first}")
    return 1 if bad or len(results) < len(cases) else 0


if __name__ == "__main__":
    sys.exit(main())
