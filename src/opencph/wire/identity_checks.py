"""Checks of the identity service's bodies (cph-api.md 1.1). Pure. Faults are IdentityError 400, as Keystone answers."""

from __future__ import annotations

from opencph.wire.checks import Fields, json_object
from opencph.wire.errors import CphError, IdentityError
from opencph.wire.identity import CreateTokenRequest, Scope

NAME_MAX_BYTES = 256
PASSWORD_MAX_BYTES = 1024
_CODE = "APIGW.0201"


def create_token(body: bytes) -> CreateTokenRequest:
    """Decode and check the body of POST /v3/auth/tokens, password method."""
    try:
        return _create_token(Fields(json_object(body)))
    except CphError as error:
        raise IdentityError(400, error.detail) from None


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
    if project is not None:
        project_id = project.optional_text("id", _CODE, max_bytes=NAME_MAX_BYTES)
        project_name = project.optional_text("name", _CODE, max_bytes=NAME_MAX_BYTES)
        if project_id is None and project_name is None:
            raise CphError(_CODE, "auth.scope.project needs a name or an id")
        return Scope(project_id=project_id, project_name=project_name)
    if domain is not None:
        return Scope(
            domain_id=domain.optional_text("id", _CODE, max_bytes=NAME_MAX_BYTES),
            domain_name=domain.optional_text("name", _CODE, max_bytes=NAME_MAX_BYTES),
        )
    return Scope()
