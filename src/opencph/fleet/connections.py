"""Leave to open phones' screens: BatchShowPhoneConnectInfos gives tickets, `verified_ticket` is for whoever streams the screens."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, func, select

from opencph.fleet import phone_batches
from opencph.fleet.cards import READ_REVISION, card_of
from opencph.fleet.ids import new_id
from opencph.fleet.phones import access_infos
from opencph.fleet.statuses import PhoneStatus, ServerStatus
from opencph.fleet.times import now_ms
from opencph.iam.tickets import TICKET_SECONDS, TicketClaims, TicketError, issue, ticket_key, verify
from opencph.store import tables
from opencph.store.database import Query, Transaction, in_list, json_list
from opencph.wire.connections import (
    BatchShowPhoneConnectInfosRequest,
    BatchShowPhoneConnectInfosResponse,
    ConnectAccessInfo,
    ConnectError,
    ConnectInfo,
)
from opencph.wire.errors import CphError

if TYPE_CHECKING:
    from opencph.fleet import Fleet
    from opencph.iam import Caller

_p, _e = tables.phones.c, tables.encode_servers.c


class _Place(NamedTuple):
    phone_id: str
    number: int
    phone_ip: str
    phone_ipv6: str | None
    status: int
    epoch: int


_PLACES: Query[_Place] = Query(
    select(_p.phone_id, _p.number, _p.phone_ip, _p.phone_ipv6, _p.status, func.coalesce(_e.epoch, 0))
    .join(tables.servers, tables.servers.c.generation_id == _p.generation_id)
    .outerjoin(tables.encode_servers, _e.server_id == _p.server_id)
    .where(_p.project_id == bindparam("of_project"), in_list(_p.phone_id, "phone_ids")),
    _Place,
)


def batch_show_phone_connect_infos(
    fleet: Fleet, caller: Caller, request_id: str, body: BatchShowPhoneConnectInfosRequest
) -> BatchShowPhoneConnectInfosResponse:
    """A session and a signed ticket for each running phone (cph-api.md section 4, number 17).

    What is wrong with one phone stands in `errors`: CPS.0004, CPS.0005, CPS.0141 not running, CPS.0053 frozen.
    """
    key = ticket_key(fleet.database)
    infos: list[ConnectInfo] = []
    errors: list[ConnectError] = []
    with fleet.database.read() as tx:
        phones = phone_batches.read(tx, caller.project_id, body.phone_ids)
        places = {one.phone_id: one for one in _places(tx, caller.project_id, list(phones))}
        revision = tx.row(READ_REVISION) or 0
        for phone_id in dict.fromkeys(body.phone_ids):
            try:
                phone = phone_batches.existing(phones.get(phone_id), phone_id)
                _check_running(phone)
            except CphError as error:
                errors.append(ConnectError(phone_id=phone_id, error_code=error.code, error_msg=error.message))
                continue
            card = card_of(tx, fleet, phone.generation_id, revision)
            assert card is not None  # the same snapshot said that a server points at it
            place = places[phone_id]
            adb = access_infos(place.number, place.phone_ip, place.phone_ipv6, card)[0]
            issued = now_ms()
            claims = TicketClaims(
                project_id=caller.project_id,
                user_id=caller.user_id,
                phone_id=phone_id,
                client_type=body.client_type,
                session_id=new_id(),
                epoch=place.epoch,
                issued_ms=issued,
                expires_ms=issued + TICKET_SECONDS * 1000,
            )
            access = ConnectAccessInfo(
                access_ip=card.addresses[(place.number - 1) // card.phone_count_per_ip].public_ip,
                intranet_ip=adb.server_ip,
                access_ipv6=adb.server_ipv6,
                access_port=adb.access_port,
                session_id=claims.session_id,
                timestamp=str(issued),
                ticket=issue(key, claims),
            )
            infos.append(ConnectInfo(phone_id=phone_id, access_info=access))
    return BatchShowPhoneConnectInfosResponse(request_id=request_id, connect_infos=infos, errors=errors)


def verified_ticket(fleet: Fleet, ticket: str) -> TicketClaims:
    """What a ticket says, when it still holds. Blocks.

    Raises TicketError: malformed, not ours, expired; its phone is gone or not running; its encode server was restarted since.
    """
    claims = verify(ticket_key(fleet.database), ticket, now_ms())
    with fleet.database.read() as tx:
        places = _places(tx, claims.project_id, [claims.phone_id])
    if not places:
        raise TicketError("the ticket's phone is gone")
    if places[0].status != PhoneStatus.RUNNING:
        raise TicketError("the ticket's phone is not running")
    if places[0].epoch != claims.epoch:
        raise TicketError("the encode server was restarted since the ticket was issued; get a new one")
    return claims


def _places(tx: Transaction, project_id: str, phone_ids: list[str]) -> list[_Place]:
    return tx.rows(_PLACES, of_project=project_id, phone_ids=json_list(phone_ids))


def _check_running(phone: phone_batches.Phone) -> None:
    if phone.server_status == ServerStatus.FROZEN or phone.status == PhoneStatus.FROZEN:
        raise CphError("CPS.0053", f"phone {phone.phone_id}")
    if phone.status != PhoneStatus.RUNNING:
        raise CphError("CPS.0141", f"phone {phone.phone_id} has status {phone.status}; only a running one has a screen")
