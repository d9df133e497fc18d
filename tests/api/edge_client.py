"""The edge in this process, without sockets: a world with two projects, and calls to any route as fast as Python is.

Generated tests make thousands of calls; what real sockets add is tested in `test_edge`.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import insert, select

from opencph.api.edge import Edge
from opencph.fleet import open_fleet
from opencph.iam import administration
from opencph.iam.tokens import issue
from opencph.iam.users import USERS_BY_NAME
from opencph.preparation import prepare_database, prepare_directories
from opencph.settings import Settings
from opencph.store import tables
from opencph.store.database import Query, command, tuple_row

UNKNOWN = "0" * 32
UNKNOWN_UUID = str(uuid.UUID(int=0))


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: Any  # decoded; None when there is none

    @property
    def code(self) -> str:
        """The error code, in whichever shape; "" when there is none."""
        if not isinstance(self.body, dict):
            return ""
        inner = self.body.get("error")
        code = self.body.get("error_code") or self.body.get("code") or (inner.get("code") if isinstance(inner, dict) else "")
        return str(code or "")

    @property
    def message(self) -> str:
        """What was said."""
        return str(self.body.get("error_msg") or self.body.get("message") or self.body) if isinstance(self.body, dict) else ""


class Owner(NamedTuple):
    """A project with somebody in it, and what it owns. `ids` is path parameter or field -> id."""

    project_id: str
    token: str
    ids: dict[str, str]


class World:
    """An installation without worker: `mine` and `other` each have a server that runs."""

    def __init__(
        self, data: Path, database_url: str, sync_commands_per_minute: int = 1_000_000, requests_per_second: int = 0
    ) -> None:
        limits = dict.fromkeys(("quota_servers", "quota_phones", "quota_eips", "host_phones", "host_servers"), 1_000_000)
        self.settings = Settings.load(
            {
                "data": data,
                "database": database_url,
                "network": "127.73.0.0/16",
                "body_limit_bytes": 200_000,
                "sync_commands_per_minute": sync_commands_per_minute,
                "requests_per_second": requests_per_second,
                **limits,
            },
            environ={},
        )
        prepare_directories(self.settings)
        prepare_database(self.settings)
        self.fleet = open_fleet(self.settings)
        self.database = self.fleet.database
        self.edge = Edge(self.fleet)
        self.loop = asyncio.new_event_loop()
        admin = self.database.rows(USERS_BY_NAME, name="admin")[0]
        first = next(iter(administration.list_projects(self.database)))
        self.mine = self.owner("admin", admin.user_id, first.project_id)
        other_project = administration.add_project(self.database, "other")
        other_user, _ = administration.add_user(self.database, "other")
        administration.grant(self.database, "other", "other", "admin")
        self.other = self.owner("other", other_user, other_project)

    def close(self) -> None:
        self.edge.close()
        self.fleet.close()
        self.loop.close()

    def token(self, user_id: str, project_id: str) -> str:
        """A token that is good for a day."""
        import time

        return issue(self.edge.authenticator.token_key, user_id, project_id, time.time_ns() // 1_000_000, 86_400_000)[0]

    def owner(self, name: str, user_id: str, project_id: str) -> Owner:
        """A project's caller, with a server that runs and one of everything that a row can be."""
        token = self.token(user_id, project_id)
        owner = Owner(project_id, token, {"project_id": project_id})
        ids = owner.ids
        ids["vpc_id"], ids["subnet_id"] = self.one("vpcs", "vpc_id", project_id), self.one("subnets", "subnet_id", project_id)
        ids["keypair_name"] = f"keypair-{name}"
        with self.database.write() as tx:
            tx.run(
                command(
                    insert(tables.keypairs).values(
                        project_id=project_id, name=ids["keypair_name"], public_key="ssh-ed25519 AAAA", fingerprint="x", create_ms=1
                    )
                )
            )
        bought = self.call("POST", f"/v2/{project_id}/cloud-phone/servers", purchase(ids, f"server-{name}"), token=token)
        assert bought.status == 200, bought
        ids["server_id"], ids["order_id"] = bought.body["server_ids"][0], bought.body["order_id"]
        ids["request_id"] = bought.headers["x-request-id"]
        make_normal(self.database, ids["server_id"])
        ids["phone_id"] = self.one("phones", "phone_id", project_id)
        ids["job_id"] = self.one("jobs", "job_id", project_id)
        ids["publicip_id"] = self.one("eips", "eip_id", project_id)
        ids["bandwidth_id"] = self.one("bandwidths", "bandwidth_id", project_id)
        listed = self.call("GET", f"/v1/{project_id}/cloud-phone/encode-servers", token=token)
        ids["encode_server_id"] = listed.body["encode_servers"][0]["encode_server_id"]
        listed = self.call("GET", f"/v1/{project_id}/ports", token=token)
        ids["port_id"] = listed.body["ports"][0]["id"]
        group = {"security_group": {"name": f"group-{name}"}}
        made = self.call("POST", f"/v1/{project_id}/security-groups", group, token=token)
        ids["security_group_id"] = made.body["security_group"]["id"]
        return owner

    def one(self, table: str, column: str, project_id: str) -> str:
        """The id of one row of a project."""
        found = tables.metadata.tables[table]
        rows = self.database.rows(Query(select(found.c[column]).where(found.c.project_id == project_id).limit(1), tuple_row))
        return str(rows[0][0])

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        query: str = "",
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """One request; a body that is bytes goes as it is. Without `token` as the admin of the first project."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = {"host": "edge", "x-auth-token": self.mine.token if token is None else token, **(headers or {})}
        pairs = [(name.encode(), value.encode()) for name, value in sent.items() if value]
        if content:
            pairs += [(b"content-length", str(len(content)).encode()), (b"content-type", b"application/json")]
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": pairs,
        }
        replies: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            replies.append(message)

        self.loop.run_until_complete(self.edge(scope, receive, send))
        start, payload = replies[0], b"".join(reply.get("body", b"") for reply in replies[1:])
        answered = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return Reply(start["status"], answered, _decoded(answered, payload) if payload else None)


def make_normal(database: Any, server_id: str) -> None:
    """What the worker would have done."""
    from sqlalchemy import update

    with database.write() as tx:
        for table, values in (
            ("servers", {"status": 5}),
            ("generations", {"state": "serving"}),
            ("phones", {"status": 2}),
            ("jobs", {"status": 2, "end_ms": 1}),
        ):
            found = tables.metadata.tables[table]
            tx.run(command(update(found).where(found.c.server_id == server_id).values(values)))


def purchase(ids: dict[str, str], name: str) -> dict[str, Any]:
    """The body that buys one server of the seed page's flavor."""
    return {
        "server_name": name,
        "server_model_name": "physical.kg1.4xlarge.cp",
        "phone_model_name": "kg1.cp.c20.d64SSD.e1v1",
        "image_id": "20060220200717f201120a2300000e91",
        "count": 1,
        "keypair_name": ids["keypair_name"],
        "ports": [{"name": "web", "listen_port": 20000, "internet_accessible": "true"}],
        "extend_param": {"charging_mode": 1},
        "tenant_vpc_id": ids["vpc_id"],
        "nics": [{"subnet_id": ids["subnet_id"]}],
        "public_ip": {"eip": {"type": "5_bgp"}},
        "band_width": {"band_width_share_type": 0, "band_width_size": 300, "band_width_charge_mode": 1},
    }


def _decoded(headers: dict[str, str], payload: bytes) -> Any:
    return json.loads(payload) if headers["content-type"].startswith("application/json") else payload.decode()
