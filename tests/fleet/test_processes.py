"""Several processes on one database: what one remembers is never what another has changed, and no address is given twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from fleet.fleet_world import FleetWorld
from opencph.fleet import Fleet
from opencph.fleet.ids import new_id
from opencph.fleet.phones import list_cloud_phones, show_cloud_phone_detail
from opencph.fleet.retry import once_more_on_conflict
from opencph.fleet.server_create import create_net2_cloud_phone_server
from opencph.store import revisions
from opencph.store.database import StoreConflictError
from opencph.wire.errors import CphError
from opencph.wire.phones import ListCloudPhonesQuery
from opencph.wire.servers import Port


def another_process(world: FleetWorld) -> Fleet:
    return Fleet(database=world.database, catalogue=world.fleet.catalogue, settings=world.settings)


def test_a_process_sees_at_once_what_another_has_swapped(world: FleetWorld) -> None:
    other = another_process(world)
    server_id = world.serving()
    old = world.column("phones.phone_id", server_id=server_id)
    show_cloud_phone_detail(other, world.caller, "r", old[0])
    assert list_cloud_phones(other, world.caller, "r", ListCloudPhonesQuery()).count == 20
    world.serve(server_id, world.change(server_id, phone_model_name="kg1.cp.c100.d10SSD.e1v1"))
    with pytest.raises(CphError):
        show_cloud_phone_detail(other, world.caller, "r", old[0])
    answer = list_cloud_phones(other, world.caller, "r", ListCloudPhonesQuery())
    assert answer.count == 100
    shown = show_cloud_phone_detail(other, world.caller, "r", answer.phones[0].phone_id)
    assert shown.phone_model_name == "kg1.cp.c100.d10SSD.e1v1"
    world.delete_server(server_id)
    with pytest.raises(CphError):
        show_cloud_phone_detail(other, world.caller, "r", shown.phone_id)
    assert list_cloud_phones(other, world.caller, "r", ListCloudPhonesQuery()).count == 0


def test_an_eip_bound_later_shows_as_soon_as_the_network_revision_moves(world: FleetWorld) -> None:
    server_id = world.serving(ports=(Port(name="web", listen_port=20000, internet_accessible="true"),))
    phone_id = world.column("phones.phone_id", server_id=server_id)[0]
    show_cloud_phone_detail(world.fleet, world.caller, "r", phone_id)
    generation_id = world.row("servers", server_id=server_id)["generation_id"]
    eip_id = world.eip("127.80.33.33", generation_id=generation_id)
    world.set("server_addresses", {"generation_id": generation_id}, eip_id=eip_id)
    with world.database.write() as tx:
        revisions.bump(tx, "network")
    shown = show_cloud_phone_detail(world.fleet, world.caller, "r", phone_id)
    assert [info.public_ip for info in shown.access_infos] == ["", "127.80.33.33"]


def test_two_processes_that_sell_at_once_give_no_address_twice(world: FleetWorld) -> None:
    processes = (world.fleet, another_process(world))

    def buy(number: int) -> None:
        body = world.create_body(server_name=f"s{number}", phone_count_per_ip=4)
        create_net2_cloud_phone_server(processes[number % 2], world.caller, new_id(), body)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(buy, range(20)))
    for column, count in (("server_addresses.server_ip", 100), ("eips.address", 20), ("phones.phone_ip", 400)):
        values = world.column(column)
        assert len(values) == len(set(values)) == count


def test_a_transaction_that_met_another_runs_once_more_and_no_oftener() -> None:
    runs = []

    def meets(times: int) -> str:
        runs.append(times)
        if len(runs) <= times:
            raise StoreConflictError("a row exists already")
        return "done"

    assert once_more_on_conflict(lambda: meets(1)) == "done"
    assert len(runs) == 2
    runs.clear()
    with pytest.raises(StoreConflictError):
        once_more_on_conflict(lambda: meets(2))
    assert len(runs) == 2
