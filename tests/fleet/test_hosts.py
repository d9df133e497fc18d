"""Hosts: this machine's zones, an operator's own, what happens to a host that is no longer wanted; another host for a change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from fleet.fleet_world import FleetWorld
from opencph.fleet.catalogue import load_catalogue
from opencph.fleet.hosts import wanted_hosts
from opencph.settings import Settings

OWN_HOSTS = """
[hosts.rack1]
availability_zone = "z1"
phone_capacity = 100
server_capacity = 5
[hosts.rack2]
availability_zone = "z1"
phone_capacity = 100
server_capacity = 5
"""


def test_a_machine_is_divided_among_its_zones_without_a_rest(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, availability_zones="a, b,c", host_phones=100, host_servers=7)
    hosts = wanted_hosts(settings, load_catalogue())
    assert [(host.host_id, host.availability_zone, host.phone_capacity, host.server_capacity) for host in hosts] == [
        ("host-a", "a", 34, 3),
        ("host-b", "b", 33, 2),
        ("host-c", "c", 33, 2),
    ]


def test_hosts_of_the_own_file_replace_the_machines(world_with: Callable[..., FleetWorld], tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(OWN_HOSTS)
    world = world_with(catalogue=str(own))
    assert world.column("hosts.host_id") == ["rack1", "rack2"]
    (server_id,) = world.create()
    assert world.row("generations", server_id=server_id)["availability_zone"] == "z1"


def test_a_change_goes_to_another_host_when_one_has_room(world_with: Callable[..., FleetWorld], tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(OWN_HOSTS)
    world = world_with(catalogue=str(own))
    server_id = world.serving()
    old_host = world.row("generations", server_id=server_id)["host_id"]
    first = world.change(server_id)
    new_host = world.row("generations", generation_id=first)["host_id"]
    assert {old_host, new_host} == {"rack1", "rack2"}
    world.serve(server_id, first)
    world.set("hosts", {"host_id": old_host}, phone_capacity=20)
    second = world.change(server_id)  # the other one still carries the first generation and is full
    assert world.row("generations", generation_id=second)["host_id"] == new_host


def test_a_host_no_longer_wanted_goes_or_drains(world: FleetWorld) -> None:
    server_id = world.serving(availability_zone="cn-east-3a")
    world.fleet.settings = msgspec.structs.replace(world.settings, availability_zones="cn-east-3c")
    world.resync()
    assert dict(zip(world.column("hosts.host_id"), world.column("hosts.state"), strict=True))
    assert world.row("hosts", host_id="host-cn-east-3a")["state"] == "draining"
    assert world.column("hosts.host_id") == ["host-cn-east-3a", "host-cn-east-3c"]
    assert world.row("servers", server_id=server_id)["status"] == 5
    world.fleet.settings = world.settings
    world.resync()
    assert world.column("hosts.state") == ["active", "active"]
    world.resync()
    assert world.column("hosts.host_id") == ["host-cn-east-3a", "host-cn-east-3b"]
