"""The routes of the services beside CPH: where the vendor's SDKs call them, under handlers of their names."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest

from opencph.api.neighbour_routes import NEIGHBOUR_ROUTES
from opencph.api.routing import Route

#: routes that scripts and Terraform use and the SDK does not have
WITHOUT_SDK = {"UpdateSubnetWithoutVpc", "DeleteSubnetWithoutVpc"}
CLIENTS = (
    ("huaweicloudsdkvpc.v2", "VpcClient"),
    ("huaweicloudsdkeip.v2", "EipClient"),
    ("huaweicloudsdkkps.v3", "KpsClient"),
    ("huaweicloudsdkecs.v2", "EcsClient"),
    ("huaweicloudsdkbss.v2", "BssClient"),
)
#: operations whose name CPH or another version of the same service has too
RENAMED = {
    "ShowVpcV3": ("huaweicloudsdkvpc.v3", "VpcClient", "ShowVpc"),
    "UpdatePublicipBandwidth": ("huaweicloudsdkeip.v2", "EipClient", "UpdateBandwidth"),
}


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def sdk_place(operation: str) -> tuple[str, str]:
    """Method and path where the SDK calls an operation."""
    found = [RENAMED[operation]] if operation in RENAMED else [(module, client, operation) for module, client in CLIENTS]
    for module_name, client, name in found:
        module = importlib.import_module(module_name)
        make = getattr(getattr(module, client), f"_{snake(name)}_http_info", None)
        if make is not None:
            http_info: dict[str, Any] = make(getattr(module, f"{name}Request")())
            return http_info["method"], http_info["resource_path"]
    raise AssertionError(f"no SDK has {operation}")


@pytest.mark.parametrize("route", NEIGHBOUR_ROUTES, ids=lambda route: route.operation)
def test_a_route_is_where_the_sdk_calls_it(route: Route) -> None:
    if route.operation not in WITHOUT_SDK:
        assert sdk_place(route.operation) == (route.method, route.path)
    assert route.auth
    assert route.handler.__name__ == snake(route.operation)
