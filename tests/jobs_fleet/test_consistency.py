"""Rows that a hand in the database, or an old backup, has left in contradiction: found, told, and put right where they can be."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable

import psycopg
import pytest
from sqlalchemy import select

from jobs_fleet.memory_runtime import MemoryRuntime
from jobs_fleet.small_world import MONTHLY, ON_DEMAND, World
from opencph import status
from opencph.fleet import consistency, findings
from opencph.fleet.cards import READ_REVISION
from opencph.fleet.ids import new_id
from opencph.fleet.phones import list_cloud_phones, show_cloud_phone_detail
from opencph.fleet.reconcile import Reconciler
from opencph.fleet.server_delete import accept_deletion
from opencph.fleet.servers import list_cloud_phone_servers, show_cloud_phone_server_detail
from opencph.store import tables
from opencph.store.database import Query, tuple_row
from opencph.wire.errors import CphError
from opencph.wire.phones import ListCloudPhonesQuery
from opencph.wire.servers import ListCloudPhoneServersQuery


def by_hand(world: World, *statements: str) -> None:
    """Change rows as somebody does who asks no rule: foreign keys are not looked at."""
    url = world.settings.database_url
    if url.startswith("sqlite:///"):
        with sqlite3.connect(url.removeprefix("sqlite:///"), timeout=10) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()
    else:
        with psycopg.connect(url) as server:
            server.execute("SET session_replication_role = replica")
            for statement in statements:
                server.execute(statement.encode())


def the_row(world: World, table: str, key: str, value: str) -> str:
    """The statement that puts a row back as it is now."""
    columns = [column.name for column in tables.metadata.tables[table].columns]
    query = select(*(tables.metadata.tables[table].c[name] for name in columns)).where(
        tables.metadata.tables[table].c[key] == value
    )
    with world.database.read() as tx:
        (row,) = tx.rows(Query(query, tuple_row))
    values = ", ".join(str(one) if isinstance(one, int) else f"'{one!s}'" for one in row)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})"


def told(world: World, what: str = "contradiction") -> list[str]:
    with world.database.read() as tx:
        return [one.text for one in findings.recent(tx) if one.what == what]


def with_server(world: World, act: Callable[[str, MemoryRuntime], Awaitable[None]]) -> None:
    """Buy a server, and act when no worker runs any more."""

    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
        await act(server_id, runtime)
        await runtime.close()

    asyncio.run(main())


def test_rows_that_agree_are_left_alone_also_while_jobs_wait(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            restarted, changed, deleted, also_deleted = await world.bought(4)
        world.buy(2)
        world.restart(world.phones(restarted)[0].phone_id)
        world.change(changed)
        world.delete(deleted, also_deleted)  # one job in the lane of the first: the other one is only named by it
        assert consistency.check(world.fleet) == set()
        with world.database.read() as tx:
            assert findings.recent(tx) == []
        await runtime.close()

    asyncio.run(main())


def test_a_change_whose_job_is_gone_leaves_the_server_as_it_was_and_nothing_behind(world: World) -> None:
    async def act(server_id: str, runtime: MemoryRuntime) -> None:
        before = world.counts()
        world.change(server_id)
        assert world.server(server_id).status == 3
        by_hand(world, "DELETE FROM jobs WHERE kind = 'change_server'")
        assert consistency.check(world.fleet) == set()
        assert world.server(server_id).status == 5
        assert told(world) == [f"server {server_id} was creating or changing (3) and no job works on it: it is normal (5) now"]
        await Reconciler(world.fleet, runtime).reconcile()
        assert world.counts() == before
        assert list(world.generation_states().values()) == ["serving"]
        (released,) = told(world, "removed")
        assert f"of server {server_id} was building, and no job worked on it: it is released" in released
        assert [phone.status for phone in world.phones(server_id)] == [2] * 3

    with_server(world, act)


def test_a_purchase_whose_job_is_gone_has_failed(world: World) -> None:
    async def act(_server_id: str, runtime: MemoryRuntime) -> None:
        (bought,) = world.buy()
        by_hand(world, f"DELETE FROM jobs WHERE lane = '{bought}'")
        consistency.check(world.fleet)
        assert world.server(bought).status == 2
        assert [phone.status for phone in world.phones(bought)] == [-8] * 3
        await Reconciler(world.fleet, runtime).reconcile()
        assert world.server(bought).status == 2, "it stays to be seen until it is deleted"

    with_server(world, act)


def test_a_deletion_whose_job_is_gone_can_be_asked_for_again(world: World) -> None:
    async def act(server_id: str, runtime: MemoryRuntime) -> None:
        world.delete(server_id)
        by_hand(world, "DELETE FROM jobs WHERE kind = 'delete_server'")
        consistency.check(world.fleet)
        assert world.server(server_id).status == 2
        async with world.working(runtime):
            world.delete(server_id)
            await world.all_ended()
        assert not world.exists(server_id)
        assert set(world.counts().values()) == {0}

    with_server(world, act)


def test_phones_at_work_without_a_job_are_abnormal_until_they_are_looked_at(world: World) -> None:
    async def act(server_id: str, runtime: MemoryRuntime) -> None:
        world.restart(world.phones(server_id)[1].phone_id)
        by_hand(world, "DELETE FROM jobs WHERE kind = 'restart_phone'")
        consistency.check(world.fleet)
        assert [phone.status for phone in world.phones(server_id)] == [2, -7, 2]
        text = f"1 phones of server {server_id} were in a state that only a job gives, and have none: they are -7 now"
        assert told(world) == [text]
        await Reconciler(world.fleet, runtime).reconcile()
        assert [phone.status for phone in world.phones(server_id)] == [2] * 3

    with_server(world, act)


@pytest.mark.parametrize("status_", [-8, 77])
def test_phones_in_a_state_that_phones_do_not_stay_in_are_looked_at(world: World, status_: int) -> None:
    async def act(server_id: str, runtime: MemoryRuntime) -> None:
        by_hand(world, f"UPDATE phones SET status = {status_} WHERE number = 2")
        consistency.check(world.fleet)
        assert [phone.status for phone in world.phones(server_id)] == [2, -7, 2]
        assert len(told(world)) == 1
        await Reconciler(world.fleet, runtime).reconcile()
        assert [phone.status for phone in world.phones(server_id)] == [2] * 3

    with_server(world, act)


def test_a_phone_with_the_address_of_another_has_its_own_again(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            first, second = await world.bought(2)
            before = world.phones(first), world.phones(second)
            taken, (phone, *_) = before[1][1].ip, before[0]
            revision = world.one(READ_REVISION)
            by_hand(world, f"UPDATE phones SET phone_ip = '{taken}', phone_ipv6 = 'fd00::1' WHERE phone_id = '{phone.phone_id}'")
            assert world.phones(first)[0].ip == taken
            assert consistency.check(world.fleet) == set()
            assert (world.phones(first), world.phones(second)) == before
            assert (world.one(READ_REVISION) or 0) > (revision or 0), "who remembers addresses reads them again"
            (text,) = told(world)
            assert text.startswith(f"phone {phone.phone_id} of server {first} had another's address") and taken in text
            shown = show_cloud_phone_detail(world.fleet, world.caller, "r", phone.phone_id)
            assert {info.phone_ip for info in shown.access_infos} == {phone.ip}
        await runtime.close()

    asyncio.run(main())


def test_a_phone_of_another_server_or_project_is_its_own_servers_again(world: World) -> None:
    async def act(server_id: str, _runtime: MemoryRuntime) -> None:
        by_hand(
            world, "UPDATE phones SET server_id = 'x' WHERE number = 1", "UPDATE phones SET project_id = 'other' WHERE number = 2"
        )
        consistency.check(world.fleet)
        assert len(told(world)) == 2
        mine = ListCloudPhonesQuery(server_id=server_id)
        assert list_cloud_phones(world.fleet, world.caller, "r", mine).count == 3
        for phone in world.phones(server_id):
            assert show_cloud_phone_detail(world.fleet, world.caller, "r", phone.phone_id).server_id == server_id

    with_server(world, act)


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("UPDATE generations SET phone_ip_first = phone_ip_first + 7", "have other addresses than it says"),
        ("UPDATE generations SET phone_ip_first = -7", "have other addresses than it says"),
        ("UPDATE phones SET number = 99 WHERE number = 2", "has not all its phones in the database"),
    ],
)
def test_addresses_that_nobody_can_put_right_are_told_and_kept(world: World, statement: str, text: str) -> None:
    async def act(server_id: str, _runtime: MemoryRuntime) -> None:
        before = {phone.phone_id: phone.ip for phone in world.phones(server_id)}
        by_hand(world, statement)
        consistency.check(world.fleet)
        (found,) = told(world)
        assert server_id in found and text in found
        assert {phone.phone_id: phone.ip for phone in world.phones(server_id)} == before

    with_server(world, act)


def test_a_server_whose_generation_has_no_row_is_abnormal_and_its_phones_are_kept(world: World) -> None:
    async def act(server_id: str, runtime: MemoryRuntime) -> None:
        generation_id = world.server(server_id).generation_id
        by_hand(world, f"DELETE FROM generations WHERE generation_id = '{generation_id}'")
        assert consistency.check(world.fleet) == {server_id}
        assert world.server(server_id).status == 2
        (text,) = told(world)
        assert text.startswith(f"server {server_id}: the generation {generation_id} that serves it has no row: restore")
        await Reconciler(world.fleet, runtime).reconcile()
        assert list(runtime.generations) == [generation_id] and runtime.aside == []
        assert len(world.phones(server_id)) == 3, "rows that would be needed again stay as well"

    with_server(world, act)


@pytest.mark.parametrize("charging_mode", [ON_DEMAND, MONTHLY])
def test_a_server_row_that_was_restored_alone_is_shown_abnormal_and_can_be_deleted(world: World, charging_mode: int) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought(charging_mode=charging_mode)
            generation_id = world.server(server_id).generation_id
            row = the_row(world, "servers", "server_id", server_id)
            with world.database.write() as tx:
                accept_deletion(tx, world.caller.project_id, new_id(), [server_id], unsubscribed=True)
            await world.all_ended()
            by_hand(world, row)
            assert consistency.check(world.fleet) == {server_id}
            await Reconciler(world.fleet, runtime).reconcile()
            shown = show_cloud_phone_server_detail(world.fleet, world.caller, "r", server_id)
            assert (shown.status, shown.phone_model_name, shown.addresses, shown.volumes) == (2, "", [], [])
            for query in ({}, {"status": 2}, {"server_id": server_id}):
                listed = list_cloud_phone_servers(world.fleet, world.caller, "r", ListCloudPhoneServersQuery(**query))
                assert (listed.count, [one.server_id for one in listed.servers]) == (1, [server_id])
            (told_of,) = status.read_status(world.settings).newest_servers
            assert (told_of.server_id, told_of.status, told_of.phone_count) == (server_id, 2, 0)
            with pytest.raises(CphError) as refused:
                world.change(server_id)
            assert refused.value.code == "CPS.0099", "it is there, and not ready"
            job = await world.ended(world.delete(server_id))
            assert job.status == 2
            assert not world.exists(server_id)
            assert set(world.counts().values()) == {0}
        assert consistency.check(world.fleet) == set()
        assert generation_id not in runtime.generations
        await runtime.close()

    asyncio.run(main())


def test_what_is_left_of_a_generation_without_its_row_goes_with_its_server(world: World) -> None:
    async def act(server_id: str, runtime: MemoryRuntime) -> None:
        by_hand(world, "DELETE FROM generations")
        consistency.check(world.fleet)
        async with world.working(runtime):
            assert (await world.ended(world.delete(server_id))).status == 2
        assert set(world.counts().values()) == {0}
        assert runtime.generations == {}

    with_server(world, act)


def test_a_server_without_its_phones_stays_abnormal_though_its_host_lives(world: World) -> None:
    async def act(server_id: str, runtime: MemoryRuntime) -> None:
        by_hand(world, f"DELETE FROM phones WHERE server_id = '{server_id}' AND number = 2")
        reconciler = Reconciler(world.fleet, runtime)
        for _ in range(2):
            await reconciler._check_rows()
            await reconciler.reconcile()
            assert world.server(server_id).status == 2
        assert "has not all its phones in the database" in told(world)[0]

    with_server(world, act)


def test_an_eip_and_a_bandwidth_without_rows_are_told(world: World) -> None:
    async def act(server_id: str, _runtime: MemoryRuntime) -> None:
        by_hand(world, "DELETE FROM eips", "DELETE FROM bandwidths")
        consistency.check(world.fleet)
        texts = told(world)
        assert any(text.startswith(f"server {server_id}: its address 127.") and "EIP that has no row" in text for text in texts)
        assert any(text.startswith(f"server {server_id}: its bandwidth ") for text in texts)
        consistency.check(world.fleet)
        assert told(world) == texts, "the same is not written down again and again"

    with_server(world, act)


def test_a_generation_whose_server_has_no_row_is_told_and_kept(world: World) -> None:
    async def act(server_id: str, runtime: MemoryRuntime) -> None:
        generation_id = world.server(server_id).generation_id
        by_hand(world, f"DELETE FROM servers WHERE server_id = '{server_id}'")
        consistency.check(world.fleet)
        assert told(world) == [
            f"generation {generation_id} belongs to server {server_id}, which has no row: restore the database; its data is kept"
        ]
        await Reconciler(world.fleet, runtime).reconcile()
        assert list(runtime.generations) == [generation_id]

    with_server(world, act)


def test_rows_of_a_server_that_was_deleted_by_hand_hold_no_address_and_no_eip(world: World) -> None:
    async def act(server_id: str, runtime: MemoryRuntime) -> None:
        by_hand(world, f"DELETE FROM servers WHERE server_id = '{server_id}'", "DELETE FROM generations")
        consistency.check(world.fleet)
        assert set(world.counts().values()) == {0}
        assert len(told(world, "removed")) == 1
        await Reconciler(world.fleet, runtime).reconcile()
        assert runtime.generations == {}

    with_server(world, act)


def test_what_was_found_is_in_opencph_status(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    async def act(server_id: str, _runtime: MemoryRuntime) -> None:
        by_hand(world, f"DELETE FROM phones WHERE server_id = '{server_id}' AND number = 2")
        consistency.check(world.fleet)
        status.status(world.settings)
        printed = capsys.readouterr().out
        assert "Found in the last 24 hours" in printed and "its generation" in printed
        (found,) = status.read_status(world.settings).found_24h
        assert (found.what, found.server_id) == ("contradiction", server_id)

    with_server(world, act)
