"""A sample of the crash matrix, on both databases; `make crash` runs it whole. The seed stands in the name of every test.

`CRASH_SEED=<seed>` runs the sample of that seed. The swap of a change and commands are always among it.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest

from crash import matrix
from crash.invariants import done_once, possessions
from crash.matrix import ALL_KINDS, Case, all_cases, run
from crash.program import VICTIMS, ViolationError, until
from crash.scenarios_data import SCENARIOS
from crash.site import Site
from opencph.jobs import JobKind, Step
from opencph.jobs.failpoints import Passed, points

SEED = os.environ["CRASH_SEED"]  # conftest chooses one
PER_DATABASE = 9
ALWAYS = (("ChangeServer", "change_server:swap:after", "worker"), ("Shell", "phone_command:run:after", "worker"))


def sample(database: str) -> list[Case]:
    """Some cases, every victim among them."""
    everything = all_cases(ALL_KINDS, [database], VICTIMS, int(SEED) if SEED.isdigit() else 0)
    random.Random(f"{SEED} {database}").shuffle(everything)
    chosen = [case for case in everything if (case.scenario, case.point, case.victim) in ALWAYS]
    for number in range(PER_DATABASE - len(chosen)):
        victim = VICTIMS[number % len(VICTIMS)]
        chosen.append(next(case for case in everything if case.victim == victim and case not in chosen))
    return chosen


def named(case: Case) -> str:
    return f"{case.database}-{case.scenario}-{case.point}-{case.victim}-seed{SEED}"


@pytest.fixture(scope="module")
def sites(request: pytest.FixtureRequest) -> Iterator[dict[str, Site]]:
    """An installation on each database, made when it is needed, and not used again once something was violated."""
    made: dict[str, Site] = {}
    yield made
    left = [process for site in made.values() for process in site.close()]
    assert left == []


@pytest.mark.parametrize("case", [*sample("sqlite"), *sample("postgresql")], ids=named)
def test_nothing_is_lost_whoever_is_killed(request: pytest.FixtureRequest, sites: dict[str, Site], case: Case) -> None:
    if case.database not in sites:
        url = request.getfixturevalue("postgresql_cluster").create_database() if case.database == "postgresql" else None
        sites[case.database] = Site(url)
    try:
        run(sites[case.database], case)
    except BaseException:
        sites.pop(case.database).close()
        raise


def test_every_step_of_every_kind_is_a_case_with_every_victim() -> None:
    cases = all_cases(ALL_KINDS, ["sqlite"], VICTIMS, 0)
    wanted = {(point, victim) for point in points(ALL_KINDS.values()) for victim in VICTIMS}
    assert wanted <= {(case.point, case.victim) for case in cases}


def test_a_kind_without_a_scenario_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = JobKind(name="new_kind", steps=(Step("work", commit=lambda tx, batch: None),))
    monkeypatch.setitem(ALL_KINDS, "new_kind", kind)
    with pytest.raises(ViolationError, match="kind new_kind has no crash scenario: add one"):
        all_cases(ALL_KINDS, ["sqlite"], VICTIMS, 0)


def test_a_kind_that_is_undone_needs_a_scenario_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *rest = ALL_KINDS["restart_phone"].steps
    undone = replace(first, undo_effect=first.effect)
    monkeypatch.setitem(ALL_KINDS, "restart_phone", replace(ALL_KINDS["restart_phone"], steps=(undone, *rest)))
    with pytest.raises(ViolationError, match="kind restart_phone is undone when it fails"):
        all_cases(ALL_KINDS, ["sqlite"], VICTIMS, 0)


def test_a_step_that_no_scenario_comes_to_is_a_violation(sites: dict[str, Site], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "REACH_SECONDS", 1.0)
    if "sqlite" not in sites:
        sites["sqlite"] = Site()
    case = Case("sqlite", "UpdatePhone", "update_phone:nowhere:before", "worker", 0)
    with pytest.raises(ViolationError, match="somebody comes to update_phone:nowhere:before"):
        run(sites["sqlite"], case)


def test_every_scenario_is_of_a_kind_that_there_is() -> None:
    assert set(SCENARIOS) == set(ALL_KINDS)


def matrix_program(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "crash.matrix", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--point", "nothing"), "there is no such case"),
        (("--scenario", "Typo"), "there is no such case"),
        (("--sample", "-3"), "argument --sample: '-3' is no number from 1 up"),
        (("--processes", "0"), "argument --processes: '0' is no number from 1 up"),
    ],
    ids=" ".join,
)
def test_a_matrix_of_no_cases_is_an_error(arguments: tuple[str, ...], words: str) -> None:
    program = matrix_program("--database", "sqlite", *arguments)
    _, said = program.communicate(timeout=60)
    assert program.returncode == 2
    assert words in said


def _alive(process: psutil.Process) -> list[psutil.Process]:
    """What a process has begun, and is no zombie."""
    found = []
    for child in process.children(recursive=True):
        with suppress(psutil.Error):
            if child.cmdline():
                found.append(child)
    return found


def test_a_matrix_is_ended_by_ctrl_c() -> None:
    program = matrix_program("--database", "sqlite", "--processes", "1", "--seed", "1")
    assert program.stdout is not None
    assert " cases, seed 1" in program.stdout.readline()
    of_it = psutil.Process(program.pid)
    until(lambda: any("up" in child.cmdline() for child in _alive(of_it)), 30, lambda: f"an installation starts: {_alive(of_it)}")
    begun = _alive(of_it)
    program.send_signal(signal.SIGINT)
    said, errors = program.communicate(timeout=100)
    assert program.returncode == 1, errors
    assert "ended by hand" in said and errors == ""
    _, left = psutil.wait_procs(begun, timeout=10)
    assert left == []


def passed(*points: str, pid: int = 1) -> list[Passed]:
    return [Passed(0.0, pid, "restart", step, point, ["job"]) for step, _, point in (one.partition(":") for one in points)]


DONE = ["stop:before", "stop:after", "stop:recorded"]


@pytest.mark.parametrize(
    ("points", "deaths", "words"),
    [
        (passed(*DONE), 0, ""),
        (passed(*DONE[:2]) + passed(*DONE, pid=2), 1, ""),
        (passed(*DONE[:2]) + passed(*DONE, pid=2), 0, "done 2 times, and 0 workers died"),
        (passed(*DONE[:2], *DONE), 1, "one process did restart:stop of job job 2 times"),
        (passed(*DONE) + passed(*DONE[:1], pid=2), 1, "comes after it was recorded"),
        (passed(*DONE[:1], "stop:undo_before", "stop:undo_after", "stop:undo_recorded"), 0, ""),
        (passed(*DONE, "stop:undo_before", "next:before"), 0, "comes after undoing began"),
        (passed("rows:before", "rows:undo_before") + passed("rows:before", pid=2), 1, ""),
        (
            passed("rows:before", "rows:undo_before", "rows:undo_recorded") + passed("rows:before", pid=2),
            1,
            "comes after undoing began",
        ),
        (passed(*DONE, "stop:undo_recorded") + passed("stop:undo_before", pid=2), 1, "comes after it was recorded"),
    ],
)
def test_what_is_done_again_without_need_is_found(points: list[Passed], deaths: int, words: str) -> None:
    found = done_once(points, deaths, {("restart", "stop")})
    assert [words in one for one in found] == [True] * bool(words)


def test_a_file_of_the_data_directory_that_nobody_knows_is_found(sites: dict[str, Site]) -> None:
    if "sqlite" not in sites:
        sites["sqlite"] = Site()
    site = sites["sqlite"]
    before = possessions(site)
    (site.data / "diary").write_text("done\n")
    try:
        assert before.kept(possessions(site), (), ()) == ["file diary"]
    finally:
        (site.data / "diary").unlink()
