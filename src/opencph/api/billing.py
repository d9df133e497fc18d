"""Orders and unsubscription (BSS) over HTTP: decode, call the rule, answer."""

from __future__ import annotations

from opencph.api.call import Call, Result
from opencph.iam.actions import action_of
from opencph.neighbours import billing
from opencph.neighbours.paging import text_filter
from opencph.wire import billing_checks
from opencph.wire.billing_checks import BAD_PARAMETER
from opencph.wire.service_errors import plain_error

ORDER_PATH = "/v2/orders/customer-orders/details/{order_id}"
UNSUBSCRIBE_PATH = "/v2/orders/subscriptions/resources/unsubscribe"
SERVICE_TYPES_PATH = "/v2/products/service-types"

# Callers without a project may be allowed these in some of their projects only; the rules look at which.
_SHOW = action_of("ShowCustomerOrderDetails", "GET", ORDER_PATH)
_UNSUBSCRIBE = action_of("CancelResourcesSubscription", "POST", UNSUBSCRIBE_PATH)


def show_customer_order_details(call: Call) -> Result:
    """GET /v2/orders/customer-orders/details/{order_id}."""
    window = billing_checks.window(call.query)
    order_id = billing_checks.order_id(call.params[0])
    billing_checks.no_partner(call.query)
    return billing.show_customer_order_details(call.fleet, call.caller, _SHOW, order_id, window)


def cancel_resources_subscription(call: Call) -> Result:
    """POST /v2/orders/subscriptions/resources/unsubscribe."""
    body = billing_checks.cancel_resources_subscription(call.body)
    return billing.cancel_resources_subscription(call.fleet, call.caller, call.request_id, _UNSUBSCRIBE, body)


def list_service_types(call: Call) -> Result:
    """GET /v2/products/service-types."""
    name = text_filter(call.query, "service_type_name", plain_error, BAD_PARAMETER)
    return billing.list_service_types(name, billing_checks.window(call.query))
