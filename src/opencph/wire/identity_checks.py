"""Checks of the identity service's bodies (cph-api.md 1.1). Pure. Faults are IdentityError 400, as Keystone answers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from opencph.wire.checks import Fields, json_object
from opencph.wire.errors import CphError, IdentityError, shown
from opencph.wire.identity import CreateTokenRequest, Scope, WantedProjects
from opencph.wire.list_filters import Filters

NAME_MAX_BYTES = 256
PASSWORD_MAX_BYTES = 1024
PER_PAGE_MAX = 5_000
_CODE = "APIGW.0201"
_INTEGER = re.compile(r"[0-9]{1,9}")
_FLAGS = ("enabled", "is_domain")
_EXPIRY = re.compile(r"(lt|lte|gt|gte|eq|neq):\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


def create_token(body: bytes) -> CreateTokenRequest:
    """Decode and check the body of POST /v3/auth/tokens, password method."""
    try:
        return _create_token(Fields(json_object(body)))
    except CphError as error:
        raise IdentityError(400, error.detail) from None


def list_projects(query: Mapping[str, str]) -> WantedProjects:
    """Check the query of GET /v3/projects. `page` and `per_page` come together."""
    filters = _filters(query, "domain_id", "name", "parent_id", *_FLAGS)
    page, per_page = _number(query, "page", 10**9 - 1), _number(query, "per_page", PER_PAGE_MAX)
    if (page is None) != (per_page is None):
        raise IdentityError(400, "page and per_page must be given together.")
    return WantedProjects(filters=filters, page=page or 1, per_page=per_page)


def list_users(query: Mapping[str, str]) -> Filters:
    """Check the query of GET /v3/users."""
    expiry = query.get("password_expires_at")
    if expiry and _EXPIRY.fullmatch(expiry) is None:
        raise IdentityError(400, f"password_expires_at {shown(expiry)}: must be like lt:2030-01-31T00:00:00Z.")
    return _filters(query, "domain_id", "name", "enabled", "password_expires_at")


def _filters(query: Mapping[str, str], *fields: str) -> Filters:
    found = {field: value.lower() if field in _FLAGS else value for field in fields if (value := query.get(field))}
    for field in _FLAGS:
        if found.get(field, "true") not in ("true", "false"):
            raise IdentityError(400, f"{field} {shown(found[field])}: must be true or false.")
    return {field: (value,) for field, value in found.items()}


def _number(query: Mapping[str, str], field: str, most: int) -> int | None:
    text = query.get(field)
    if not text:
        return None
    if _INTEGER.fullmatch(text) is None or not 1 <= int(text) <= most:
        raise IdentityError(400, f"{field} {shown(text)}: must be 1 to {most}.")
    return int(text)


def _create_token(fields: Fields) -> CreateTokenRequest:
    auth = fields.nested("auth", _CODE)
    identity = auth.nested("identity", _CODE)
    methods = identity.texts("methods", _CODE)
    if methods != ["password"]:
        raise CphError(_CODE, 'auth.identity.methods must be ["password"]: other methods are not offered here')
    user = identity.nested("password", _CODE).nested("user", _CODE)
    password = user.text("password", _CODE, max_bytes=PASSWORD_MAX_BYTES)
    user_id = user.optional_text("id", _CODE, max_bytes=NAME_MAX_BYTES)
    user_name = user.optional_text("name", _CODE, max_bytes=NAME_MAX_BYTES)
    if user_id is None and user_name is None:
        raise CphError(_CODE, "auth.identity.password.user.name is mandatory")
    domain = user.optional_nested("domain", _CODE)
    scope = auth.optional_nested("scope", _CODE)
    return CreateTokenRequest(
        password=password,
        user_id=user_id,
        user_name=user_name,
        domain_id=None if domain is None else domain.optional_text("id", _CODE, max_bytes=NAME_MAX_BYTES),
        domain_name=None if domain is None else domain.optional_text("name", _CODE, max_bytes=NAME_MAX_BYTES),
        scope=Scope() if scope is None else _scope(scope),
    )


def _scope(fields: Fields) -> Scope:
    project, domain = fields.optional_nested("project", _CODE), fields.optional_nested("domain", _CODE)
    project_id = project_name = None
    if project is not None:
        project_id = project.optional_text("id", _CODE, max_bytes=NAME_MAX_BYTES)
        project_name = project.optional_text("name", _CODE, max_bytes=NAME_MAX_BYTES)
        if project_id is None and project_name is None:
            raise CphError(_CODE, "auth.scope.project needs a name or an id")
        domain = project.optional_nested("domain", _CODE)
    if domain is not None:
        return Scope(
            project_id=project_id,
            project_name=project_name,
            domain_id=domain.optional_text("id", _CODE, max_bytes=NAME_MAX_BYTES),
            domain_name=domain.optional_text("name", _CODE, max_bytes=NAME_MAX_BYTES),
        )
    return Scope(project_id=project_id, project_name=project_name)
