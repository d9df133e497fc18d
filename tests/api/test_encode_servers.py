"""Encode servers through the vendor's SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import huaweicloudsdkcph.v1 as cph
import pytest

from api.test_operations import HEX_ID, UNKNOWN, client, make_normal, refused

if TYPE_CHECKING:
    from api.api_service import Service

__all__ = ["client"]


def buy(service: Service, client: Any, name: str) -> str:
    body = service.purchase(server_name=name)
    (found,) = client.create_net2_cloud_phone_server(cph.CreateNet2CloudPhoneServerRequest(body=body)).server_ids
    return str(found)


@pytest.fixture(scope="module")
def server_id(service: Service, client: Any) -> str:
    """A server that is normal."""
    found = buy(service, client, "encoded")
    make_normal(service, found)
    return found


def listed(client: Any, **query: object) -> dict[str, Any]:
    found = client.list_encode_servers(cph.ListEncodeServersRequest(**query))
    return {one.server_id: one for one in found.encode_servers}


def test_every_server_has_one_that_is_listed_and_restarted(service: Service, client: Any, server_id: str) -> None:
    new = buy(service, client, "encoded-new")
    both = listed(client)
    assert (both[server_id].status, both[new].status) == (1, 0)
    one = both[server_id]
    assert (one.encode_server_name, one.type) == ("encoded-encode", 1) and HEX_ID.fullmatch(one.encode_server_id)
    assert one.keypair_name == service.credentials["keypair_name"] and one.encode_server_ip.startswith("127.")
    assert set(listed(client, server_id=new)) == set(listed(client, status=100)) == set(listed(client, status=0)) == {new}
    assert listed(client, type=0) == {} and set(listed(client, limit=1)) == {new} and listed(client, offset=2) == {}

    def restart(*ids: str) -> Any:
        return cph.RestartEncodeServerRequest(body={"encode_server_ids": list(ids)})

    answer = client.restart_encode_server(restart(one.encode_server_id, UNKNOWN, "x", both[new].encode_server_id))
    assert [job.error_code for job in answer.jobs] == [None, "CPS.0123", "CPS.0121", "CPS.0124"]
    assert HEX_ID.fullmatch(answer.jobs[0].job_id) and answer.jobs[0].encode_server_id == one.encode_server_id
    assert listed(client)[server_id].status == 3
    assert client.restart_encode_server(restart(one.encode_server_id)).jobs[0].error_code == "CPS.0124"
    assert refused(client.restart_encode_server, restart()).error_code == "CPS.0122"


def test_queries_that_break_the_rules_are_refused(client: Any) -> None:
    for query, code in (({"type": 2}, "CPS.0116"), ({"status": 7}, "CPS.0010"), ({"server_id": "x"}, "CPS.0016")):
        assert refused(client.list_encode_servers, cph.ListEncodeServersRequest(**query)).error_code == code
    assert refused(client.list_encode_servers, cph.ListEncodeServersRequest(limit=101)).error_code == "CPS.0002"
