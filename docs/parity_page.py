"""Writes docs/parity.md: every operation of the installed SDK, where it is here, and which tests call it. `--check`: is it stale?

A test counts for an operation when it calls the method of that name with the SDK's request, as a user would: through a real api.
`--uncovered` lists the operations without a route or without a test.
"""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import huaweicloudsdkcph.v1 as sdk

from opencph.api.routes import ROUTES
from opencph.api.routing import Route
from opencph.iam.actions import CPH_ACTIONS

PAGE = Path(__file__).with_name("parity.md")
ROOT = PAGE.parent.parent
#: where a person could follow what the SDK does: the tests, and the demo that the tests run
PLACES = ("tests", "demo")

INTRODUCTION = """\
# Parity

<!-- Made by `python docs/parity_page.py` from huaweicloudsdkcph, the route table and the tests. Do not edit. -->

Every operation of the vendor's newest SDK (`huaweicloudsdkcph` {version}), where it is served here, the action that policies call
it, and the test files that call it through that SDK, unmodified. Every route is also held to what all promise
([test_all_routes.py](../tests/api/test_all_routes.py)) and to its OpenAPI schema
([test_openapi.py](../tests/api/test_openapi.py)), and the schema, field by field, to what the checks read
([test_openapi_bodies.py](../tests/api/test_openapi_bodies.py)) and to the models of that SDK
([test_openapi_sdk.py](../tests/api/test_openapi_sdk.py)).

{covered} of {all} operations are served and tested.

| # | operation | method and path | action | tests |
|---|---|---|---|---|
"""


class Operation(NamedTuple):
    """An operation of the SDK and what there is for it here."""

    name: str
    method: str
    path: str
    route: Route | None
    tests: tuple[str, ...]

    @property
    def covered(self) -> bool:
        """Whether it is served, and a test calls it."""
        return self.route is not None and bool(self.tests)


def snake(name: str) -> str:
    """The name of an operation's method."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def operations() -> list[Operation]:
    """Every operation of the installed SDK."""
    routes = {operation: route for route in ROUTES for operation in route.operations}
    calls = _calls()
    found = []
    for name in CPH_ACTIONS:
        info = getattr(sdk.CphClient, f"_{snake(name)}_http_info")(getattr(sdk, f"{name}Request")())
        route = routes.get(name)
        if route is not None and (route.method, route.path) != (info["method"], info["resource_path"]):
            route = None
        found.append(Operation(name, info["method"], info["resource_path"], route, tuple(sorted(calls.get(name, ())))))
    return found


def sdk_names() -> set[str]:
    """The operations that the installed SDK has."""
    methods = re.findall(r"^_(\w+)_http_info$", "\n".join(vars(sdk.CphClient)), re.MULTILINE)
    requests = {snake(name.removesuffix("Request")): name.removesuffix("Request") for name in dir(sdk) if name.endswith("Request")}
    return {requests[method] for method in methods}


def _calls() -> dict[str, set[str]]:
    """Operation -> the files that call it through the SDK."""
    found: dict[str, set[str]] = {}
    for place in PLACES:
        for file in sorted((ROOT / place).rglob("*.py")):
            text = file.read_text()
            if "huaweicloudsdkcph" not in text:
                continue
            for node in ast.walk(ast.parse(text)):
                for name in _called(node):
                    found.setdefault(name, set()).add(str(file.relative_to(ROOT)))
    return found


def _called(node: ast.AST) -> set[str]:
    """What a call asks for: `client.show_job(ShowJobRequest(...))`, or `refused(client.show_job, ShowJobRequest(...))`."""
    if not isinstance(node, ast.Call):
        return set()
    methods = {part.attr for part in (node.func, *node.args) if isinstance(part, ast.Attribute)}
    requests = set()
    for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
        for part in ast.walk(argument):
            name = part.attr if isinstance(part, ast.Attribute) else part.id if isinstance(part, ast.Name) else ""
            if name in _BY_REQUEST:
                requests.add(_BY_REQUEST[name])
            elif isinstance(part, ast.Name) and methods & _BY_METHOD.keys():
                requests |= {_BY_METHOD[method] for method in methods & _BY_METHOD.keys()}  # a request made a line earlier
    return {name for name in requests if methods & {snake(name), f"{snake(name)}_async", f"{snake(name)}_invoker"}}


_BY_REQUEST = {f"{name}Request": name for name in CPH_ACTIONS}
_BY_METHOD = {method: name for name in CPH_ACTIONS for method in (snake(name), f"{snake(name)}_async")}


def page(found: list[Operation]) -> str:
    """The whole page."""
    covered = sum(one.covered for one in found)
    text = INTRODUCTION.format(version=version("huaweicloudsdkcph"), covered=covered, all=len(found))
    for number, one in enumerate(found, 1):
        action = f"`{one.route.action}`" if one.route else "not served"
        tests = ", ".join(f"[{Path(test).name}](../{test})" for test in one.tests) or "none"
        text += f"| {number} | {one.name} | `{one.method} {one.path}` | {action} | {tests} |\n"
    return text


if __name__ == "__main__":
    listed = operations()
    if "--uncovered" in sys.argv[1:]:
        print("\n".join(one.name for one in listed if not one.covered))
    elif "--check" in sys.argv[1:]:
        fresh = PAGE.is_file() and PAGE.read_text() == page(listed)
        sys.exit(0 if fresh else "docs/parity.md is stale: run python docs/parity_page.py")
    else:
        PAGE.write_text(page(listed))
