"""One valid call of every operation, by its name: what the tests over all routes start from. A route without one fails there.

A sample is made from `ids`: path parameters and fields -> the ids and names of one owner, of another, or of nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from api.edge_client import UNKNOWN, UNKNOWN_UUID, purchase
from opencph.api.routing import Route

Ids = Mapping[str, str]
Body = Callable[[Ids], Any]

IMAGE = "20060220200717f201120a2300000e91"
TAGS = [{"key": "team", "value": "red"}]
BUCKET = {"bucket_name": "bucket", "object_path": "a.tar"}


#: ids of nothing
NOBODYS = {
    **dict.fromkeys(("server_id", "phone_id", "job_id", "request_id", "image_id", "member_id", "encode_server_id"), UNKNOWN),
    **dict.fromkeys(
        ("vpc_id", "subnet_id", "port_id", "publicip_id", "bandwidth_id", "security_group_id", "event_id"), UNKNOWN_UUID
    ),
    "order_id": "CS0000000000AAAAA",
    "keypair_name": "keypair-nobody",
    "new_name": "new",
}


class Sample(NamedTuple):
    """A call. `names` says whether it names something that must exist."""

    body: Body | None = None
    query: Callable[[Ids], str] | None = None
    names: bool = True


def change(ids: Ids) -> dict[str, Any]:
    bought = purchase(dict(ids), "x")
    kept = ("phone_model_name", "image_id", "keypair_name", "ports", "tenant_vpc_id", "nics", "public_ip", "band_width")
    return {name: bought[name] for name in kept}


def phones(ids: Ids) -> dict[str, Any]:
    return {"phone_ids": [ids["phone_id"]]}


def servers(ids: Ids) -> dict[str, Any]:
    return {"server_ids": [ids["server_id"]]}


def command(name: str, content: str) -> Body:
    return lambda ids: {"command": name, "content": content, **phones(ids)}


def tags(action: str) -> Body:
    return lambda ids: {"action": action, "tags": TAGS}


NOTHING = Sample(names=False)
BY_PATH = Sample()

SAMPLES: dict[str, Sample] = {
    "CreateNet2CloudPhoneServer": Sample(lambda ids: purchase(dict(ids), ids["new_name"])),
    "CreateCloudPhoneSingleServer": Sample(
        lambda ids: {
            "server_name": ids["new_name"],
            "server_model_name": "physical.kg1.4xlarge.cp",
            "count": 1,
            "keypair_name": ids["keypair_name"],
            "order_param": {"charging_mode": 1},
            "nics": [{"subnet_id": ids["subnet_id"]}],
            "public_ip": {"count": 0},
        }
    ),
    "ListCloudPhoneServers": Sample(query=lambda ids: f"server_id={ids['server_id']}"),
    "ShowCloudPhoneServerDetail": BY_PATH,
    "UpdateServerName": Sample(lambda ids: {"server_name": ids["new_name"]}),
    "ChangeCloudPhoneServer": Sample(change),
    "ChangeCloudPhoneServerModel": Sample(
        lambda ids: {
            "server_id": ids["server_id"],
            "server_model_name": "physical.kg1.4xlarge.cp",
            "phone_model_name": "kg1.cp.c20.d64SSD.e1v1",
        }
    ),
    "RestartCloudPhoneServer": Sample(servers),
    "DeleteCloudPhoneServer": Sample(servers),
    "UpdateKeypair": Sample(lambda ids: {"servers": [{"server_id": ids["server_id"], "keypair_name": ids["keypair_name"]}]}),
    "ListCloudPhoneServerModels": NOTHING,
    "ListCloudPhoneServerModelOfferings": NOTHING,
    "AttachShareFilesystem": Sample(lambda ids: {"type": "sfs_turbo", "id": "0123456789abcdef", **servers(ids)}),
    "DetachShareFilesystem": Sample(lambda ids: {"type": "sfs_turbo", "id": "0123456789abcdef", **servers(ids)}),
    "ListCloudPhones": Sample(query=lambda ids: f"server_id={ids['server_id']}"),
    "ShowCloudPhoneDetail": BY_PATH,
    "BatchShowPhoneConnectInfos": Sample(lambda ids: {"client_type": "ANDROID", **phones(ids)}),
    "ListCloudPhoneModels": NOTHING,
    "RestartCloudPhone": Sample(lambda ids: {"phones": [{"phone_id": ids["phone_id"]}]}),
    "ResetCloudPhone": Sample(lambda ids: {"phones": [{"phone_id": ids["phone_id"]}]}),
    "StopCloudPhone": Sample(phones),
    "UpdatePhoneName": Sample(lambda ids: {"phone_name": "renamed"}),
    "UpdateCloudPhoneProperty": Sample(
        lambda ids: {"phones": [{"phone_id": ids["phone_id"], "property": '{"sys.prop.writephonenum":"13666666666"}'}]}
    ),
    "BatchExportCloudPhoneData": Sample(
        lambda ids: {"storage_infos": [{"phone_id": ids["phone_id"], "include_files": ["/data/local"], **BUCKET}]}
    ),
    "BatchImportCloudPhoneData": Sample(lambda ids: {"restore_infos": [{"phone_id": ids["phone_id"], **BUCKET}]}),
    "ExpandPhoneDataVolumeSize": Sample(lambda ids: {"phones": [{"phone_id": ids["phone_id"], "new_size": 100}]}),
    "ImportTraffic": Sample(lambda ids: {"traffic_type": "direct", **phones(ids)}),
    "ListCloudPhoneImages": NOTHING,
    "ListImages": NOTHING,
    "DeleteImage": BY_PATH,
    "AddImageMember": Sample(lambda ids: {"member": ids["member_id"]}),
    "ListImageMembers": BY_PATH,
    "UpdateImageMember": Sample(lambda ids: {"status": "accepted"}),
    "DeleteImageMember": BY_PATH,
    "ShowJob": BY_PATH,
    "ListJobs": Sample(query=lambda ids: f"request_id={ids['request_id']}"),
    "RunShellCommand": Sample(command("shell", "ls /data")),
    "RunSyncCommand": Sample(command("shell", "ls /data")),
    "PushShareApps": Sample(lambda ids: {"package_name": "com.example.app", **BUCKET, **servers(ids)}),
    "DeleteShareApps": Sample(lambda ids: {"package_name": "com.example.app", **servers(ids)}),
    "ListShareAppsSnapshot": BY_PATH,
    "PushShareFiles": Sample(lambda ids: {**BUCKET, **servers(ids)}),
    "ListShareFiles": Sample(query=lambda ids: f"server_ids={ids['server_id']}&path=%2Fdata"),
    "ListEncodeServers": Sample(query=lambda ids: f"server_id={ids['server_id']}"),
    "RestartEncodeServer": Sample(lambda ids: {"encode_server_ids": [ids["encode_server_id"]]}),
    "ShowBandwidthDetail": NOTHING,
    "UpdateBandwidth": Sample(lambda ids: {"band_width_size": 200}),
    "BatchCreateTags": Sample(tags("create")),
    "ListResourceTags": BY_PATH,
    "ListProjectTags": NOTHING,
    "ListResourceInstances": Sample(lambda ids: {"action": "filter"}, names=False),
    "ListScheduledEvents": Sample(query=lambda ids: f"server_id={ids['server_id']}"),
    "AuthorizeScheduledEvent": Sample(lambda ids: {"authorization_type": "redeploy"}),
    "UpdateScheduledEvent": Sample(lambda ids: {"not_before": ""}),
    # identity
    "KeystoneCreateUserTokenByPassword": Sample(
        lambda ids: {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "x", "password": "y"}}}}},
        names=False,
    ),
    "KeystoneValidateToken": NOTHING,
    "KeystoneListProjects": NOTHING,
    "KeystoneListAuthProjects": NOTHING,
    "KeystoneListAuthDomains": NOTHING,
    "KeystoneListUsers": NOTHING,
    "ShowOpenApi": NOTHING,
    "ShowHealth": NOTHING,
    "ShowReadiness": NOTHING,
    "ShowMetrics": NOTHING,
    # networks
    "CreateVpc": Sample(lambda ids: {"vpc": {"name": "vpc", "cidr": "10.9.0.0/16"}}, names=False),
    "ListVpcs": NOTHING,
    "ShowVpc": BY_PATH,
    "ShowVpcV3": BY_PATH,
    "UpdateVpc": Sample(lambda ids: {"vpc": {"name": "renamed"}}),
    "DeleteVpc": BY_PATH,
    "CreateSubnet": Sample(
        lambda ids: {"subnet": {"name": "subnet", "cidr": "127.73.0.0/24", "gateway_ip": "127.73.0.1", "vpc_id": ids["vpc_id"]}}
    ),
    "ListSubnets": Sample(query=lambda ids: f"vpc_id={ids['vpc_id']}"),
    "ShowSubnet": BY_PATH,
    "ListPorts": Sample(query=lambda ids: f"device_id={ids['server_id']}"),
    "ShowPort": BY_PATH,
    "UpdateSubnet": Sample(lambda ids: {"subnet": {"name": "renamed"}}),
    "UpdateSubnetWithoutVpc": Sample(lambda ids: {"subnet": {"name": "renamed"}}),
    "DeleteSubnet": BY_PATH,
    "DeleteSubnetWithoutVpc": BY_PATH,
    "ShowVpcTags": BY_PATH,
    "ShowSubnetTags": BY_PATH,
    "BatchCreateVpcTags": Sample(tags("create")),
    "BatchCreateSubnetTags": Sample(tags("create")),
    "CreateSecurityGroup": Sample(lambda ids: {"security_group": {"name": "group"}}, names=False),
    "ListSecurityGroups": NOTHING,
    "ShowSecurityGroup": BY_PATH,
    "DeleteSecurityGroup": BY_PATH,
    # addresses
    "CreatePublicip": Sample(
        lambda ids: {"publicip": {"type": "5_bgp"}, "bandwidth": {"name": "b", "size": 5, "share_type": "PER"}}, names=False
    ),
    "ListPublicips": NOTHING,
    "ShowPublicip": BY_PATH,
    "UpdatePublicip": Sample(lambda ids: {"publicip": {"alias": "alias"}}),
    "DeletePublicip": BY_PATH,
    "CreateSharedBandwidth": Sample(lambda ids: {"bandwidth": {"name": "shared", "size": 5}}, names=False),
    "ListBandwidths": NOTHING,
    "ShowBandwidth": BY_PATH,
    "UpdatePublicipBandwidth": Sample(lambda ids: {"bandwidth": {"size": 10}}),
    "DeleteSharedBandwidth": BY_PATH,
    # key pairs
    "CreateKeypair": Sample(lambda ids: {"keypair": {"name": "made"}}, names=False),
    "ListKeypairs": NOTHING,
    "ListKeypairDetail": BY_PATH,
    "UpdateKeypairDescription": Sample(lambda ids: {"keypair": {"description": "text"}}),
    "DeleteKeypair": BY_PATH,
    "NovaCreateKeypair": Sample(lambda ids: {"keypair": {"name": "made-too"}}, names=False),
    "NovaListKeypairs": NOTHING,
    "NovaShowKeypair": BY_PATH,
    "NovaDeleteKeypair": BY_PATH,
    # orders
    "ShowCustomerOrderDetails": BY_PATH,
    "CancelResourcesSubscription": Sample(lambda ids: {"resource_ids": [ids["server_id"]], "unsubscribe_type": 1}),
    "ListServiceTypes": NOTHING,
}


#: the bodies of operations that share a route with another
SHARED: dict[str, Body] = {
    "PushFile": command("push", "obs://bucket/a.tar"),
    "InstallApk": command("install", "obs://bucket/a.apk"),
    "UninstallApk": command("uninstall", "com.example.app"),
    "BatchDeleteTags": tags("delete"),
    "DeleteShareFiles": lambda ids: {"file_paths": ["/data/a"], **servers(ids)},
}


def body_of(operation: str, ids: Ids) -> Any:
    """The body of an operation's sample; None when it has none."""
    body = SHARED.get(operation) or (SAMPLES[operation].body if operation in SAMPLES else None)
    return None if body is None else body(ids)


def path_of(route: Route, ids: Ids, project_id: str) -> str:
    """The route's path with its parameters filled in."""
    filled = {**ids, "project_id": project_id, "resource_type": "cph-server", "resource_id": ids["server_id"]}
    filled["band_width_id"] = ids["bandwidth_id"]
    return route.path.format(**filled)


def names_something(route: Route) -> bool:
    """Whether the sample says which thing it is about, by path, query or body."""
    return SAMPLES[route.operation].names
