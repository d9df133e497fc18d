"""Every field that the checks of CPH's operations look at, with the limit that cph-api.md or `docs/compatibility.md` gives it.

The numbers stand here once more on purpose: the checks are held against them. What is new in a check needs its line here.
Bodies about servers are in `server_limits`, those of commands and data in `command_limits`, queries in `query_limits`.
"""

from __future__ import annotations

from hypothesis import strategies as st

from opencph.wire import (
    bandwidths,
    connections,
    custom_images,
    encode_servers,
    identity_checks,
    phone_checks,
    scheduled_events,
    tag_checks,
)
from wire.command_limits import COMMANDS
from wire.limit_rules import LETTERS, NAME, Limit, asked, flag, item_id, nested, number, several, text, word
from wire.operation_limits import ID, ORDINARY_TIME, Operation, ids, moment, phone_ids, phones
from wire.query_limits import QUERIES
from wire.server_limits import SERVERS

TAG_CHARACTERS = LETTERS + "éß手فا٣½" + " _.:：=+-@"
USER = {"id": "u", "name": "u", "password": "p", "domain": {"id": "d", "name": "d"}}
TOKEN = {
    "auth": {"identity": {"methods": ["password"], "password": {"user": USER}}, "scope": {"project": {"id": "p", "name": "p"}}}
}
IN_USER = "auth.identity.password.user"
REFUSED = "refused"
IDENTITY_NAME = text(REFUSED, 256, empty="", optional=True)


OPERATIONS: dict[str, Operation] = {
    **SERVERS,
    "RestartCloudPhone": Operation(
        phone_checks.restart_cloud_phone,
        {"image_id": ID, "phones": [{"phone_id": ID, "property": "{}"}]},
        {
            "image_id": text("CPS.0030", 32, empty="", optional=True),
            "phones": phones(10_000, "CPS.0077", "CPS.0190"),
            "phones[].phone_id": item_id("CPS.0004"),
            "phones[].property": text("CPS.0078", empty="", optional=True),
        },
    ),
    "ResetCloudPhone": Operation(
        phone_checks.reset_cloud_phone,
        {"image_id": ID, "phones": [{"phone_id": ID, "property": "{}", "factory_reset_enabled": True}]},
        {
            "image_id": text("CPS.0030", 32, empty="", optional=True),
            "phones": phones(10_000, "CPS.0077", "CPS.0190"),
            "phones[].phone_id": item_id("CPS.0004"),
            "phones[].property": text("CPS.0078", empty="", optional=True),
            "phones[].factory_reset_enabled": flag("CPS.0077"),
        },
    ),
    "StopCloudPhone": Operation(phone_checks.stop_cloud_phone, {"phone_ids": [ID]}, {"phone_ids": phone_ids(10_000)}),
    "UpdatePhoneName": Operation(
        phone_checks.update_phone_name, {"phone_name": "a"}, {"phone_name": text("CPS.0025", 60, unit="characters", only=NAME)}
    ),
    "UpdateCloudPhoneProperty": Operation(
        phone_checks.update_cloud_phone_property,
        {"phones": [{"phone_id": ID, "property": "{}", "custom_property": {"a": "b"}}]},
        {
            "phones": phones(10_000, "CPS.0077", "CPS.0190", property="{}"),
            "phones[].phone_id": item_id("CPS.0004"),
            "phones[].property": text("CPS.0078", empty="", optional=True)._replace(missing="CPS.0078"),
            "phones[].custom_property": nested("CPS.0078", optional=True, also=({"a": 1}, {"a": None}, {"a": ["b"]})),
        },
    ),
    "ImportTraffic": Operation(
        phone_checks.import_traffic,
        {"traffic_type": "direct", "phone_ids": [ID]},
        {"traffic_type": word("CPS.0116", "direct", "routing"), "phone_ids": phone_ids(100)},
    ),
    "BatchShowPhoneConnectInfos": Operation(
        connections.batch_show_phone_connect_infos,
        {"phone_ids": [ID], "client_type": "IOS"},
        {"phone_ids": phone_ids(10), "client_type": word("CPS.0116", "ANDROID", "WINDOWS", "H5_MOBILE", "H5_PC", "IOS")},
    ),
    **COMMANDS,
    "BatchTags": Operation(
        tag_checks.batch_tags,
        {"action": "create", "tags": [{"key": "k", "value": "v"}]},
        {
            "action": word("CPS.0047", "create", "delete"),
            "tags": several(20, "CPS.0118", lambda one: {"key": f"k{one}", "value": "v"}, typed="CPS.0118", empty="CPS.0118"),
            "tags[].key": text(
                "CPS.0118", 127, unit="characters", only=TAG_CHARACTERS.replace(" ", ""), refused=("_sys_a",)
            )._replace(
                refused=(
                    *text("CPS.0118", 127, unit="characters").refused,
                    *text("CPS.0118", refused=("_sys_a", "a*", "a/b", "a!")).refused,
                )
            ),
            "tags[].value": text("CPS.0118", 255, unit="characters")._replace(
                edges=("v" * 255, "手" * 255),
                good=st.text(st.sampled_from(TAG_CHARACTERS.replace(" ", "")), min_size=1, max_size=20),
            ),
        },
    ),
    "ListResourceInstances": Operation(
        tag_checks.list_resource_instances,
        {
            "action": "filter",
            "offset": "0",
            "limit": "1",
            "without_any_tag": True,
            "tags": [{"key": "k", "values": ["v"]}],
            "matches": [{"key": "resource_name", "value": "a"}],
        },
        {
            "action": word("CPS.0047", "filter", "count"),
            "offset": asked("CPS.0002", 0, 10**17),
            "limit": asked("CPS.0002", 1, 1000),
            "without_any_tag": flag("CPS.0118"),
            "tags": several(10, "CPS.0118", lambda one: {"key": f"k{one}", "values": ["v"]}, typed="CPS.0118", missing=""),
            "tags[].key": text("CPS.0118", 127, unit="characters"),
            "tags[].values": several(10, "CPS.0118", lambda one: f"v{one}" + "v" * 252, typed="CPS.0118"),
            "matches": Limit(([],), st.nothing(), ()),
            "matches[].key": word("CPS.0118", "resource_name"),
            "matches[].value": text("CPS.0118", 255, unit="characters", empty="")._replace(missing="CPS.0118"),
        },
    ),
    "AddImageMember": Operation(custom_images.add_image_member, {"member": "a"}, {"member": text("CPS.0046", 64)}),
    "UpdateImageMember": Operation(
        custom_images.update_image_member, {"status": "accepted"}, {"status": word("CPS.0010", "accepted", "rejected")}
    ),
    "AuthorizeScheduledEvent": Operation(
        scheduled_events.authorize_scheduled_event,
        {"authorization_type": "maintenance", "not_before": ORDINARY_TIME},
        {
            "authorization_type": Limit(
                ("maintenance",), st.nothing(), word("CPS.0116", "maintenance", "redeploy").refused, "CPS.0116"
            ),
            "not_before": moment("CPS.0174"),
        },
    ),
    "UpdateScheduledEvent": Operation(
        scheduled_events.update_scheduled_event, {"not_before": ORDINARY_TIME}, {"not_before": moment("CPS.0174", "CPS.0174")}
    ),
    "RestartEncodeServer": Operation(
        encode_servers.restart_encode_server,
        {"encode_server_ids": [ID]},
        {"encode_server_ids": several(100, "CPS.0122", ids, typed="CPS.0122", empty="CPS.0122")},
    ),
    "UpdateBandwidth": Operation(
        bandwidths.update_bandwidth,
        {"band_width_size": 100},
        {
            "band_width_size": number("CPS.0036", 1, 2000)._replace(
                edges=(1, 300, 350, 1000, 1500, 2000),
                good=st.integers(1, 300) | st.integers(6, 20).map(lambda one: one * 50) | st.sampled_from((1500, 2000)),
                refused=(
                    *number("CPS.0036", 1, 2000).refused,
                    number("CPS.0036", 301, 349).refused[2],
                    *text("CPS.0036", typed=False).refused,
                ),
            )
        },
    ),
    "CreateToken": Operation(
        identity_checks.create_token,
        TOKEN,
        {
            "auth": nested(REFUSED),
            "auth.identity": nested(REFUSED),
            "auth.identity.methods": several(1, REFUSED, lambda one: "password", typed=REFUSED, empty=REFUSED),
            "auth.identity.password": nested(REFUSED),
            IN_USER: nested(REFUSED),
            f"{IN_USER}.id": IDENTITY_NAME,
            f"{IN_USER}.name": IDENTITY_NAME,
            f"{IN_USER}.password": text(REFUSED, 1024),
            f"{IN_USER}.domain": nested(REFUSED, optional=True),
            f"{IN_USER}.domain.id": IDENTITY_NAME,
            f"{IN_USER}.domain.name": IDENTITY_NAME,
            "auth.scope": nested(REFUSED, optional=True),
            "auth.scope.project": nested(REFUSED, optional=True),
            "auth.scope.project.id": IDENTITY_NAME,
            "auth.scope.project.name": IDENTITY_NAME,
            "auth.scope.domain": nested(REFUSED, optional=True),
        },
    ),
    "CreateToken for a domain": Operation(
        identity_checks.create_token,
        {"auth": {"identity": TOKEN["auth"]["identity"], "scope": {"domain": {"id": "d", "name": "d"}}}},
        {"auth.scope.domain.id": IDENTITY_NAME, "auth.scope.domain.name": IDENTITY_NAME},
    ),
    **QUERIES,
}
