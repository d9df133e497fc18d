"""From exceptions to what the client sees. Causes that are ours to know go to the log, not to the client."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import structlog

from opencph.store.database import StoreBusyError, StoreError, StoreFullError, StoreUnavailableError, StoreUncertainError
from opencph.wire.errors import CphError, ErrorBody, IdentityError, IdentityErrorBody, IdentityErrorFields, ServiceError

_AWAY = "the database is not available at the moment; try again"
_UNCERTAIN = "the database went away while it was written: it may be done, so look before you try again"
_logger = structlog.get_logger("opencph.api")


class Refusal(NamedTuple):
    """Status and body of an answer that says no."""

    status: int
    body: msgspec.Struct


def refusal(error: BaseException, request_id: str, operation: str, *, identity: bool = False, log: bool = True) -> Refusal:
    """What the client is told of an exception. Errors that are ours go to the log too, unless `log` is False."""
    if isinstance(error, IdentityError):
        return Refusal(error.status, _identity_body(error))
    if isinstance(error, ServiceError):
        return Refusal(error.status, error.body)
    cph = error if isinstance(error, CphError) else _internal(error, request_id, operation, log)
    if identity and cph.code != "APIGW.0308":  # the gateway throttles, before the identity service
        return Refusal(cph.status, _identity_body(IdentityError(cph.status, cph.message)))
    return Refusal(cph.status, ErrorBody(request_id=request_id, error_code=cph.code, error_msg=cph.message))


def _internal(error: BaseException, request_id: str, operation: str, log: bool) -> CphError:
    """The public face of an error that is not the caller's."""
    if isinstance(error, StoreBusyError):
        return CphError("CPS.0042", "the database is busy; try again in a moment")
    if isinstance(error, StoreUnavailableError):
        if log:
            _logger.error("the database is not available", request_id=request_id, operation=operation, cause=str(error))
        why = _UNCERTAIN if isinstance(error, StoreUncertainError) else _AWAY
        if isinstance(error, StoreFullError):
            why = f"{error}; free some and try again"
        return CphError("CPS.0003", why, status=503)
    kind = "database error" if isinstance(error, StoreError) else "unexpected error"
    if log:
        _logger.error(kind, request_id=request_id, operation=operation, exc_info=error)
    return CphError("CPS.0003", f"see the log of the service for request {request_id}")


def _identity_body(error: IdentityError) -> IdentityErrorBody:
    return IdentityErrorBody(error=IdentityErrorFields(code=error.status, message=error.message, title=error.title))
