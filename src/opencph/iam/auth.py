"""Who is calling: from a token or a signed request to a `Caller`. What the caller may do is decided at the edge, by its policy.

Answers are remembered for FRESH_SECONDS, so that a call costs no look-up and a disabled user, key or grant is out soon.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import bindparam, select

from opencph.iam import READER, Caller
from opencph.iam.login_guard import LoginGuard
from opencph.iam.policies import ROLES, Union, policy_of
from opencph.iam.tokens import Claims, TokenError, read
from opencph.iam.users import ACCESS_KEY, GRANT, ROLES_OF_USER, USER_BY_ID, AccessKeyRow, GrantRow
from opencph.settings import Settings
from opencph.store.database import Database, Query, scalar
from opencph.store.tables import signing_keys
from opencph.wire.errors import CphError
from opencph.wire.signatures import DATE_HEADER, Authorization, SignatureError, SigningKey, parse_authorization, parse_date, verify

FRESH_SECONDS = 5.0
REMEMBERED_MAX = 10_000
TOKEN_KEY_NAME = "token"  # noqa: S105 - the name of a row, no secret

TOKEN_HEADER = b"x-auth-token"
AUTHORIZATION_HEADER = b"authorization"
PROJECT_HEADER = b"x-project-id"
SECURITY_TOKEN_HEADER = b"x-security-token"
_NO_CREDENTIALS = "no credentials: send X-Auth-Token, or sign the request with an access key"

_SIGNING_KEY: Query[str] = Query(select(signing_keys.c.secret).where(signing_keys.c.name == bindparam("name")), scalar)


class LookupNeededError(Exception):
    """What is remembered is not enough: ask again with `lookup=True`, off the event loop."""


class Request(NamedTuple):
    """The request to authenticate. `headers` has lower-case names, and none that came twice."""

    method: bytes
    raw_path: bytes
    raw_query: bytes
    headers: Mapping[bytes, bytes]
    body: bytes
    project_id: str  # the project in the path; "" when the path names none


class _Remembered(NamedTuple):
    caller: Caller
    fresh_until: float
    expires: float


class _Key(NamedTuple):
    row: AccessKeyRow
    key: SigningKey
    fresh_until: float
    callers: dict[str, Caller | None]


class Authenticator:
    """Authenticates requests against one database. Safe to use from several threads."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.skew_seconds = settings.clock_skew_seconds
        self._tokens: dict[bytes, _Remembered] = {}
        self._keys: dict[str, _Key] = {}
        self._token_key: bytes | None = None
        self.logins = LoginGuard(settings.login_failures_per_minute)

    @property
    def token_key(self) -> bytes:
        """The key that signs tokens."""
        if self._token_key is None:
            secret = self.database.row(_SIGNING_KEY, name=TOKEN_KEY_NAME)
            if secret is None:
                raise CphError("CPS.0003", "the database has no token key; start OpenCPH on it once with `opencph up`")
            self._token_key = base64.b64decode(secret)
        return self._token_key

    def authenticate(self, request: Request, *, lookup: bool = True) -> Caller:
        """Who is calling. Raises CphError APIGW.0301 (401), or APIGW.0302 (403) for a project that is not the caller's;
        LookupNeededError when `lookup` is False and the database must be asked."""
        token = request.headers.get(TOKEN_HEADER)
        if token is not None:
            return self.by_token(token, lookup=lookup)
        authorization = request.headers.get(AUTHORIZATION_HEADER)
        if authorization is None:
            raise CphError("APIGW.0301", _NO_CREDENTIALS)
        try:
            return self._by_signature(parse_authorization(authorization), request, lookup)
        except SignatureError as error:
            raise CphError("APIGW.0301", f"verify aksk signature fail: {error}") from None

    def expect(self, headers: Mapping[bytes, bytes]) -> None:
        """Look at credentials before a body is read that a signature covers. Raises CphError APIGW.0301 (401) for those that cannot
        be right whatever the body is."""
        authorization = headers.get(AUTHORIZATION_HEADER)
        if authorization is None:
            raise CphError("APIGW.0301", _NO_CREDENTIALS)
        try:
            parse_authorization(authorization)
            self._check_headers(headers)
        except SignatureError as error:
            raise CphError("APIGW.0301", f"verify aksk signature fail: {error}") from None

    def by_token(self, token: bytes, *, lookup: bool = True) -> Caller:
        """Who the token was issued to, if that one may still act there. Errors as `authenticate`."""
        now = time.time()
        found = self._tokens.get(token)
        if found is not None and now < found.fresh_until and now < found.expires:
            return found.caller
        if not lookup:
            raise LookupNeededError
        self._tokens.pop(token, None)
        try:
            claims = read(self.token_key, token, int(now * 1000))
        except TokenError as error:
            raise CphError("APIGW.0301", f"decrypt token fail: {error}") from None
        caller = self._caller(claims)
        _make_room(self._tokens)
        self._tokens[token] = _Remembered(caller, now + FRESH_SECONDS, claims.expires_ms / 1000)
        return caller

    def claims(self, token: bytes) -> Claims:
        """What a token says, however old it may be. Raises TokenError when it is not ours or has expired."""
        return read(self.token_key, token, time.time_ns() // 1_000_000)

    def _caller(self, claims: Claims) -> Caller:
        if claims.project_id:
            grant = self.database.row(GRANT, user_id=claims.user_id, project_id=claims.project_id)
            if grant is not None:
                return _in_project(grant)
        else:
            user = self.database.row(USER_BY_ID, user_id=claims.user_id)
            if user is not None and user.enabled:
                return self._without_project(user.user_id, user.user_name, user.domain_id, user.domain_name)
        raise CphError("APIGW.0301", "the token's user or its access to the project is gone or disabled")

    def _without_project(self, user_id: str, user_name: str, domain_id: str, domain_name: str) -> Caller:
        """A caller for calls of no project. It may do what it may do in any of its projects; which, the rule has to look at."""
        roles = self.database.rows(ROLES_OF_USER, user_id=user_id)
        return Caller(
            user_id=user_id,
            user_name=user_name,
            domain_id=domain_id,
            domain_name=domain_name,
            project_id="",
            role=",".join(role.role for role in roles) or READER,
            policy=Union([ROLES[READER], *(policy_of(*role) for role in roles)]),
        )

    def _by_signature(self, authorization: Authorization, request: Request, lookup: bool) -> Caller:
        now = self._check_headers(request.headers)
        key = self._key(authorization.access_key, now, lookup)
        if key is None:
            raise SignatureError(f"the access key {authorization.access_key} does not exist or is disabled")
        verify(authorization, key.key, request.method, request.raw_path, request.raw_query, request.headers, request.body)
        stated = request.headers.get(PROJECT_HEADER, b"").decode("latin-1")
        project_id = request.project_id or stated
        if stated and stated != project_id:
            raise CphError("APIGW.0302", "the project of X-Project-Id is not the project of the path")
        if project_id not in key.callers:
            if not lookup:
                raise LookupNeededError
            row = key.row
            if not project_id:
                everywhere = key.callers[""] = self._without_project(row.user_id, row.user_name, row.domain_id, row.domain_name)
                return everywhere
            grant = self.database.row(GRANT, user_id=key.row.user_id, project_id=project_id)
            _make_room(key.callers)
            key.callers[project_id] = None if grant is None else _in_project(grant)
        caller = key.callers[project_id]
        if caller is None:
            raise CphError("APIGW.0302", f"the access key gives no access to project {project_id[:64]!r}")
        return caller

    def _check_headers(self, headers: Mapping[bytes, bytes]) -> float:
        """The time of now. Raises SignatureError for a request that was signed at another time, or with a temporary access key."""
        now = time.time()
        if headers.get(SECURITY_TOKEN_HEADER):
            raise SignatureError(
                "X-Security-Token belongs to a temporary access key, and all keys here are permanent: leave it out"
            )
        date = headers.get(DATE_HEADER)
        if date is None:
            raise SignatureError("the header X-Sdk-Date is not there exactly once")
        off = abs(now - parse_date(date))
        if off > self.skew_seconds:
            minutes = round(off / 60)
            raise SignatureError(
                f"X-Sdk-Date is {minutes} minutes off the clock here: at most {self.skew_seconds // 60}; set your clock, sign again"
            )
        return now

    def _key(self, access_key: str, now: float, lookup: bool) -> _Key | None:
        found = self._keys.get(access_key)
        if found is not None and now < found.fresh_until:
            return found
        if not lookup:
            raise LookupNeededError
        row = self.database.row(ACCESS_KEY, access_key=access_key)
        self._keys.pop(access_key, None)
        if row is None:
            return None
        _make_room(self._keys)
        key = self._keys[access_key] = _Key(row, SigningKey(row.secret_key.encode()), now + FRESH_SECONDS, {})
        return key


def _in_project(grant: GrantRow) -> Caller:
    return Caller(
        user_id=grant.user_id,
        user_name=grant.user_name,
        domain_id=grant.domain_id,
        domain_name=grant.domain_name,
        project_id=grant.project_id,
        role=grant.role,
        policy=policy_of(grant.role, grant.document),
    )


def _make_room(remembered: dict[bytes, _Remembered] | dict[str, _Key] | dict[str, Caller | None]) -> None:
    """Forget the oldest when there are too many; several threads may do so at once."""
    while len(remembered) >= REMEMBERED_MAX:
        try:
            del remembered[next(iter(remembered))]  # type: ignore[arg-type]
        except (KeyError, StopIteration, RuntimeError):
            return
