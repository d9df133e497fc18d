"""Object storage over HTTP, as OBS and S3 clients speak it: path style, their signatures, XML. What is kept where is `objects`.

An own small application beside the edge's routes: contents stream in both directions, and errors have another shape.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from email.utils import formatdate
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

import structlog

from opencph.api import auditing, object_bodies, object_headers
from opencph.api.bodies import ClientGoneError, Receive
from opencph.fleet import Fleet
from opencph.iam import audit
from opencph.iam.accounts import Account, account_of
from opencph.iam.actions import object_action
from opencph.objects import ObjectError, ObjectStore, buckets, open_store
from opencph.objects.uploads import Uploads
from opencph.settings import SettingsError
from opencph.store.database import StoreBusyError, StoreError
from opencph.wire import object_signatures as signatures
from opencph.wire import object_xml as xml
from opencph.wire.object_names import key_problem
from opencph.wire.object_signatures import ObjectRequest
from opencph.wire.signatures import SignatureError

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
KEYS_PER_PAGE = 1000

_logger = structlog.get_logger("opencph.api")


class Answer(NamedTuple):
    """What goes back. The body is bytes, or an iterator that blocks and is run in a thread."""

    status: int
    body: bytes | Iterator[bytes] = b""
    headers: tuple[tuple[str, str], ...] = ()


class Request(NamedTuple):
    """An authenticated request."""

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]  # names in lower case
    headers: Mapping[bytes, bytes]
    account: Account
    receive: Receive
    dialect: str  # AWS4 | AWS | OBS


class ObjectApi:
    """The application. `claims` says whether a request is one of its own."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    @cached_property
    def store(self) -> ObjectStore:
        """The object store, opened when it is first needed."""
        return open_store(self.fleet.settings)

    @cached_property
    def uploads(self) -> Uploads:
        """Multipart uploads."""
        return Uploads(self.store)

    def claims(self, scope: Mapping[str, Any]) -> bool:
        """Whether a request that no route answers is for object storage: it says so by its signature (or asks which are known)."""
        for name, value in scope["headers"]:
            if name == b"authorization":
                return signatures.is_object_authorization(bytes(value))
        if signatures.is_signed_url(scope["query_string"]):
            return True
        return bool(scope["method"] == "HEAD" and scope["query_string"].partition(b"=")[0] == b"apiversion")

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send, request_id: str) -> None:
        """Answer one request."""
        contents = _Remainder(receive)
        try:
            answer = await self._answer(scope, contents, request_id)
        except ClientGoneError:
            return
        except Exception as error:
            refused = _refused(error, request_id)
            if refused.status not in (304, 412):
                _logger.debug("object request refused", request_id=request_id, code=refused.code, cause=refused.message)
            body = xml.error(refused.code, refused.message, scope["path"], request_id)
            answer = Answer(refused.status, b"" if scope["method"] == "HEAD" else body, (("Content-Type", "application/xml"),))
            if scope["method"] in ("PUT", "POST") and not contents.ended:
                await _drain(contents)
        await _send(send, answer, request_id)

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive, request_id: str) -> Answer:
        raw_path: bytes = scope["raw_path"]
        headers = dict(scope["headers"])
        url = signatures.is_signed_url(scope["query_string"])
        if scope["method"] == "HEAD" and b"authorization" not in headers and not url:  # OBS clients ask which signatures are spoken
            return Answer(200, headers=(("x-obs-api", "3.0"),))
        request = ObjectRequest(scope["method"], raw_path, scope["query_string"], headers)
        account, dialect = await asyncio.to_thread(self._authenticate, request)
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, encoding="utf-8", errors="replace")
        query = {name.lower(): value for name, value in pairs}
        if b"authorization" not in headers:
            query = {name: value for name, value in query.items() if name not in signatures.SIGNED_URL_PARAMETERS}
        object_headers.strange(query)
        object_headers.check_headers(headers, account.domain_id)
        bucket, _, raw_key = raw_path.decode("latin-1")[1:].partition("/")
        key = unquote(raw_key, encoding="utf-8", errors="surrogateescape")
        asked = Request(scope["method"], unquote(bucket), key, query, headers, account, receive, dialect)
        action = object_action(asked.method, asked.bucket, key)
        if asked.method in ("GET", "HEAD"):
            return await self._permitted(asked, action)
        try:
            answer = await self._permitted(asked, action)
        except ClientGoneError:
            raise
        except Exception as error:
            refused = _refused(error, request_id)
            await asyncio.to_thread(self._record, asked, action, request_id, refused.status, refused.code, refused.message)
            raise
        await asyncio.to_thread(self._record, asked, action, request_id, answer.status)
        return answer

    async def _permitted(self, asked: Request, action: str) -> Answer:
        if not asked.account.policy.allows(action):
            raise ObjectError("AccessDenied", f"none of the user's roles allows {action}", 403)
        if not asked.bucket:
            return await self._service(asked)
        return await (self._object(asked) if asked.key else self._bucket(asked))

    def _record(self, asked: Request, action: str, request_id: str, status: int, code: str = "", message: str = "") -> None:
        """Put a change on record: objects are no rows, so the entry has a transaction of its own."""
        name = f"obs://{asked.bucket}/{asked.key}".encode(errors="replace").decode()
        who = asked.account
        operation = f"{action.rpartition(':')[2].capitalize()}{action.split(':')[1].capitalize()}"
        named = audit.named([name])
        entry = audit.Entry(
            *(time.time_ns() // 1_000_000, request_id, audit.API, who.user_id, who.user_name, "", operation, action, named),
            *(status, code, message[: audit.MESSAGE_MAX_CHARACTERS]),
        )
        auditing.note(self.fleet.database, entry)

    def _authenticate(self, request: ObjectRequest) -> tuple[Account, str]:
        try:
            if b"authorization" in request.headers:
                signed = signatures.parse_authorization(request.headers[b"authorization"])
            else:
                signed = signatures.parse_url(request.raw_query)
            account = account_of(self.fleet.database, signed.access_key)
            if account is None:
                raise ObjectError("InvalidAccessKeyId", "the access key does not exist or is disabled", 403)
            signatures.verify(signed, account.secret_key, request)
            off = time.time() - signatures.signed_at(signed, request.headers)
            if signed.expires_at and time.time() > signed.expires_at:
                raise ObjectError("AccessDenied", "Request has expired: sign the URL again", 403)
        except SignatureError as error:
            raise ObjectError("SignatureDoesNotMatch", str(error), 403) from None
        allowed = self.fleet.settings.clock_skew_seconds
        if off < -allowed or (off > allowed and not signed.expires_at):
            raise ObjectError("RequestTimeTooSkewed", f"the request was signed {off:.0f} seconds off the clock here", 403)
        return account, signed.dialect

    # --- the service ----------------------------------------

    async def _service(self, asked: Request) -> Answer:
        if asked.method != "GET":
            raise _wrong_method(asked)
        account = asked.account
        found = await asyncio.to_thread(buckets.of_account, self.fleet.database, account.domain_id)
        return _xml(xml.buckets(account.domain_id, account.domain_name, found, self.fleet.settings.region))

    # --- buckets ----------------------------------------

    async def _bucket(self, asked: Request) -> Answer:
        database, name, domain_id = self.fleet.database, asked.bucket, asked.account.domain_id
        if asked.method == "PUT" and not asked.query:
            place = xml.place_wanted(await object_bodies.small(asked.headers, asked.receive))
            if place not in ("", self.fleet.settings.region):
                rule = f"this is the region {self.fleet.settings.region}, not {place[:64]!r}"
                raise ObjectError("InvalidLocationConstraint", rule)
            await asyncio.to_thread(buckets.make, database, self.store, domain_id, name)
            return Answer(200, headers=(("Location", f"/{name}"),))
        await asyncio.to_thread(buckets.check, database, domain_id, name)
        if asked.method == "HEAD":
            region = self.fleet.settings.region
            return Answer(
                200, headers=(("x-amz-bucket-region", region), ("x-obs-bucket-location", region), ("x-obs-version", "3.0"))
            )
        if asked.method == "DELETE" and not asked.query:
            await asyncio.to_thread(buckets.remove, database, self.store, domain_id, name)
            return Answer(204)
        if asked.method == "POST" and "delete" in asked.query:
            return await self._delete_many(asked)
        if asked.method == "GET" and "location" in asked.query:
            region = self.fleet.settings.region
            return _xml(xml.location(region) if asked.dialect == "OBS" else xml.s3_location(region))
        if asked.method == "GET":
            object_headers.check_no_uploads(asked.query)
            return _xml(await asyncio.to_thread(self._page, asked))
        raise _wrong_method(asked)

    async def _delete_many(self, asked: Request) -> Answer:
        keys, quiet = xml.keys_to_delete(await object_bodies.small(asked.headers, asked.receive))

        def delete() -> tuple[list[str], list[tuple[str, str, str]]]:
            gone, failures = [], []
            for key in keys:
                try:
                    self.store.delete(asked.bucket, key)
                    gone.append(key)
                except ObjectError as error:
                    failures.append((key, error.code, error.message))
            return gone, failures

        gone, failures = await asyncio.to_thread(delete)
        return _xml(xml.deleted(gone, failures, quiet))

    def _page(self, asked: Request) -> bytes:
        query = asked.query
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        text = query.get("max-keys", "") or str(KEYS_PER_PAGE)
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise ObjectError("InvalidArgument", f"max-keys {text[:32]!r} must be a number")
        limit = min(int(text), KEYS_PER_PAGE)
        version_2 = query.get("list-type") == "2"
        marker = (
            (unquote(query.get("continuation-token", "")) or query.get("start-after", "")) if version_2 else query.get("marker", "")
        )
        objects: list[xml.ListedObject] = []
        prefixes: list[str] = []
        following, last = "", marker
        found = iter(self.store.list(asked.bucket, prefix, marker)) if limit else iter(())
        while (one := next(found, None)) is not None:
            rest = one.key[len(prefix) :]
            common = prefix + rest.partition(delimiter)[0] + delimiter if delimiter and delimiter in rest else ""
            if common and (common == last or (prefixes and prefixes[-1] == common) or marker.startswith(common)):
                # behind the prefix that was just listed: look on where it ends
                found = iter(self.store.list(asked.bucket, prefix, common + "\U0010ffff"))
                continue
            if len(objects) + len(prefixes) == limit:
                following = last
                break
            if common:
                prefixes.append(common)
                last = common
            else:
                objects.append(xml.ListedObject(one.key, one.size, one.modified_ms, one.etag))
                last = one.key
        encoded = query.get("encoding-type") == "url"
        page = xml.Listing(asked.bucket, prefix, delimiter, marker, limit, objects, prefixes, following, version_2, encoded)
        return xml.listing(page)

    # --- objects ----------------------------------------

    async def _object(self, asked: Request) -> Answer:
        await asyncio.to_thread(buckets.check, self.fleet.database, asked.account.domain_id, asked.bucket)
        if asked.method in ("PUT", "POST") and (problem := key_problem(asked.key)):
            raise ObjectError("InvalidArgument", problem)
        if asked.method in ("GET", "HEAD"):
            object_headers.check_no_uploads(asked.query)
            return await asyncio.to_thread(self._get, asked)
        if "uploads" in asked.query or "uploadid" in asked.query:
            return await self._upload(asked)
        if asked.method == "DELETE":
            await asyncio.to_thread(self.store.delete, asked.bucket, asked.key, object_headers.writing(asked.headers))
            return Answer(204)
        if asked.method == "PUT":
            condition = object_headers.writing(asked.headers)
            content_type, metadata = object_headers.described(asked.headers)
            file, _ = await object_bodies.take(self.store, asked.headers, asked.receive)
            info = await asyncio.to_thread(self.store.put, asked.bucket, asked.key, file, content_type, metadata, condition)
            return Answer(200, headers=(("ETag", f'"{info.etag}"'),))
        raise _wrong_method(asked)

    def _get(self, asked: Request) -> Answer:
        info = self.store.head(asked.bucket, asked.key)
        headers = {
            "ETag": f'"{info.etag}"',
            "Last-Modified": formatdate(info.modified_ms // 1000, usegmt=True),
            "Content-Type": info.content_type or "binary/octet-stream",
            "Accept-Ranges": "bytes",
        }
        kind = "x-obs-meta-" if asked.dialect == "OBS" else "x-amz-meta-"
        headers |= object_headers.answered(info.metadata, kind) | object_headers.overrides(asked.query)
        object_headers.check_reading(asked.headers, info)
        span = object_headers.span(asked.headers, info)
        first, length = span if span is not None else (0, info.size)
        headers["Content-Length"] = str(length)
        if span is not None:
            headers["Content-Range"] = f"bytes {first}-{first + length - 1}/{info.size}"
        body = b"" if asked.method == "HEAD" else self.store.read(asked.bucket, asked.key, first, length)
        return Answer(206 if span is not None else 200, body, tuple(headers.items()))

    async def _upload(self, asked: Request) -> Answer:
        place, upload_id = (asked.bucket, asked.key), asked.query.get("uploadid", "")
        if asked.method == "POST" and "uploads" in asked.query:
            upload_id = await asyncio.to_thread(self.uploads.begin, *place, *object_headers.described(asked.headers))
            return _xml(xml.upload_begun(*place, upload_id))
        if asked.method == "PUT" and "partnumber" in asked.query:
            number = asked.query["partnumber"]
            if not (number.isascii() and number.isdigit() and len(number) < 8):
                raise ObjectError("InvalidArgument", f"partNumber {number[:32]!r} must be a number")
            file, etag = await object_bodies.take(self.store, asked.headers, asked.receive)
            await asyncio.to_thread(self.uploads.put_part, *place, upload_id, int(number), file, etag)
            return Answer(200, headers=(("ETag", f'"{etag}"'),))
        if asked.method == "POST":
            object_bodies.check_joined(asked.headers)
            parts = xml.parts_to_join(await object_bodies.small(asked.headers, asked.receive))
            condition = object_headers.writing(asked.headers)
            info = await asyncio.to_thread(self.uploads.complete, *place, upload_id, parts, condition)
            return _xml(xml.upload_done(*place, info.etag, f"/{asked.bucket}/{asked.key}"))
        if asked.method == "DELETE":
            await asyncio.to_thread(self.uploads.abort, *place, upload_id)
            return Answer(204)
        raise _wrong_method(asked)


def _xml(body: bytes) -> Answer:
    return Answer(200, body, (("Content-Type", "application/xml"),))


def _wrong_method(asked: Request) -> ObjectError:
    return ObjectError("MethodNotAllowed", f"{asked.method} is not possible here", 405)


def _refused(error: Exception, request_id: str) -> ObjectError:
    if isinstance(error, ObjectError):
        return error
    if isinstance(error, xml.XmlError):
        return ObjectError("MalformedXML", str(error), 400)
    if isinstance(error, StoreBusyError):
        return ObjectError("SlowDown", "the database is busy; try again in a moment", 503)
    if isinstance(error, SettingsError):
        _logger.error("the object store cannot be used", cause=str(error))
        return ObjectError("ServiceUnavailable", "the object store is not set up; see the log of the service", 503)
    _logger.error("database error" if isinstance(error, StoreError) else "unexpected error", request_id=request_id, exc_info=error)
    return ObjectError("InternalError", f"see the log of the service for request {request_id}", 500)


class _Remainder:
    """What the client still sends, and whether that is nothing."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False

    async def __call__(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        self.ended = not message.get("more_body")
        return message


async def _drain(receive: Receive) -> None:
    """Let a client that is still sending get to read the answer."""
    try:
        async with asyncio.timeout(5):
            left = 64 << 20
            async for piece in object_bodies.pieces(receive):
                left -= len(piece)
                if left < 0:
                    return
    except (TimeoutError, ClientGoneError, ObjectError):
        return


async def _send(send: Send, answer: Answer, request_id: str) -> None:
    headers = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in answer.headers]
    headers += [(b"x-amz-request-id", request_id.encode()), (b"x-obs-request-id", request_id.encode())]
    if isinstance(answer.body, bytes):
        if not any(name == b"content-length" for name, _ in headers):
            headers.append((b"content-length", str(len(answer.body)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    contents = answer.body
    while (piece := await asyncio.to_thread(next, contents, None)) is not None:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
