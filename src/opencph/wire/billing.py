"""Orders and unsubscriptions on the wire, as the billing service's SDK (BSS v2) spells them. Checks: `billing_checks`."""

from __future__ import annotations

import msgspec


class OrderInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An order. Nothing costs anything here, so amounts are 0."""

    order_id: str
    customer_id: str
    service_type_code: str
    service_type_name: str
    status: int  # 3 processing, 4 cancelled, 5 completed
    order_type: int  # 1 new subscription, 3 change, 4 unsubscription
    create_time: str
    source_type: int
    measure_id: int
    currency: str
    amount_after_discount: float
    official_amount: float
    payment_time: str | None = None
    user_name: str | None = None


class OrderLineItem(msgspec.Struct, frozen=True, kw_only=True):
    """What an order has of one server."""

    order_line_item_id: str
    order_id: str
    service_type_code: str
    service_type_name: str
    product_id: str
    commercial_resource: str  # the server's id
    subscription_num: int
    currency: str
    amount_after_discount: float
    official_amount: float


class ShowCustomerOrderDetailsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v2/orders/customer-orders/details/{order_id}."""

    total_count: int
    order_info: OrderInfo
    order_line_items: list[OrderLineItem]


class UnsubscribeRequest(msgspec.Struct, frozen=True):
    """POST /v2/orders/subscriptions/resources/unsubscribe."""

    resource_ids: tuple[str, ...]


class UnsubscribeResponse(msgspec.Struct, frozen=True):
    """The orders that the unsubscription made: one per project."""

    order_ids: list[str]


class ServiceType(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of service that is sold."""

    service_type_name: str
    service_type_code: str
    abbreviation: str


class ListServiceTypesResponse(msgspec.Struct, frozen=True):
    """GET /v2/products/service-types."""

    total_count: int
    service_types: list[ServiceType]
