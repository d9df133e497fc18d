"""The identity service (IAM v3) over HTTP: tokens, projects, domains (cph-api.md 1.1 and 1.3)."""

from __future__ import annotations

import re

import structlog

from opencph.api.call import Answer, Call, Result
from opencph.api.connections import client_of
from opencph.iam import identity as rules
from opencph.wire import identity_checks
from opencph.wire.errors import IdentityError

_logger = structlog.get_logger("opencph.api")

SUBJECT_HEADER = b"x-subject-token"
_HOST = re.compile(r"[A-Za-z0-9.-]{1,255}(:[0-9]{1,5})?|\[[0-9a-fA-F:.]{2,45}\](:[0-9]{1,5})?")


def create_token(call: Call) -> Result:
    """POST /v3/auth/tokens: 201, the token in X-Subject-Token."""
    request = identity_checks.create_token(call.body)
    client, user = (
        client_of(call.client),
        "/".join(part or "" for part in (request.user_id, request.user_name, request.domain_id, request.domain_name)),
    )
    logins = call.authenticator.logins
    logins.check(client, user)
    try:
        token, body = rules.create_token(
            call.authenticator, call.fleet.settings, request, _endpoint(call), catalog=not call.query.get("nocatalog")
        )
    except IdentityError as error:
        if error.status == 401:
            logins.failed(client, user)
            _logger.warning("login refused", client=call.client, user=(request.user_name or request.user_id or "")[:64])
        raise
    logins.succeeded(client, user)
    return Answer(201, body, ((SUBJECT_HEADER, token.encode()),))


def show_token(call: Call) -> Result:
    """GET /v3/auth/tokens: what the token of X-Subject-Token says."""
    subject = call.headers.get(SUBJECT_HEADER)
    if subject is None:
        raise IdentityError(400, "The header X-Subject-Token is mandatory.")
    body = rules.show_token(
        call.authenticator, call.fleet.settings, subject, _endpoint(call), catalog=not call.query.get("nocatalog")
    )
    return Answer(200, body, ((SUBJECT_HEADER, subject),))


def list_projects(call: Call) -> Result:
    """GET /v3/projects."""
    return rules.list_projects(call.authenticator, call.caller, identity_checks.list_projects(call.query), _endpoint(call))


def list_auth_projects(call: Call) -> Result:
    """GET /v3/auth/projects."""
    return rules.list_auth_projects(call.authenticator, call.caller, _endpoint(call))


def list_auth_domains(call: Call) -> Result:
    """GET /v3/auth/domains."""
    return rules.list_auth_domains(call.authenticator, call.caller, _endpoint(call))


def list_users(call: Call) -> Result:
    """GET /v3/users."""
    return rules.list_users(call.authenticator, call.caller, identity_checks.list_users(call.query), _endpoint(call))


def _endpoint(call: Call) -> str:
    """Where the client reached us, which is where it will reach the services of the catalog."""
    host = call.headers.get(b"host", b"").decode("latin-1")
    scheme = "https" if call.fleet.settings.tls_cert else "http"
    return f"{scheme}://{host if _HOST.fullmatch(host) else call.fleet.settings.listen}"
