"""The ASGI application: request id, route, credentials, project, body, handler, answer. No rules and no operations.

Everything on the way of a GET is plain Python on one thread: that is what makes it quick. Writes, and reads of a database that is
far away, run in a thread pool.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Any, TypeVar, cast

import msgspec
import structlog

from opencph import log
from opencph.api import auditing, metrics
from opencph.api.bodies import BODIES_AT_ONCE, OPEN_BODY_BYTES, Body, ClientGoneError, Receive, Room, has_body
from opencph.api.call import Answer, Call, Result
from opencph.api.errors import refusal
from opencph.api.objects import ObjectApi
from opencph.api.pace import Pace
from opencph.api.remembered import RememberedAnswers
from opencph.api.routes import ROUTES
from opencph.api.routing import Route, Router
from opencph.fleet import Fleet
from opencph.iam import Caller
from opencph.iam.auth import TOKEN_HEADER, Authenticator, LookupNeededError, Request
from opencph.wire.errors import CphError, ErrorBody

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Outcome = TypeVar("Outcome")

#: Threads per kind of work, so that writers who wait for their turn, or a burst of logins, leave room for reads.
READ_THREADS, WRITE_THREADS, SLOW_THREADS = 8, 8, 2
NOBODY = Caller(user_id="", user_name="", domain_id="", domain_name="", project_id="", role="reader")
_JSON = (b"content-type", b"application/json")
_CLOSE = (b"connection", b"close")

#: What load balancers ask with HEAD: answered as GET, without the body.
PROBES = (b"/healthz", b"/readyz")
#: what monitoring calls a request whose client did not wait for the answer
CLIENT_GONE = 499

_encode = msgspec.json.Encoder().encode
_access = structlog.get_logger("opencph.api.access")


class Edge:
    """The application. One per process; `close()` it after the last request."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.authenticator = Authenticator(fleet.database, fleet.settings)
        self.router = Router(ROUTES)
        self.objects = ObjectApi(fleet)
        self.body_limit_bytes = fleet.settings.body_limit_bytes
        self._room = Room(BODIES_AT_ONCE * self.body_limit_bytes)
        self.reads_inline = fleet.database.reads_inline
        # Request ids are no secrets, but must differ between processes that were forked from one.
        self._random_bits = random.Random(os.urandom(32)).getrandbits  # noqa: S311
        self.in_flight = 0
        self._numbers = metrics.RequestNumbers(lambda: self.in_flight)
        per_second = fleet.settings.requests_per_second
        self._pace = Pace(per_second) if per_second else None
        self._access_log = fleet.settings.access_log == "on"
        self.leaving = False  # set by whoever ends this process: connections close after their next answer
        self._snapshot = False
        self._remembered = RememberedAnswers()
        self._idle: asyncio.Event | None = None
        self._reads = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="opencph-reads")
        self._writes = ThreadPoolExecutor(WRITE_THREADS, thread_name_prefix="opencph-writes")
        self._slow = ThreadPoolExecutor(SLOW_THREADS, thread_name_prefix="opencph-slow")

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        self.in_flight += 1
        began, status = time.perf_counter(), CLIENT_GONE
        probe = scope["method"] == "HEAD" and scope["raw_path"] in PROBES
        found = self.router.find("GET" if probe else scope["method"], scope["raw_path"])
        operation = "unknown" if found is None else found[0].operation
        try:
            if found is None and self.objects.claims(scope) and not _has_two_hosts(scope["headers"]):
                operation, request_id = "ObjectStorage", f"{self._random_bits(128):032x}"
                log.serving(request_id, operation, "")

                async def note(message: MutableMapping[str, Any]) -> None:
                    nonlocal status
                    status = message.get("status", status)
                    await send(self._last(message))

                await self.objects(scope, receive, note, request_id)
                if status == CLIENT_GONE:
                    await _say_goodbye(send)
                return
            status, headers, payload = await self._exchange(scope, receive, found)
            if self.leaving:
                headers = [*headers, _CLOSE]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b"" if probe else payload})
        except ClientGoneError:
            await _say_goodbye(send)
        finally:
            self._numbers.answered(operation, scope["method"], status, time.perf_counter() - began)
            if self._access_log:
                seconds = time.perf_counter() - began
                _access.info(
                    "request",
                    method=scope["method"],
                    path=_shown(scope["path"]),
                    status=status,
                    milliseconds=round(seconds * 1000, 2),
                )
            self.in_flight -= 1
            if not self.in_flight and self._idle is not None:
                self._idle.set()

    async def _exchange(
        self, scope: MutableMapping[str, Any], receive: Receive, found: tuple[Route, list[str]] | None
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Status, headers and body of the answer."""
        request_id = f"{self._random_bits(128):032x}"
        if found is None:
            log.serving(request_id, "unknown", "")
        else:
            log.serving(request_id, found[0].operation, found[1][0] if found[0].project else "")
        answer_headers = [_JSON, (b"x-request-id", request_id.encode())]
        pairs: list[tuple[bytes, bytes]] = scope["headers"]
        headers = dict(pairs)
        if len(headers) != len(pairs):
            headers = _without_doubles(pairs)
        body = Body(receive, headers, self.body_limit_bytes, self._room) if has_body(headers) else None
        try:
            if len(headers) != len(pairs) and _has_two_hosts(pairs):
                raise CphError("APIGW.0201", "the request has two Host headers")
            if found is None:
                raise CphError("APIGW.0101", f"{scope['method']} {_shown(scope['path'])}")
            result = await self._answer(scope, headers, body, found[0], found[1], request_id)
            if isinstance(result, Answer):
                answer_headers.extend(result.headers)
                if result.content:
                    answer_headers[0] = (b"content-type", result.content_type)
                    return result.status, answer_headers, result.content
                return result.status, answer_headers, b"" if result.body is None else _encode(result.body)
            return 200, answer_headers, result if isinstance(result, bytes) else _encode(result)
        except ClientGoneError:
            raise
        except Exception as error:
            operation, identity = ("unknown", False) if found is None else (found[0].operation, found[0].identity)
            refused = refusal(error, request_id, operation, identity=identity)
            if body is not None:
                body.leave()
                await body.drain()
            if isinstance(error, CphError) and error.retry_seconds:
                answer_headers.append((b"retry-after", str(error.retry_seconds).encode()))
            return refused.status, answer_headers, _encode(refused.body)
        finally:
            if body is not None:
                body.leave()

    async def _answer(
        self,
        scope: MutableMapping[str, Any],
        headers: dict[bytes, bytes],
        body: Body | None,
        route: Route,
        params: list[str],
        request_id: str,
    ) -> Result:
        project_id = params.pop(0) if route.project else ""
        content = b""
        caller = NOBODY
        if body is not None and not route.auth:
            body.limit(OPEN_BODY_BYTES)
        if body is not None and TOKEN_HEADER not in headers:
            if route.auth and not route.scraped:
                self.authenticator.expect(headers)
            content = await body.read()  # a signature covers it
        if route.auth:
            if route.scraped and metrics.is_scraper(self.fleet.settings, headers):
                caller = metrics.SCRAPER
            else:
                caller = await self._authenticate(scope, headers, content, project_id)
                if self._pace is not None:
                    self._pace.count(caller.user_id)
            if route.project and caller.project_id != project_id:
                if not caller.project_id:
                    raise CphError("CPS.0001", "the token is not for a project; get one with scope.project")
                raise CphError("APIGW.0302", f"the credentials give no access to project {_shown(project_id)}")
            if not route.free and not caller.may(route.action):
                forbidden = CphError("CPS.0001", f"the role {caller.role} does not allow {route.action or route.operation}")
                if route.writes:
                    call = Call(self.fleet, self.authenticator, caller, request_id, tuple(params), b"", content, headers)
                    await _in_thread(self._writes, auditing.refused, route, call, forbidden)
                raise forbidden
        if body is not None and not body.taken:
            content = await body.read()
        query = scope["query_string"]
        call = Call(self.fleet, self.authenticator, caller, request_id, tuple(params), query, content, headers)
        if (client := scope.get("client")) is not None:
            call.client = client[0]
        if route.writes:
            return await _in_thread(self._writes, auditing.audited, route, call)
        if self.reads_inline and not route.blocks and not (route.slow and route.slow(call)):
            self._share_snapshot()
            if not route.of_one_thing or scope["query_string"]:
                return route.handler(call)
            return self._remembered.find(scope["raw_path"], request_id) or self._remember(scope["raw_path"], route, call)
        if route.awaits:
            return await cast(Awaitable[Result], route.handler(call))
        return await _in_thread(self._slow if route.blocks else self._reads, route.handler, call)

    def _share_snapshot(self) -> None:
        """Let the readers of this turn of the event loop share a snapshot.

        Whoever reads from it asked before it began or in the same turn, so nobody is told less than was true when it asked.
        """
        if not self._snapshot:
            self._remembered.begin(self.fleet.database.begin_snapshot())
            self._snapshot = True
            asyncio.get_running_loop().call_soon(self._end_snapshot)

    def _remember(self, raw_path: bytes, route: Route, call: Call) -> Result:
        result = route.handler(call)
        if isinstance(result, msgspec.Struct):
            result = _encode(result)
            self._remembered.keep(raw_path, call.request_id, result)
        return result

    def _end_snapshot(self) -> None:
        self._snapshot = False
        self.fleet.database.end_snapshot()

    async def _authenticate(
        self, scope: MutableMapping[str, Any], headers: dict[bytes, bytes], body: bytes, project_id: str
    ) -> Caller:
        request = Request(scope["method"].encode(), scope["raw_path"], scope["query_string"], headers, body, project_id)
        try:
            return self.authenticator.authenticate(request, lookup=self.reads_inline)
        except LookupNeededError:
            return await _in_thread(self._reads, self.authenticator.authenticate, request)

    def _last(self, message: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """The same, telling the client that the connection ends with this answer, if this process is leaving."""
        if not self.leaving or message["type"] != "http.response.start":
            return message
        return {**message, "headers": [*message["headers"], _CLOSE]}

    async def idle(self) -> None:
        """Return when no request is being answered."""
        self._idle = asyncio.Event()
        if self.in_flight:
            await self._idle.wait()

    def close(self) -> None:
        """Wait for the threads."""
        for threads in (self._reads, self._writes, self._slow):
            threads.shutdown()


async def _say_goodbye(send: Send) -> None:
    """To a client that went away while it sent, or broke the framing of its body: the HTTP server does not tell which, and would
    call it an error of ours."""
    with suppress(Exception):
        await send({"type": "http.response.start", "status": 400, "headers": [_JSON, _CLOSE]})
        broken = CphError("APIGW.0201", "the request body is not framed as its headers say")
        body = ErrorBody(request_id="", error_code=broken.code, error_msg=broken.message)
        await send({"type": "http.response.body", "body": _encode(body)})


def _in_thread(threads: ThreadPoolExecutor, work: Callable[..., Outcome], *arguments: Any) -> asyncio.Future[Outcome]:
    """Do it in a thread whose log lines say which request they are of."""
    return asyncio.get_running_loop().run_in_executor(threads, copy_context().run, work, *arguments)


def _without_doubles(pairs: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers that came exactly once: one that came twice has no meaning that client and service are sure to share."""
    seen: dict[bytes, bytes] = {}
    doubles = set()
    for name, value in pairs:
        if name in seen:
            doubles.add(name)
        seen[name] = value
    return {name: value for name, value in seen.items() if name not in doubles}


def _has_two_hosts(pairs: list[tuple[bytes, bytes]]) -> bool:
    return sum(name == b"host" for name, _ in pairs) > 1


def _shown(text: str) -> str:
    return text if len(text) <= 128 else f"{text[:125]}..."
