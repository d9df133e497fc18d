"""Orders: what was bought, changed or given back, and how far that is. The billing service (`neighbours.billing`) shows them; the
rules and jobs that deliver call `open_order` and `settle` in the transaction that makes the change."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, bindparam, case, exists, insert, not_, select, update

from opencph.fleet.times import now_ms
from opencph.store.database import Transaction, command, in_list, json_list
from opencph.store.tables import order_servers, orders

#: what an order is for
PURCHASE, CHANGE, UNSUBSCRIBE = "purchase", "change", "unsubscribe"
#: order statuses of the billing service
PROCESSING, CANCELLED, COMPLETED = 3, 4, 5

_i = order_servers.c
_INSERT = command(insert(orders).values({column.name: bindparam(column.name) for column in orders.columns}))
_INSERT_SERVER = command(
    insert(order_servers).values(order_id=bindparam("order_id"), server_id=bindparam("server_id"), delivered=None)
)
_of_kind = select(orders.c.order_id).where(orders.c.kind == bindparam("of_kind")).scalar_subquery()
_SETTLE_SERVERS = command(
    update(order_servers)
    .where(in_list(_i.server_id, "server_ids"), _i.delivered.is_(None), _i.order_id.in_(_of_kind))
    .values(delivered=bindparam("outcome"))
)
_of_servers = select(_i.order_id).where(in_list(_i.server_id, "server_ids")).scalar_subquery()
_pending = exists().where(and_(_i.order_id == orders.c.order_id, _i.delivered.is_(None)))
_some_delivered = exists().where(and_(_i.order_id == orders.c.order_id, _i.delivered == 1))
_CLOSE = command(
    update(orders)
    .where(orders.c.order_id.in_(_of_servers), orders.c.status == PROCESSING, not_(_pending))
    .values(status=case((_some_delivered, COMPLETED), else_=CANCELLED), end_ms=bindparam("now"))
)


def open_order(tx: Transaction, *, order_id: str, project_id: str, kind: str, product_id: str, server_ids: Sequence[str]) -> None:
    """Write an order down that is being processed (status 3)."""
    tx.run(
        _INSERT,
        order_id=order_id,
        project_id=project_id,
        kind=kind,
        status=PROCESSING,
        product_id=product_id,
        create_ms=now_ms(),
        end_ms=None,
    )
    tx.run_many(_INSERT_SERVER, [{"order_id": order_id, "server_id": server_id} for server_id in server_ids])


def settle(tx: Transaction, server_ids: Sequence[str], kind: str, *, delivered: bool) -> None:
    """What open orders of `kind` want of these servers is done, or has failed. An order of which nothing is left to do is
    completed (5) when at least one server was delivered, else cancelled (4)."""
    servers = json_list(server_ids)
    tx.run(_SETTLE_SERVERS, server_ids=servers, of_kind=kind, outcome=int(delivered))
    tx.run(_CLOSE, server_ids=servers, now=now_ms())
