"""Encode servers on the wire (cph-api.md section 4, numbers 48 and 49), with their checks."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from opencph.wire.checks import Fields, json_object
from opencph.wire.errors import CphError
from opencph.wire.query_checks import choice, id_of, page_of

SERVER, CONTAINER = 0, 1
#: Accepted by the filter: what the query's page lists.
STATUSES = (0, 1, 2, 3, 4, 5, 100, 1014)
ENCODE_SERVERS_PER_CALL = 100  # ours: the limit of the real service is not documented


class ListEncodeServersQuery(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v1/{project_id}/cloud-phone/encode-servers."""

    offset: int = 0
    limit: int = 100
    type: int | None = None
    status: int | None = None
    server_id: str | None = None


class EncodeAccessInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a port of an encode server is reached; the expired fields carry the same values as the new ones."""

    type: str
    listen_port: int
    access_ip: str
    public_ip: str
    intranet_ip: str
    server_ip: str
    access_port: int
    server_ipv6: str | None = None


class EncodeServer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An encode server."""

    encode_server_name: str
    encode_server_id: str
    encode_server_ip: str
    server_id: str
    keypair_name: str
    type: int
    status: int
    access_infos: list[EncodeAccessInfo]
    encode_server_ipv6: str | None = None


class ListEncodeServersResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A page of encode servers, newest first."""

    request_id: str
    encode_servers: list[EncodeServer]


class RestartEncodeServerRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/encode-servers/batch-restart."""

    encode_server_ids: tuple[str, ...]  # at least one


class EncodeServerJob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one encode server of a batch: a job, or an error and no job (cph-api.md section 6)."""

    encode_server_id: str
    job_id: str | None = None
    error_code: str | None = None
    error_msg: str | None = None


class RestartEncodeServerResponse(msgspec.Struct, frozen=True, kw_only=True):
    """One entry per encode server of the request, in its order."""

    request_id: str
    jobs: list[EncodeServerJob]


def list_encode_servers(query: Mapping[str, str]) -> ListEncodeServersQuery:
    """Check the query of ListEncodeServers."""
    offset, limit = page_of(query, 100)
    return ListEncodeServersQuery(
        offset=offset,
        limit=limit,
        type=choice(query, "type", "CPS.0116", (SERVER, CONTAINER)),
        status=choice(query, "status", "CPS.0010", STATUSES),
        server_id=id_of(query, "server_id", "CPS.0016"),
    )


def restart_encode_server(body: bytes) -> RestartEncodeServerRequest:
    """Decode and check the body of RestartEncodeServer."""
    ids = Fields(json_object(body)).item_ids("encode_server_ids", "CPS.0122", empty="CPS.0122")
    if len(ids) > ENCODE_SERVERS_PER_CALL:
        raise CphError("CPS.0122", f"encode_server_ids has {len(ids)} ids: at most {ENCODE_SERVERS_PER_CALL} per call")
    return RestartEncodeServerRequest(encode_server_ids=ids)
