"""Which action, such as `cph:phones:restart`, an operation is: what policies allow or deny. Who may do it is `policies`'.

The names that the vendor's pages show (cph-api.md 1.4) are theirs; the others follow them. Of the services beside CPH an action is
made of the path: `GET /v1/{project_id}/vpcs/{vpc_id}` is `vpc:vpcs:get`. `get...` and `list...` change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

#: operations of CPH -> action
CPH_ACTIONS: Mapping[str, str] = {
    "CreateNet2CloudPhoneServer": "cph:servers:create",
    "CreateCloudPhoneSingleServer": "cph:servers:create",
    "ListCloudPhoneServers": "cph:servers:list",
    "ShowCloudPhoneServerDetail": "cph:servers:get",
    "UpdateServerName": "cph:servers:updateName",
    "ChangeCloudPhoneServer": "cph:servers:change",
    "ChangeCloudPhoneServerModel": "cph:servers:changeModel",
    "RestartCloudPhoneServer": "cph:servers:restart",
    "DeleteCloudPhoneServer": "cph:servers:delete",
    "UpdateKeypair": "cph:servers:updateKeypair",
    "ListCloudPhoneServerModels": "cph::listServerTypes",
    "ListCloudPhoneServerModelOfferings": "cph::listServerTypeOfferings",
    "AttachShareFilesystem": "cph:servers:attachShareFilesystem",
    "DetachShareFilesystem": "cph:servers:detachShareFilesystem",
    "ListCloudPhones": "cph:phones:list",
    "ShowCloudPhoneDetail": "cph:phones:get",
    "BatchShowPhoneConnectInfos": "cph:phones:connect",
    "ListCloudPhoneModels": "cph::listPhoneTypes",
    "RestartCloudPhone": "cph:phones:restart",
    "ResetCloudPhone": "cph:phones:reset",
    "StopCloudPhone": "cph:phones:stop",
    "UpdatePhoneName": "cph:phones:updateName",
    "UpdateCloudPhoneProperty": "cph:phones:updateProperty",
    "BatchExportCloudPhoneData": "cph:phones:exportData",
    "BatchImportCloudPhoneData": "cph:phones:importData",
    "ExpandPhoneDataVolumeSize": "cph:phones:expandVolume",
    "ImportTraffic": "cph:phones:updateTraffic",
    "ListCloudPhoneImages": "cph::listPhoneImages",
    "ListImages": "cph:images:list",
    "DeleteImage": "cph:images:delete",
    "AddImageMember": "cph:images:addMember",
    "ListImageMembers": "cph:images:listMembers",
    "UpdateImageMember": "cph:images:updateMember",
    "DeleteImageMember": "cph:images:deleteMember",
    "ShowJob": "cph:jobs:get",
    "ListJobs": "cph:jobs:list",
    "PushFile": "cph:phones:runCommand",
    "InstallApk": "cph:phones:runCommand",
    "UninstallApk": "cph:phones:runCommand",
    "RunShellCommand": "cph:phones:runCommand",
    "RunSyncCommand": "cph:phones:runSyncCommand",
    "PushShareApps": "cph:servers:pushShareApps",
    "DeleteShareApps": "cph:servers:deleteShareApps",
    "ListShareAppsSnapshot": "cph:servers:listShareApps",
    "PushShareFiles": "cph:servers:pushShareFiles",
    "DeleteShareFiles": "cph:servers:pushShareFiles",  # the same route as PushShareFiles
    "ListShareFiles": "cph:servers:listShareFiles",
    "ListEncodeServers": "cph:encodeServers:list",
    "RestartEncodeServer": "cph:encodeServers:restart",
    "ShowBandwidthDetail": "cph:bandwidths:get",
    "UpdateBandwidth": "cph:bandwidths:update",
    "BatchCreateTags": "cph:resource:tagResource",
    "BatchDeleteTags": "cph:resource:tagResource",  # the same route as BatchCreateTags
    "ListResourceTags": "cph:resource:listTags",
    "ListProjectTags": "cph:resource:listProjectTags",
    "ListResourceInstances": "cph:resource:listByTags",
    "ListScheduledEvents": "cph:scheduledEvents:list",
    "AuthorizeScheduledEvent": "cph:scheduledEvents:authorize",
    "UpdateScheduledEvent": "cph:scheduledEvents:update",
}

#: Operations of this service itself -> action. Their verbs are none that readers are given.
OWN_ACTIONS: Mapping[str, str] = {"ShowMetrics": "opencph:metrics:show"}

#: What everybody may do who is somebody: these answer about the caller alone.
OWN = frozenset(
    (
        *("KeystoneValidateToken", "KeystoneListProjects", "KeystoneListAuthProjects", "KeystoneListAuthDomains"),
        "KeystoneListUsers",
    )
)

#: first segment of a path behind the version and the project -> service
_SERVICES: Mapping[str, str] = {
    "vpcs": "vpc",
    "vpc": "vpc",
    "subnets": "vpc",
    "security-groups": "vpc",
    "ports": "vpc",
    "quotas": "vpc",
    "publicips": "eip",
    "bandwidths": "eip",
    "keypairs": "kps",
    "os-keypairs": "kps",
    "orders": "bss",
    "products": "bss",
}
_VERBS: Mapping[str, str] = {"POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete"}


def object_action(method: str, bucket: str, key: str) -> str:
    """The action of a call to object storage."""
    if key:
        verbs = {"GET": "get", "HEAD": "get", "DELETE": "delete"}
        return f"obs:object:{verbs.get(method, 'put')}"
    if method == "POST":
        return "obs:object:delete"  # of many
    return f"obs:bucket:{ {'PUT': 'create', 'DELETE': 'delete'}.get(method, 'list') }"


def action_of(operation: str, method: str, path: str) -> str:
    """The action of a route; "" when it has none by name or path, which the tests do not let pass and only `*` allows."""
    if operation in CPH_ACTIONS:
        return CPH_ACTIONS[operation]
    if operation in OWN_ACTIONS:
        return OWN_ACTIONS[operation]
    segments = [part for part in path.split("/")[2:] if part != "{project_id}"]
    service = _SERVICES.get(segments[0], "") if segments else ""
    if not service:
        return ""
    literal = [part for part in segments if not part.startswith("{")]
    resource = literal[1] if len(literal) > 1 and literal[0] == service else literal[0]
    about = "".join(part.capitalize() for part in literal[literal.index(resource) + 1 :])
    read = "get" if segments[-1].startswith("{") else "list"
    verb = read if method == "GET" else _VERBS.get(method, method.lower())
    return f"{service}:{resource.replace('os-', '')}:{verb}{about}"
