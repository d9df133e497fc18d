"""An access port is never given twice and never moves while its phone lives, whatever is bought, changed and deleted in between."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.fleet_world import FleetWorld
from opencph.fleet import generations
from opencph.fleet.generation_routes import route
from opencph.wire.servers import Port

SERVERS_MAX = 3

ports = st.lists(
    st.builds(Port, name=st.just("p"), listen_port=st.integers(1, 65535), internet_accessible=st.sampled_from(["true", "false"])),
    max_size=4,
    unique_by=lambda port: port.listen_port,
).map(
    lambda found: tuple(
        Port(name=f"p{n}", listen_port=p.listen_port, internet_accessible=p.internet_accessible) for n, p in enumerate(found)
    )
)
steps = st.one_of(
    st.tuples(st.just("create"), st.sampled_from([None, 1, 3, 7, 20]), ports),
    st.tuples(st.sampled_from(["change", "swap", "undo", "delete"]), st.integers(0, SERVERS_MAX - 1), ports),
)


def _ports(world: FleetWorld) -> dict[tuple[str, int], tuple[str, int]]:
    """Every access port of every generation there is, also of those that are built or retire; each only once."""
    found: dict[tuple[str, int], tuple[str, int]] = {}
    with world.database.read() as tx:
        for generation_id in world.column("generations.generation_id"):
            way = route(tx, generation_id)
            assert way is not None
            for mapping in way.mappings():
                place = mapping.listen_ip, mapping.listen_port
                if mapping.public and way.generation_id not in world.column("servers.generation_id"):
                    continue  # an EIP that is taken over leads to one generation at a time: to the one that serves
                assert place not in found, f"given twice: {place}"
                found[place] = mapping.phone_ip, mapping.phone_port
    return found


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(plan=st.lists(steps, min_size=3, max_size=9))
def test_no_access_port_is_given_twice_or_moves(world: FleetWorld, plan: list[tuple[str, int | None, tuple[Port, ...]]]) -> None:
    servers: list[str] = []
    known: dict[tuple[str, int], tuple[str, int]] = {}
    try:
        for step, number, given_ports in plan:
            if step == "create":
                if len(servers) < SERVERS_MAX:
                    servers.append(world.serving(ports=given_ports, phone_count_per_ip=number))
            elif number is not None and number < len(servers):
                server_id = servers[number]
                building = world.column("generations.generation_id", server_id=server_id, state="building")
                if step == "change" and not building:
                    world.change(server_id, ports=given_ports)
                elif step == "swap" and building:
                    (old,) = world.column("servers.generation_id", server_id=server_id)
                    world.serve(server_id, building[0])
                    _ports(world)  # old and new are both there
                    with world.database.write() as tx:
                        generations.release(tx, old)
                elif step == "undo" and building:
                    with world.database.write() as tx:
                        generations.release(tx, building[0])
                    world.set("servers", {"server_id": server_id}, status=5)
                elif step == "delete":
                    world.delete_server(servers.pop(number))
            now = _ports(world)
            alive = set(world.column("phones.phone_ip"))
            for place, target in known.items():
                if target[0] in alive and place[0] in {ip for ip, _port in now}:
                    assert now.get(place, target) == target, f"moved: {place}"
            known = now
    finally:
        for server_id in servers:
            world.delete_server(server_id)
    assert _ports(world) == {}
