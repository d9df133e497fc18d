"""The parity page: every operation of the installed SDK is served where the SDK calls it, tested through it, and on the page."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from opencph.iam.actions import CPH_ACTIONS

ROOT = Path(__file__).parents[2]


def load() -> ModuleType:
    specification = importlib.util.spec_from_file_location("parity_page", ROOT / "docs/parity_page.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


parity = load()
OPERATIONS = parity.operations()


def test_every_operation_of_the_sdk_is_known_and_no_other() -> None:
    assert parity.sdk_names() == set(CPH_ACTIONS)
    assert len(OPERATIONS) == 59


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_an_operation_is_served_and_a_test_calls_it_through_the_sdk(operation: tuple[str, ...]) -> None:
    name, method, path, route, tests = operation
    assert route is not None, f"no route answers {method} {path} as {name}: see api/routes.py (`also` for a shared path)"
    assert tests, f"no test calls {name} through huaweicloudsdkcph"


def test_the_page_is_fresh() -> None:
    assert (ROOT / "docs/parity.md").read_text() == parity.page(OPERATIONS), "run python docs/parity_page.py"
