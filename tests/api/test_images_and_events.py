"""Custom images and scheduled events through the vendor's SDK."""

from __future__ import annotations

import io
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import huaweicloudsdkcph.v1 as cph
import pytest
from sqlalchemy import insert, select

from api.test_operations import HEX_ID, UNKNOWN, UTC, client, make_normal, refused
from opencph.fleet import maintenance, open_fleet
from opencph.fleet.ids import new_uuid
from opencph.fleet.image_making import import_image
from opencph.settings import Settings
from opencph.store import tables
from opencph.store.database import Query, command, scalar

if TYPE_CHECKING:
    from api.api_service import Service

__all__ = ["client"]

BASE = "20060220200717f201120a2300000e91"
MEMBER = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def image_id(service: Service) -> str:
    """An image of the project, and another project to share it with."""
    fleet = open_fleet(Settings(data=service.data, database=service.database_url))
    path = Path(service.data) / "image.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("data/local/tmp/file"), io.BytesIO())
    found = import_image(fleet, path, name="golden", base_image_id=BASE, project=service.project_id)
    domain_id = fleet.database.row(Query(select(tables.domains.c.domain_id), scalar))
    with fleet.database.write() as tx:
        values = {"project_id": MEMBER, "domain_id": domain_id, "name": "member", "enabled": 1}
        tx.run(command(insert(tables.projects).values(values)))
    fleet.close()
    return found


@pytest.fixture(scope="module")
def event_id(service: Service, client: Any) -> str:
    """An event of a server whose host is drained."""
    body = service.purchase(server_name="drained", availability_zone="cn-east-3b")
    (found,) = client.create_net2_cloud_phone_server(cph.CreateNet2CloudPhoneServerRequest(body=body)).server_ids
    make_normal(service, found)
    fleet = open_fleet(Settings(data=service.data, database=service.database_url))
    (event,) = maintenance.drain(fleet, "host-cn-east-3b", in_seconds=3600, description="New disks.")
    fleet.close()
    return event


def test_images_are_listed_shared_used_and_deleted(service: Service, client: Any, image_id: str) -> None:
    listed = client.list_images(cph.ListImagesRequest(image_type="private", image_id=image_id))
    (info,) = listed.image_infos
    assert (info.image_name, info.status, info.image_type, listed.total) == ("golden", 1, "private", 1)
    assert UTC.fullmatch(info.create_time) and info.project_id == service.project_id and info.domain_id
    usable = client.list_cloud_phone_images(cph.ListCloudPhoneImagesRequest()).phone_images
    assert usable[-1].image_id == image_id and usable[-1].is_public == 2

    add = cph.AddImageMemberRequest(image_id=image_id, body=cph.AddImageMemberRequestBody(member=MEMBER))
    assert HEX_ID.fullmatch(client.add_image_member(add).request_id)
    (member,) = client.list_image_members(cph.ListImageMembersRequest(image_id=image_id)).members
    assert (member.member_id, member.image_id) == (MEMBER, image_id) and member.create_time > 10**12
    accept = cph.UpdateImageMemberRequest(image_id=image_id, body={"status": "accepted"})
    assert refused(client.update_image_member, accept).error_code == "CPS.0166"  # it is not shared with its own project
    assert client.delete_image_member(cph.DeleteImageMemberRequest(image_id=image_id, member_id=MEMBER)).request_id
    gone = cph.DeleteImageMemberRequest(image_id=image_id, member_id=MEMBER)
    assert refused(client.delete_image_member, gone).error_code == "CPS.0046"

    body = service.purchase(server_name="from-image", image_id=image_id)
    assert client.create_net2_cloud_phone_server(cph.CreateNet2CloudPhoneServerRequest(body=body)).server_ids
    (phone,) = client.list_cloud_phones(cph.ListCloudPhonesRequest(limit=1)).phones
    assert (phone.image_id, phone.image_version) == (image_id, "AOSP 7.1")
    assert client.delete_image(cph.DeleteImageRequest(image_id=image_id)).request_id
    unknown = refused(client.delete_image, cph.DeleteImageRequest(image_id=image_id))
    assert (unknown.status_code, unknown.error_code) == (404, "CPS.0166")


def test_image_calls_that_break_the_rules_are_refused(client: Any) -> None:
    assert refused(client.list_images, cph.ListImagesRequest(image_type="public")).error_code == "CPS.0116"
    assert refused(client.list_images, cph.ListImagesRequest(status=3)).error_code == "CPS.0010"
    assert refused(client.list_images, cph.ListImagesRequest(limit=0)).error_code == "CPS.0002"
    assert refused(client.delete_image, cph.DeleteImageRequest(image_id="x")).error_code == "CPS.0030"
    status = cph.UpdateImageMemberRequest(image_id=UNKNOWN, body={"status": "maybe"})
    assert refused(client.update_image_member, status).error_code == "CPS.0010"
    member = cph.AddImageMemberRequest(image_id=UNKNOWN, body={})
    assert refused(client.add_image_member, member).error_code == "CPS.0046"
    assert refused(client.list_image_members, cph.ListImageMembersRequest(image_id=UNKNOWN)).error_code == "CPS.0166"


def test_events_are_listed_authorized_and_put_off(client: Any, event_id: str) -> None:
    listed = client.list_scheduled_events(cph.ListScheduledEventsRequest(state=["inquiring", "failed"], limit=1))
    (event,) = listed.scheduled_events
    assert (listed.count, event.event_id, event.state, event.server_state) == (1, event_id, "inquiring", 5)
    assert UTC.fullmatch(event.not_before) and UTC.fullmatch(event.publish_time) and event.start_time is None
    none = cph.ListScheduledEventsRequest(state=["completed"], type=["localdisk-recovery"])
    assert client.list_scheduled_events(none).scheduled_events == []

    def authorize(**body: object) -> Any:
        return cph.AuthorizeScheduledEventRequest(event_id=event_id, body=body)

    def stamp(seconds: float) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))

    wrong = client.authorize_scheduled_event
    assert refused(wrong, authorize(authorization_type="wish")).error_code == "CPS.0116"
    for not_before in (stamp(60), stamp(-60), stamp(90 * 86400), "tomorrow"):
        request = authorize(authorization_type="maintenance", not_before=not_before)
        assert refused(wrong, request).error_code == "CPS.0174"
    redeploy = authorize(authorization_type="redeploy", not_before=stamp(7200))
    assert refused(wrong, redeploy).error_code == "CPS.0174"
    planned = stamp(7200)
    assert HEX_ID.fullmatch(
        client.authorize_scheduled_event(authorize(authorization_type="maintenance", not_before=planned)).request_id
    )
    (event,) = client.list_scheduled_events(cph.ListScheduledEventsRequest(event_id=event_id)).scheduled_events
    assert (event.state, event.authorization_type, event.not_before) == ("scheduled", "maintenance", planned)
    later = stamp(9000)
    update = cph.UpdateScheduledEventRequest(event_id=event_id, body={"not_before": later})
    assert HEX_ID.fullmatch(client.update_scheduled_event(update).request_id)
    (event,) = client.list_scheduled_events(cph.ListScheduledEventsRequest(event_id=event_id)).scheduled_events
    assert event.not_before == later
    assert refused(wrong, authorize(authorization_type="maintenance")).error_code == "CPS.0047"
    unknown = cph.UpdateScheduledEventRequest(event_id=new_uuid(), body={"not_before": ""})
    assert refused(client.update_scheduled_event, unknown).status_code == 404
    bad = cph.ListScheduledEventsRequest(state=["sleeping"])
    assert refused(client.list_scheduled_events, bad).error_code == "CPS.0010"
