"""Name, properties and traffic route of phones that keep running: what rows and runtime have afterwards, what is refused."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import bindparam, update

from jobs_fleet.memory_runtime import MemoryRuntime
from jobs_fleet.small_world import LONG_PROPERTY, World, merged
from opencph.fleet import speed_limits
from opencph.fleet.ids import new_id
from opencph.fleet.phone_updates import import_traffic, update_cloud_phone_property, update_phone_name
from opencph.fleet.phones import show_cloud_phone_detail
from opencph.store import tables
from opencph.store.database import command
from opencph.wire.errors import CphError
from opencph.wire.phones import (
    ImportTrafficRequest,
    PhoneJobsResponse,
    UpdateCloudPhonePropertyRequest,
    UpdatePhoneNameRequest,
    UpdateProperty,
)

UNKNOWN = "0" * 32
_STATUS = command(
    update(tables.phones).where(tables.phones.c.phone_id == bindparam("of_phone")).values(status=bindparam("status_now"))
)


def set_properties(world: World, phone_id: str, text: str, custom: dict[str, str] | None = None) -> PhoneJobsResponse:
    phones = (UpdateProperty(phone_id=phone_id, property=text, custom_property=custom or {}),)
    return update_cloud_phone_property(world.fleet, world.caller, new_id(), UpdateCloudPhonePropertyRequest(phones=phones))


def test_given_properties_go_over_those_the_phone_has_and_reach_the_runtime(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            phone_id = world.phones(server_id)[0].phone_id
            for text, custom in (
                ('{"com.cph.mainkeys":1,"ro.install.auto":"0"}', {"my.own": "x", "my.other": "y"}),
                ('{"ro.install.auto":1}', {"my.own": "z"}),
            ):
                (item,) = set_properties(world, phone_id, text, custom).jobs
                assert (await world.ended(item.job_id or "")).status == 2
            phone = world.phones(server_id)[0]
            assert merged(phone.property) == {"com.cph.mainkeys": 1, "ro.install.auto": 1}
            assert phone.status == 2
            shown = show_cloud_phone_detail(world.fleet, world.caller, new_id(), phone_id)
            assert shown.custom_property == {"my.own": "z", "my.other": "y"}
            told = runtime.generations[world.server(server_id).generation_id].phones[phone_id].spec.properties
            expected = {"com.cph.mainkeys": "1", "ro.install.auto": "1", "my.own": "z", "my.other": "y"}
            assert {key: told[key] for key in expected} == expected
        await runtime.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("text", "custom", "code"),
    [
        ("no json", {}, "CPS.0078"),
        ('{"unknown.key":1}', {}, "CPS.0163"),
        ('{"com.cph.mainkeys":2}', {}, "CPS.0164"),
        ("", {"bad name": "1"}, "CPS.0164"),
        ("", {".leading": "1"}, "CPS.0164"),
        ("", {"com.cph.mainkeys": "7"}, "CPS.0164"),
        ("", {"my.own": "x" * 92}, "CPS.0164"),
        ("", {f"ro.{number}": "x" * 2000 for number in range(4)}, "CPS.0078"),
        (LONG_PROPERTY, {}, "CPS.0078"),
    ],
)
def test_properties_that_cannot_be_are_refused_in_their_item(world: World, text: str, custom: dict[str, str], code: str) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            before = world.phones(server_id)
            (item,) = set_properties(world, before[0].phone_id, text, custom).jobs
            assert (item.error_code, item.job_id) == (code, None)
            assert world.phones(server_id) == before
        await runtime.close()

    asyncio.run(main())


def test_a_renamed_phone_knows_its_name_and_foreign_phones_are_unknown(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            phone_id = world.phones(server_id)[1].phone_id
            update_phone_name(world.fleet, world.caller, new_id(), phone_id, UpdatePhoneNameRequest(phone_name="手机-2"))
            assert show_cloud_phone_detail(world.fleet, world.caller, new_id(), phone_id).phone_name == "手机-2"
            await world.all_ended()
            assert runtime.generations[world.server(server_id).generation_id].phones[phone_id].spec.name == "手机-2"
            with pytest.raises(CphError) as error:
                update_phone_name(world.fleet, world.caller, new_id(), UNKNOWN, UpdatePhoneNameRequest(phone_name="x"))
            assert error.value.code == "CPS.0005"
        await runtime.close()

    asyncio.run(main())


def test_a_name_is_one_phones_of_a_server(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            server_id, other_id = await world.bought(2)
            first, second = world.phones(server_id)[:2]
            for phone, name in ((second, "mine"), (second, "mine"), (world.phones(other_id)[0], "mine")):
                update_phone_name(world.fleet, world.caller, new_id(), phone.phone_id, UpdatePhoneNameRequest(phone_name=name))
            with pytest.raises(CphError) as error:
                update_phone_name(world.fleet, world.caller, new_id(), first.phone_id, UpdatePhoneNameRequest(phone_name="mine"))
            assert error.value.code == "CPS.0026" and second.phone_id in error.value.message
            shown = show_cloud_phone_detail(world.fleet, world.caller, new_id(), first.phone_id)
            assert shown.phone_name.endswith("-00001")
            await world.all_ended()
        await runtime.close()

    asyncio.run(main())


def test_a_download_limit_is_not_above_the_bandwidth_of_the_server(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            phone_id = world.phones(server_id)[0].phone_id
            (item,) = set_properties(world, phone_id, '{"com.cph.bandwidth_limit":"300001"}').jobs
            assert item.error_code == "CPS.0164" and "at most 300000" in (item.error_msg or "")
            for value in ("300000", "-1"):
                (item,) = set_properties(world, phone_id, f'{{"com.cph.bandwidth_limit":"{value}"}}').jobs
                assert (await world.ended(item.job_id or "")).status == 2
        await runtime.close()

    asyncio.run(main())


def test_the_qemu_flavor_has_no_download_limit() -> None:
    for text, bandwidth, code in (('{"com.cph.bandwidth_limit":"-1"}', 300, "CPS.0163"), ('{"com.cph.mainkeys":1}', 300, "")):
        try:
            speed_limits.check(text, "rx1.cp.c60.d32.e1v1.qemu", bandwidth)
            found = ""
        except CphError as error:
            found = error.code
        assert found == code
    speed_limits.check('{"com.cph.bandwidth_limit":"99999999"}', "rx1.cp.c60.d10.e1v1", None)


def test_the_traffic_route_is_shown_and_told(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            one, two, three = (phone.phone_id for phone in world.phones(server_id))
            world.execute(_STATUS, of_phone=two, status_now=4)
            body = ImportTrafficRequest(traffic_type="routing", phone_ids=(one, two, UNKNOWN, one))
            answer = import_traffic(world.fleet, world.caller, new_id(), body)
            assert [item.error_code for item in answer.jobs] == [None, "CPS.0165", "CPS.0005", "CPS.0165"]
            assert (await world.ended(answer.jobs[0].job_id or "")).status == 2
            shown = [show_cloud_phone_detail(world.fleet, world.caller, new_id(), each).traffic_type for each in (one, two, three)]
            assert shown == ["routing", "direct", "direct"]
            phones = runtime.generations[world.server(server_id).generation_id].phones
            assert phones[one].spec.properties["sys.cph.traffic_type"] == "routing"
            assert "sys.cph.traffic_type" not in phones[three].spec.properties
        await runtime.close()

    asyncio.run(main())
