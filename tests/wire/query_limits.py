"""The fields of queries; see `field_limits`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from opencph.wire import bandwidths, custom_images, encode_servers, query_checks, scheduled_events, share_checks
from wire.limit_rules import LETTERS, Limit, asked, asked_choice, asked_id, asked_word, made, package, text, uuid, word
from wire.operation_limits import ID, Operation, filtered, ids, moment, page

SINCE = {"create_since": asked("CPS.0174", 0), "create_until": asked("CPS.0174", 0)}
MARKER = {"marker": filtered("CPS.0002")}


def scheduled(query: Mapping[str, str]) -> Any:
    """`state` and `type` may stand several times in the query."""
    several_of = [[query[name]] if name in query else [] for name in ("state", "type")]
    return scheduled_events.list_scheduled_events({k: v for k, v in query.items() if k not in ("state", "type")}, *several_of)


QUERIES: dict[str, Operation] = {
    "ListCloudPhoneServers": Operation(
        query_checks.list_cloud_phone_servers,
        {},
        {
            **page(100),
            "server_name": filtered("CPS.0087"),
            "server_id": asked_id("CPS.0016"),
            "network_version": asked_word("CPS.0240", "v1", "v2", any_case=True),
            "phone_model_name": filtered("CPS.0028"),
            **SINCE,
            "status": asked_choice("CPS.0010", 0, 1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 13),
        },
        query=True,
    ),
    "ListCloudPhones": Operation(
        query_checks.list_cloud_phones,
        {},
        {
            **page(200),
            "phone_name": filtered("CPS.0025"),
            "server_id": asked_id("CPS.0016"),
            "status": asked_choice("CPS.0010", 0, 1, 2, 3, 4, 6, 7, 8, -5, -6, -7, -8, -9),
            "type": asked_choice("CPS.0116", 0, 1),
        },
        query=True,
    ),
    "ListCloudPhoneServerModels": Operation(
        query_checks.list_cloud_phone_server_models,
        {},
        {"product_type": asked_choice("CPS.0144", 0, 1), **MARKER, "limit": asked("CPS.0002", 1, 100)},
        query=True,
    ),
    "ListCloudPhoneModels": Operation(
        query_checks.list_cloud_phone_models, {}, {"status": asked_choice("CPS.0010", 0, 1), **page(100)}, query=True
    ),
    "ListCloudPhoneImages": Operation(
        query_checks.list_cloud_phone_images,
        {},
        {"image_type": asked_word("CPS.0116", "public", "private", "share", "all"), **MARKER, "limit": asked("CPS.0002", 1, 500)},
        query=True,
    ),
    "ListJobs": Operation(
        query_checks.list_jobs,
        {"request_ids": ID},
        {
            "request_ids": made(
                "CPS.0161",
                20,
                st.integers(1, 20).map(lambda n: ",".join(map(ids, range(n)))),
                lambda n: ",".join(map(ids, range(n))),
                (),
                missing="CPS.0049",
                typed=False,
            ),
            "request_id": Limit((ID, ""), st.nothing(), ()),
            **page(100),
        },
        query=True,
    ),
    "ListProjectTags": Operation(query_checks.list_project_tags, {}, page(100), query=True),
    "ListCloudPhoneServerModelOfferings": Operation(
        query_checks.list_cloud_phone_server_model_offerings, {}, {**MARKER, "limit": asked("CPS.0002", 1, 1000)}, query=True
    ),
    "ListImages": Operation(
        custom_images.list_images,
        {},
        {
            **page(100),
            "image_type": asked_word("CPS.0116", "private", "share"),
            "status": asked_choice("CPS.0010", 0, 1, 2),
            "image_id": asked_id("CPS.0030"),
            "image_name": filtered("CPS.0162"),
            **SINCE,
            "src_project_id": text("CPS.0046", 64, empty="", optional=True, typed=False),
        },
        query=True,
    ),
    "ListImageMembers": Operation(custom_images.list_image_members, {}, {**MARKER, **page(100)}, query=True),
    "ListEncodeServers": Operation(
        encode_servers.list_encode_servers,
        {},
        {
            **page(100),
            "type": asked_choice("CPS.0116", 0, 1),
            "status": asked_choice("CPS.0010", 0, 1, 2, 3, 4, 5, 100, 1014),
            "server_id": asked_id("CPS.0016"),
        },
        query=True,
    ),
    "ListScheduledEvents": Operation(
        scheduled,
        {},
        {
            "limit": asked("CPS.0002", 1, 100),
            **MARKER,
            "event_id": uuid("CPS.0017", empty="", optional=True)._replace(refused=uuid("CPS.0017").refused[1:2]),
            "server_id": asked_id("CPS.0016"),
            "publish_since": moment("CPS.0174", typed=False),
            "publish_until": moment("CPS.0174", typed=False),
            "state": Limit(
                (),
                st.sampled_from(("inquiring", "scheduled", "executing", "completed", "failed", "canceled")),
                word("CPS.0010", "inquiring").refused[1:2],
            ),
            "type": Limit(
                (),
                st.sampled_from(("localdisk-recovery", "system-maintenance")),
                word("CPS.0116", "system-maintenance").refused[1:2],
            ),
        },
        query=True,
    ),
    "ShowBandwidthDetail": Operation(bandwidths.show_bandwidth_detail, {}, page(100), query=True),
    "ListShareFiles": Operation(
        share_checks.list_share_files,
        {"server_ids": ID, "path": "/data"},
        {
            "server_ids": made(
                "CPS.0096",
                100,
                st.integers(1, 100).map(lambda n: ",".join([ID] * n)),
                lambda n: ",".join([ID] * n),
                (),
                missing="CPS.0095",
                typed=False,
            ),
            "path": made(
                "CPS.0199",
                4096,
                st.text(LETTERS + "+-_=", max_size=30).map("/a{}".format),
                lambda size: "/" + "a" * (size - 1),
                ("", "/", "a", "/a//b", "/../a", "/a/..", "/a\0", "/" + "手" * 2),
                foreign=" *#~!$\n手",
                typed=False,
            ),
            **page(50),
        },
        query=True,
    ),
    "ListShareAppsSnapshot": Operation(
        share_checks.list_share_apps_snapshot,
        {},
        {
            "package_name": package(typed=False)._replace(missing=""),
            "limit": asked("CPS.0002", 1, 500),
            "marker": Limit(("", "com.a"), st.text(), ()),
        },
        query=True,
    ),
}
