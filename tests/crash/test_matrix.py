"""A sample of the crash matrix, on both databases; `make crash` runs it whole. The seed stands in the name of every test.

`CRASH_SEED=<seed>` runs the sample of that seed. The swap of a change and commands are always among it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from crash import matrix
from crash.matrix import ALL_KINDS, Case, all_cases, run
from crash.program import VICTIMS, ViolationError
from crash.scenarios_data import SCENARIOS
from crash.site import Site
from opencph.jobs import JobKind, Step
from opencph.jobs.failpoints import points

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
