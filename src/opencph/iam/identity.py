"""What the identity service answers: tokens, projects and domains (cph-api.md 1.1, 1.3; neighbours). No HTTP."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from urllib.parse import urlencode

from opencph.iam import ADMIN, READER, Caller
from opencph.iam.auth import Authenticator
from opencph.iam.tokens import Claims, TokenError, issue
from opencph.iam.users import (
    ALL_PROJECTS_OF_USER,
    DOMAIN_BY_ID,
    GRANT,
    PROJECTS_OF_USER,
    ROLES_OF_USER,
    USER_BY_ID,
    USERS_OF_DOMAIN,
    LoginName,
    ProjectRow,
    UserRow,
    check_password,
    find_user,
)
from opencph.settings import Settings
from opencph.wire.errors import IdentityError
from opencph.wire.identity import (
    CatalogService,
    CreateTokenRequest,
    Domain,
    Endpoint,
    Links,
    ListAuthDomainsResponse,
    ListProjectsResponse,
    ListUsersResponse,
    NamedDomain,
    Project,
    Role,
    Scope,
    SelfLink,
    Token,
    TokenProject,
    TokenResponse,
    TokenUser,
    User,
    WantedProjects,
)
from opencph.wire.list_filters import Filters, matching

#: name and type of every service in the catalog, and the path its endpoint has
SERVICES = (
    ("iam", "identity", "/v3"),
    ("cph", "cph", "/v1/{project_id}"),
    ("vpc", "vpc", "/v1/{project_id}"),
    ("vpcv3", "vpcv3", "/v3/{project_id}"),
    ("kms", "kms", "/v3/{project_id}"),
    ("ecs", "ecs", "/v1/{project_id}"),
    ("bss", "bssv1", "/v2"),
    ("obs", "object", ""),
)
WRONG_LOGIN = "The username or password is wrong."


def create_token(
    authenticator: Authenticator, settings: Settings, request: CreateTokenRequest, endpoint: str, *, catalog: bool
) -> tuple[str, TokenResponse]:
    """KeystoneCreateUserTokenByPassword: a token and what it says. Raises IdentityError 401, 403, 404."""
    database = authenticator.database
    login = LoginName(request.user_id, request.user_name, request.domain_id, request.domain_name)
    with database.read() as tx:
        user = find_user(tx, login)
    enabled = user is not None and user.enabled == 1
    if not check_password(user.password_hash if user is not None and enabled else None, request.password) or user is None:
        raise IdentityError(401, WRONG_LOGIN)
    project = _project_of_scope(authenticator, user, request.scope)
    now_ms = time.time_ns() // 1_000_000
    life_ms = settings.token_hours * 3_600_000
    token, claims = issue(authenticator.token_key, user.user_id, project.project_id if project else "", now_ms, life_ms)
    return token, _describe(authenticator, settings, user, project, claims, endpoint, catalog=catalog)


def show_token(authenticator: Authenticator, settings: Settings, subject: bytes, endpoint: str, *, catalog: bool) -> TokenResponse:
    """KeystoneValidateToken: what a token says. Raises IdentityError 404 when it is not valid."""
    try:
        claims = authenticator.claims(subject)
    except TokenError as error:
        raise IdentityError(404, f"The token of X-Subject-Token is not valid: {error}.") from None
    user = authenticator.database.row(USER_BY_ID, user_id=claims.user_id)
    if user is None or not user.enabled:
        raise IdentityError(404, "The user of the token is gone or disabled.")
    project = None
    if claims.project_id:
        granted = authenticator.database.rows(PROJECTS_OF_USER, user_id=claims.user_id)
        project = next((one for one in granted if one.project_id == claims.project_id), None)
        if project is None:
            raise IdentityError(404, "The project of the token is gone, or the user's access to it.")
    return _describe(authenticator, settings, user, project, claims, endpoint, catalog=catalog)


def list_projects(authenticator: Authenticator, caller: Caller, query: WantedProjects, endpoint: str) -> ListProjectsResponse:
    """KeystoneListProjects: the projects the caller has a role in, disabled ones too."""
    granted = authenticator.database.rows(ALL_PROJECTS_OF_USER, user_id=caller.user_id)
    found = matching((_project(one, endpoint) for one in granted), query.filters)
    where = f"{endpoint}/v3/projects"
    if query.per_page is None:
        return ListProjectsResponse(projects=found, links=Links(self=where))
    last = query.page * query.per_page

    def link(page: int) -> str:
        asked = {field: one for field, values in query.filters.items() for one in values}
        return f"{where}?{urlencode({**asked, 'page': page, 'per_page': query.per_page})}"

    return ListProjectsResponse(
        projects=found[last - query.per_page : last],
        links=Links(
            self=link(query.page),
            previous=link(query.page - 1) if query.page > 1 else None,
            next=link(query.page + 1) if last < len(found) else None,
        ),
    )


def list_auth_projects(authenticator: Authenticator, caller: Caller, endpoint: str) -> ListProjectsResponse:
    """KeystoneListAuthProjects: the projects the caller may act in."""
    granted = authenticator.database.rows(PROJECTS_OF_USER, user_id=caller.user_id)
    return ListProjectsResponse(
        projects=[_project(one, endpoint) for one in granted], links=Links(self=f"{endpoint}/v3/auth/projects")
    )


def list_auth_domains(authenticator: Authenticator, caller: Caller, endpoint: str) -> ListAuthDomainsResponse:
    """KeystoneListAuthDomains: the caller's domain."""
    domain = authenticator.database.row(DOMAIN_BY_ID, domain_id=caller.domain_id)
    found = []
    if domain is not None:
        link = SelfLink(self=f"{endpoint}/v3/domains/{domain.domain_id}")
        found.append(Domain(id=domain.domain_id, name=domain.name, enabled=True, description="", links=link))
    return ListAuthDomainsResponse(domains=found, links=Links(self=f"{endpoint}/v3/auth/domains"))


def list_users(authenticator: Authenticator, caller: Caller, filters: Filters, endpoint: str) -> ListUsersResponse:
    """KeystoneListUsers: the users of the caller's domain. Who is no administrator sees itself."""
    database = authenticator.database
    found = database.rows(USERS_OF_DOMAIN, domain_id=caller.domain_id)
    if ADMIN not in (role.role for role in database.rows(ROLES_OF_USER, user_id=caller.user_id)):
        found = [user for user in found if user.user_id == caller.user_id]
    users = matching((_user(one, endpoint) for one in found), filters)  # no password expires, so none is before or after a time
    return ListUsersResponse(users=users, links=Links(self=f"{endpoint}/v3/users"))


def _user(row: UserRow, endpoint: str) -> User:
    return User(
        id=row.user_id,
        name=row.user_name,
        domain_id=row.domain_id,
        enabled=row.enabled == 1,
        description="",
        password_expires_at=None,
        pwd_status=True,
        links=SelfLink(self=f"{endpoint}/v3/users/{row.user_id}"),
    )


def _project_of_scope(authenticator: Authenticator, user: UserRow, scope: Scope) -> ProjectRow | None:
    """The project a token is asked for; None for the domain. No scope: the domain, as the real service does."""
    if scope.project_id is None and scope.project_name is None:
        if scope.domain_id not in (None, user.domain_id) or scope.domain_name not in (None, user.domain_name):
            raise IdentityError(403, "You have no access to the domain of scope.")
        return None
    asked = (scope.project_id, scope.project_name, scope.domain_id, scope.domain_name)
    for project in authenticator.database.rows(PROJECTS_OF_USER, user_id=user.user_id):
        known = (project.project_id, project.name, project.domain_id, project.domain_name)
        if all(said in (None, true) for said, true in zip(asked, known, strict=True)):
            return project
    wanted = scope.project_id or scope.project_name
    raise IdentityError(
        403, f"You have no access to the project {wanted!r} of scope, or there is none of that id, name and domain."
    )


def _describe(
    authenticator: Authenticator,
    settings: Settings,
    user: UserRow,
    project: ProjectRow | None,
    claims: Claims,
    endpoint: str,
    *,
    catalog: bool,
) -> TokenResponse:
    domain = NamedDomain(id=user.domain_id, name=user.domain_name)
    if project is None:  # what the user may do in any project, it may do in calls of none
        roles = [one.role for one in authenticator.database.rows(ROLES_OF_USER, user_id=user.user_id)] or [READER]
    else:
        grant = authenticator.database.row(GRANT, user_id=user.user_id, project_id=project.project_id)
        roles = [] if grant is None else [grant.role]
    token = Token(
        expires_at=_time(claims.expires_ms),
        issued_at=_time(claims.issued_ms),
        methods=["password"],
        user=TokenUser(id=user.user_id, name=user.user_name, password_expires_at="", domain=domain),
        roles=[Role(id="0", name=role) for role in roles],
        catalog=_catalog(settings, project, endpoint) if catalog else None,
        project=None if project is None else _token_project(project),
        domain=domain if project is None else None,
    )
    return TokenResponse(token=token)


def _token_project(row: ProjectRow) -> TokenProject:
    return TokenProject(id=row.project_id, name=row.name, domain=NamedDomain(id=row.domain_id, name=row.domain_name))


def _catalog(settings: Settings, project: ProjectRow | None, endpoint: str) -> list[CatalogService]:
    services = []
    for name, kind, path in SERVICES:
        if "{project_id}" in path and project is None:
            continue
        url = endpoint + path.format(project_id=project.project_id if project else "")
        where = Endpoint(id=f"{name}-public", interface="public", region=settings.region, region_id=settings.region, url=url)
        services.append(CatalogService(id=name, name=name, type=kind, endpoints=[where]))
    return services


def _project(row: ProjectRow, endpoint: str) -> Project:
    return Project(
        id=row.project_id,
        name=row.name,
        domain_id=row.domain_id,
        parent_id=row.domain_id,
        enabled=row.enabled == 1,
        is_domain=False,
        description="",
        links=SelfLink(self=f"{endpoint}/v3/projects/{row.project_id}"),
    )


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
