"""The shapes in which the services beside CPH refuse, and how a failed check of a body becomes one of them. Pure.

VPC and EIP answer `{"code", "message"}`, VPC v3 as CPH does, key pairs and billing `{"error_code", "error_msg"}`, Nova
`{"badRequest": {"message", "code"}}`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import msgspec

from opencph.wire.errors import CphError, ErrorBody, ServiceError

P = ParamSpec("P")
R = TypeVar("R")
Refuse = Callable[[int, str, str], ServiceError]


class NetworkErrorBody(msgspec.Struct, frozen=True):
    """VPC and EIP, all versions but VPC v3."""

    code: str
    message: str


class PlainErrorBody(msgspec.Struct, frozen=True):
    """Key pairs and billing."""

    error_code: str
    error_msg: str


class NovaFault(msgspec.Struct, frozen=True):
    """The inside of a Nova error."""

    message: str
    code: int


class NovaBadRequest(msgspec.Struct, frozen=True, rename={"fault": "badRequest"}):
    """400."""

    fault: NovaFault


class NovaForbidden(msgspec.Struct, frozen=True, rename={"fault": "forbidden"}):
    """403."""

    fault: NovaFault


class NovaItemNotFound(msgspec.Struct, frozen=True, rename={"fault": "itemNotFound"}):
    """404."""

    fault: NovaFault


class NovaConflict(msgspec.Struct, frozen=True, rename={"fault": "conflictingRequest"}):
    """409."""

    fault: NovaFault


_NOVA_BODIES = {400: NovaBadRequest, 403: NovaForbidden, 404: NovaItemNotFound, 409: NovaConflict}


def network_error(status: int, code: str, message: str) -> ServiceError:
    """A refusal of VPC or EIP, such as 409 VPC.0209."""
    return ServiceError(status, NetworkErrorBody(code, message), f"{code} {message}")


def v3_error(request_id: str) -> Refuse:
    """How VPC v3 refuses: in CPH's own shape."""

    def refuse(status: int, code: str, message: str) -> ServiceError:
        return ServiceError(status, ErrorBody(request_id, code, message), f"{code} {message}")

    return refuse


def plain_error(status: int, code: str, message: str) -> ServiceError:
    """A refusal of the key pair or the billing service, such as 400 CBC.30000067."""
    return ServiceError(status, PlainErrorBody(code, message), f"{code} {message}")


def nova_error(status: int, code: str, message: str) -> ServiceError:
    """A refusal in Nova's shape, which has no codes of its own but the status."""
    return ServiceError(status, _NOVA_BODIES.get(status, NovaBadRequest)(NovaFault(message, status)), f"{code} {message}")


def refuses_as(refuse: Refuse, invalid: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a check written with `wire.checks` refuse in a service's shape. `invalid`: the code for what is no JSON object at all."""

    def decorate(check: Callable[P, R]) -> Callable[P, R]:
        @wraps(check)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return check(*args, **kwargs)
            except CphError as error:
                code = invalid if error.code.startswith("APIGW") else error.code
                raise refuse(error.status, code, error.detail or error.message) from error

        return checked

    return decorate
