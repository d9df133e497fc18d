"""Billing: orders as `fleet.orders` keeps them, and unsubscription, the way to delete servers billed by the year or month.

The service knows no projects in its paths. A caller with a project sees that one; a caller without sees those in which its role
allows the action.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, func, select

from opencph.fleet import Fleet, orders
from opencph.fleet.ids import new_order_id
from opencph.fleet.server_delete import YEARLY_MONTHLY, accept_deletion
from opencph.fleet.times import utc_text
from opencph.iam import Caller
from opencph.iam.policies import policy_of
from opencph.iam.users import GRANT, PROJECTS_OF_USER
from opencph.store import tables
from opencph.store.database import Query, Transaction, in_list, json_list, scalar
from opencph.wire.billing import (
    ListServiceTypesResponse,
    OrderInfo,
    OrderLineItem,
    ServiceType,
    ShowCustomerOrderDetailsResponse,
    UnsubscribeRequest,
    UnsubscribeResponse,
)
from opencph.wire.billing_checks import Window
from opencph.wire.errors import CphError
from opencph.wire.service_errors import plain_error

ORDER_NOT_FOUND = "CBC.18000002"
NOT_SUPPORTED = "CBC.30000067"  # gone, or never subscribed to
BUSY = "CBC.99003651"  # another operation is being performed
UNKNOWN_SERVER = "CPS.0015"
DELETED = 6
CPH_CODE, CPH_NAME = "hws.service.type.cph", "Cloud Phone Host"
ORDER_TYPES = {orders.PURCHASE: 1, orders.CHANGE: 3, orders.UNSUBSCRIBE: 4}
CURRENCY, MEASURE_YUAN, SOURCE_CUSTOMER = "CNY", 1, 1

SERVICE_TYPES = (
    ServiceType(service_type_name=CPH_NAME, service_type_code=CPH_CODE, abbreviation="CPH"),
    ServiceType(service_type_name="Elastic IP", service_type_code="hws.service.type.vpc", abbreviation="VPC"),
    ServiceType(service_type_name="Object Storage Service", service_type_code="hws.service.type.obs", abbreviation="OBS"),
)

_o, _i, _s = tables.orders.c, tables.order_servers.c, tables.servers.c


class _OrderRow(NamedTuple):
    order_id: str
    kind: str
    status: int
    product_id: str
    create_ms: int


class _ServerRow(NamedTuple):
    server_id: str
    project_id: str
    name: str
    status: int
    charging_mode: int
    product_id: str


_ORDER = Query(
    select(*(_o[field] for field in _OrderRow._fields)).where(
        _o.order_id == bindparam("of_order"), in_list(_o.project_id, "project_ids")
    ),
    _OrderRow,
)
_SERVERS_OF_ORDER: Query[str] = Query(
    select(_i.server_id)
    .where(_i.order_id == bindparam("of_order"))
    .order_by(_i.server_id)
    .limit(bindparam("limit"))
    .offset(bindparam("offset")),
    scalar,
)
_SERVER_COUNT: Query[int] = Query(
    select(func.count()).select_from(tables.order_servers).where(_i.order_id == bindparam("of_order")), scalar
)
_SERVERS = Query(
    select(*(_s[field] for field in _ServerRow._fields)).where(
        in_list(_s.server_id, "server_ids"), in_list(_s.project_id, "project_ids")
    ),
    _ServerRow,
)


def show_customer_order_details(
    fleet: Fleet, caller: Caller, action: str, order_id: str, window: Window
) -> ShowCustomerOrderDetailsResponse:
    """ShowCustomerOrderDetails. Raises 404 CBC.18000002."""
    with fleet.database.read() as tx:
        row = tx.row(_ORDER, of_order=order_id, project_ids=json_list(_projects(tx, caller, action)))
        if row is None:
            raise plain_error(404, ORDER_NOT_FOUND, f"the order {order_id[:64]!r} does not exist")
        total = tx.row(_SERVER_COUNT, of_order=order_id) or 0
        server_ids = tx.rows(_SERVERS_OF_ORDER, of_order=order_id, limit=window.limit, offset=window.offset)
    return ShowCustomerOrderDetailsResponse(
        total_count=total,
        order_info=OrderInfo(
            order_id=row.order_id,
            customer_id=caller.domain_id,
            service_type_code=CPH_CODE,
            service_type_name=CPH_NAME,
            status=row.status,
            order_type=ORDER_TYPES[row.kind],
            create_time=utc_text(row.create_ms),
            payment_time=utc_text(row.create_ms),
            source_type=SOURCE_CUSTOMER,
            measure_id=MEASURE_YUAN,
            currency=CURRENCY,
            amount_after_discount=0.0,
            official_amount=0.0,
            user_name=caller.user_name,
        ),
        order_line_items=[_line(row, server_id) for server_id in server_ids],
    )


def cancel_resources_subscription(
    fleet: Fleet, caller: Caller, request_id: str, action: str, body: UnsubscribeRequest
) -> UnsubscribeResponse:
    """CancelResourcesSubscription: delete servers, all or none; one job and one order per project.

    Raises 400: CBC.30000067 for what is not there, or is paid for by use; CBC.99003651 while a job works on a server.
    """
    order_ids = []
    with fleet.database.write() as tx:
        tx.lock("placement")
        for project_id, servers in _by_project(tx, caller, action, body.resource_ids).items():
            server_ids = [server.server_id for server in servers]
            try:
                accept_deletion(tx, project_id, request_id, server_ids, unsubscribed=True)
            except CphError as error:
                code = NOT_SUPPORTED if error.code == UNKNOWN_SERVER else BUSY
                raise plain_error(400, code, error.detail) from error
            order_ids.append(new_order_id())
            orders.open_order(
                tx,
                order_id=order_ids[-1],
                project_id=project_id,
                kind=orders.UNSUBSCRIBE,
                product_id=servers[0].product_id,
                server_ids=server_ids,
            )
    return UnsubscribeResponse(order_ids)


def list_service_types(name: str | None, window: Window) -> ListServiceTypesResponse:
    """ListServiceTypes; `name` is a part of the name."""
    found = [one for one in SERVICE_TYPES if name is None or name.lower() in one.service_type_name.lower()]
    return ListServiceTypesResponse(len(found), found[window.offset : window.offset + window.limit])


def _projects(tx: Transaction, caller: Caller, action: str) -> list[str]:
    """The projects whose orders the caller may see or make."""
    if caller.project_id:
        return [caller.project_id]
    allowed = []
    for project in tx.rows(PROJECTS_OF_USER, user_id=caller.user_id):
        grant = tx.row(GRANT, user_id=caller.user_id, project_id=project.project_id)
        if grant is not None and policy_of(grant.role, grant.document).allows(action):
            allowed.append(project.project_id)
    return allowed


def _by_project(tx: Transaction, caller: Caller, action: str, resource_ids: Sequence[str]) -> dict[str, list[_ServerRow]]:
    projects = json_list(_projects(tx, caller, action))
    found = {row.server_id: row for row in tx.rows(_SERVERS, server_ids=json_list(resource_ids), project_ids=projects)}
    servers: dict[str, list[_ServerRow]] = defaultdict(list)
    for resource_id in resource_ids:
        server = found.get(resource_id)
        if server is None or server.status == DELETED:
            raise plain_error(
                400,
                NOT_SUPPORTED,
                f"Unsubscription not supported. The resource {resource_id[:64]!r} has been deleted or was never subscribed to.",
            )
        if server.charging_mode != YEARLY_MONTHLY:
            raise plain_error(
                400,
                NOT_SUPPORTED,
                f"Unsubscription not supported. Server {server.name!r} ({resource_id}) is paid for by use; delete it with "
                "DELETE /v2/{project_id}/cloud-phone/servers.",
            )
        servers[server.project_id].append(server)
    return servers


def _line(row: _OrderRow, server_id: str) -> OrderLineItem:
    return OrderLineItem(
        order_line_item_id=f"{row.order_id}-{server_id[:8]}",
        order_id=row.order_id,
        service_type_code=CPH_CODE,
        service_type_name=CPH_NAME,
        product_id=row.product_id,
        commercial_resource=server_id,
        subscription_num=1,
        currency=CURRENCY,
        amount_after_discount=0.0,
        official_amount=0.0,
    )
