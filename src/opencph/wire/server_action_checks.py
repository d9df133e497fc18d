"""Checks of the bodies that rename servers, restart them, and give them another key pair or flavor. Pure.

What is wrong with one server of a batch is answered per server by `fleet`, with the others unharmed; what is wrong with the body's
form refuses the call.
"""

from __future__ import annotations

from opencph.wire.checks import HEX_ID_RULE, Fields, check_id, json_object
from opencph.wire.errors import CphError
from opencph.wire.server_actions import (
    ChangeCloudPhoneServerModelRequest,
    RestartCloudPhoneServerRequest,
    ServerKeypair,
    UpdateKeypairRequest,
    UpdateServerNameRequest,
)
from opencph.wire.server_checks import KEYPAIR_NAME_MAX_BYTES, MODEL_NAME_MAX_BYTES, NAME, NAME_MAX_CHARACTERS, NAME_RULE

SERVERS_PER_RESTART = 100
SERVERS_PER_KEYPAIR_CALL = 100  # ours: the limit of the real service is not documented
#: How a message says that an item's id is none.
SERVER_ID_RULE = HEX_ID_RULE


def update_server_name(body: bytes) -> UpdateServerNameRequest:
    """Decode and check the body of UpdateServerName."""
    fields = Fields(json_object(body))
    name = fields.text("server_name", "CPS.0087", max_characters=NAME_MAX_CHARACTERS, pattern=NAME, rule=NAME_RULE)
    return UpdateServerNameRequest(server_name=name)


def restart_cloud_phone_server(body: bytes) -> RestartCloudPhoneServerRequest:
    """Decode and check the body of RestartCloudPhoneServer."""
    return RestartCloudPhoneServerRequest(server_ids=server_ids_of(Fields(json_object(body)), SERVERS_PER_RESTART))


def update_keypair(body: bytes) -> UpdateKeypairRequest:
    """Decode and check the body of UpdateKeypair."""
    items = Fields(json_object(body)).nested_list("servers", "CPS.0094", empty="CPS.0095")
    _check_number(len(items), "servers", SERVERS_PER_KEYPAIR_CALL)
    return UpdateKeypairRequest(
        servers=tuple(
            ServerKeypair(
                server_id=item.item_id("server_id", "CPS.0097"),
                keypair_name=item.text("keypair_name", "CPS.0067", empty="CPS.0068", max_bytes=KEYPAIR_NAME_MAX_BYTES),
            )
            for item in items
        )
    )


def change_cloud_phone_server_model(body: bytes) -> ChangeCloudPhoneServerModelRequest:
    """Decode and check the body of ChangeCloudPhoneServerModel."""
    fields = Fields(json_object(body))
    server_id = check_id(fields.text("server_id", "CPS.0016"), "CPS.0016", "server_id")
    server_model_name = fields.text("server_model_name", "CPS.0089", empty="CPS.0088", max_bytes=MODEL_NAME_MAX_BYTES)
    phone_model_name = fields.text("phone_model_name", "CPS.0028", empty="CPS.0027", max_bytes=MODEL_NAME_MAX_BYTES)
    extend_param = fields.optional_nested("extend_param", "CPS.0055")
    is_auto_pay = 0
    if extend_param is not None and extend_param.given("is_auto_pay"):
        is_auto_pay = extend_param.choice("is_auto_pay", "CPS.0060", (0, 1))
    return ChangeCloudPhoneServerModelRequest(
        server_id=server_id,
        server_model_name=server_model_name,
        phone_model_name=phone_model_name,
        is_auto_pay=is_auto_pay,
    )


def server_ids_of(fields: Fields, most: int) -> tuple[str, ...]:
    """The mandatory `server_ids` of a batch. Raises CPS.0094, CPS.0095 and, for more than `most`, CPS.0096."""
    server_ids = fields.item_ids("server_ids", "CPS.0094", empty="CPS.0095")
    _check_number(len(server_ids), "server_ids", most)
    return server_ids


def _check_number(number: int, field: str, most: int) -> None:
    if number > most:
        raise CphError("CPS.0096", f"{field} has {number} servers: at most {most} per call")
