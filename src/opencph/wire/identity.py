"""Identity (IAM v3) on the wire: tokens, projects, domains (cph-api.md sections 1.1 and 1.3). Checks live in `checks_identity`."""

from __future__ import annotations

import msgspec

from opencph.wire.list_filters import Filters


class NamedDomain(msgspec.Struct, frozen=True, kw_only=True):
    """A domain by id and name."""

    id: str
    name: str


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What a token is asked for: a project, of a domain when that is named too, or a domain. What is named must all be true of it.
    All None: the user's domain."""

    project_id: str | None = None
    project_name: str | None = None
    domain_id: str | None = None
    domain_name: str | None = None


class CreateTokenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v3/auth/tokens, password method. The user by name and domain (name or id), or by id."""

    password: str
    user_name: str | None = None
    user_id: str | None = None
    domain_name: str | None = None
    domain_id: str | None = None
    scope: Scope = Scope()


class WantedProjects(msgspec.Struct, frozen=True, kw_only=True):
    """What the query of GET /v3/projects asks for."""

    filters: Filters
    page: int  # from 1
    per_page: int | None  # None: everything is one page


class TokenUser(msgspec.Struct, frozen=True, kw_only=True):
    """Whose token it is."""

    id: str
    name: str
    password_expires_at: str
    domain: NamedDomain


class TokenProject(msgspec.Struct, frozen=True, kw_only=True):
    """The project a token is for."""

    id: str
    name: str
    domain: NamedDomain


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A role the token carries."""

    id: str
    name: str


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a service answers."""

    id: str
    interface: str
    region: str
    region_id: str
    url: str


class CatalogService(msgspec.Struct, frozen=True, kw_only=True):
    """A service of the catalog."""

    id: str
    name: str
    type: str
    endpoints: list[Endpoint]


class Token(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a token says. Times as 2019-02-13T06:52:13.855000Z."""

    expires_at: str
    issued_at: str
    methods: list[str]
    user: TokenUser
    roles: list[Role]
    catalog: list[CatalogService] | None = None
    project: TokenProject | None = None
    domain: NamedDomain | None = None


class TokenResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The body beside the header X-Subject-Token."""

    token: Token


class Links(msgspec.Struct, frozen=True, kw_only=True):
    """Keystone's page links."""

    self: str
    previous: str | None = None
    next: str | None = None


class SelfLink(msgspec.Struct, frozen=True, kw_only=True):
    """Keystone's link of one object."""

    self: str


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project."""

    id: str
    name: str
    domain_id: str
    parent_id: str
    enabled: bool
    is_domain: bool
    description: str
    links: SelfLink


class ListProjectsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v3/projects and GET /v3/auth/projects."""

    projects: list[Project]
    links: Links


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user."""

    id: str
    name: str
    domain_id: str
    enabled: bool
    description: str
    password_expires_at: str | None
    pwd_status: bool
    links: SelfLink


class ListUsersResponse(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v3/users."""

    users: list[User]
    links: Links


class Domain(msgspec.Struct, frozen=True, kw_only=True):
    """A domain (account)."""

    id: str
    name: str
    enabled: bool
    description: str
    links: SelfLink


class ListAuthDomainsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v3/auth/domains."""

    domains: list[Domain]
    links: Links
