"""The check of every body, by operation, for the tests that hold `/openapi.json` to what the checks really read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from api.edge_client import UNKNOWN, UNKNOWN_UUID
from api.samples import NOBODYS, body_of
from opencph.api.routes import ROUTES
from opencph.wire import (
    bandwidths,
    bare_servers,
    billing_checks,
    command_checks,
    connections,
    custom_images,
    eip_checks,
    encode_servers,
    identity_checks,
    keypair_checks,
    phone_checks,
    scheduled_events,
    server_action_checks,
    server_checks,
    share_checks,
    share_filesystems,
    tag_checks,
    vpc_checks,
)

#: every operation that takes a body, with its route
WITH_BODY = [(operation, route) for route in ROUTES for operation in route.operations if body_of(operation, NOBODYS) is not None]


class BodyCheck(NamedTuple):
    """`more` changes the sample so that the check looks further; `hidden` are fields that it looks at only to refuse them, or to
    tell operations of one route apart."""

    check: Callable[[bytes], object]
    more: tuple[dict[str, Any], ...] = ()
    hidden: frozenset[str] = frozenset()


NTP = {"subnet": {"extra_dhcp_opts": [{"opt_name": "ntp", "opt_value": "1"}]}}
VOLUME = {"volume_type": "SSD", "size": 100}
PURCHASE = {
    "nics": [{"subnet_id": UNKNOWN_UUID, "ipv6_bandwidth": {"band_width_id": UNKNOWN_UUID}}],
    "phone_data_volume": VOLUME,
    "server_share_data_volume": VOLUME,
}
OF_SERVERS = {"phone_ids": None, "server_ids": [UNKNOWN]}
COMMAND = BodyCheck(command_checks.run_shell_command, (OF_SERVERS,))

#: operation -> the check of its body
BODIES: dict[str, BodyCheck] = {
    "CreateNet2CloudPhoneServer": BodyCheck(server_checks.create_net2_cloud_phone_server, (PURCHASE,)),
    "ChangeCloudPhoneServer": BodyCheck(
        server_checks.change_cloud_phone_server, ({**PURCHASE, "extend_param": {"enterprise_project_id": "0"}},)
    ),
    "CreateCloudPhoneSingleServer": BodyCheck(
        bare_servers.create_cloud_phone_single_server,
        (
            {
                "public_ip": {
                    "count": 1,
                    "type": "5_bgp",
                    "band_width": {"band_width_share_type": 0, "band_width_size": 5, "band_width_charge_mode": 1},
                },
                "data_volume": {**VOLUME, "count": 1},
            },
        ),
        hidden=frozenset((".order_param.enterprise_project_id",)),  # which has its place outside
    ),
    "DeleteCloudPhoneServer": BodyCheck(server_checks.delete_cloud_phone_server),
    "UpdateServerName": BodyCheck(server_action_checks.update_server_name),
    "RestartCloudPhoneServer": BodyCheck(server_action_checks.restart_cloud_phone_server),
    "UpdateKeypair": BodyCheck(server_action_checks.update_keypair),
    "ChangeCloudPhoneServerModel": BodyCheck(
        server_action_checks.change_cloud_phone_server_model, ({"extend_param": {"is_auto_pay": 1}},)
    ),
    "AttachShareFilesystem": BodyCheck(share_filesystems.attach_share_filesystem),
    "DetachShareFilesystem": BodyCheck(share_filesystems.detach_share_filesystem),
    "RestartEncodeServer": BodyCheck(encode_servers.restart_encode_server),
    "UpdateBandwidth": BodyCheck(bandwidths.update_bandwidth),
    "AddImageMember": BodyCheck(custom_images.add_image_member),
    "UpdateImageMember": BodyCheck(custom_images.update_image_member),
    "AuthorizeScheduledEvent": BodyCheck(scheduled_events.authorize_scheduled_event),
    "UpdateScheduledEvent": BodyCheck(scheduled_events.update_scheduled_event),
    "BatchCreateTags": BodyCheck(tag_checks.batch_tags),
    "BatchDeleteTags": BodyCheck(tag_checks.batch_tags),
    "ListResourceInstances": BodyCheck(
        tag_checks.list_resource_instances,
        (
            {
                "offset": "1",
                "limit": "10",
                "without_any_tag": False,
                "tags": [{"key": "team", "values": ["red"]}],
                "matches": [{"key": "resource_name", "value": "name"}],
            },
        ),
    ),
    "BatchShowPhoneConnectInfos": BodyCheck(connections.batch_show_phone_connect_infos),
    "RestartCloudPhone": BodyCheck(phone_checks.restart_cloud_phone),
    "ResetCloudPhone": BodyCheck(phone_checks.reset_cloud_phone),
    "StopCloudPhone": BodyCheck(phone_checks.stop_cloud_phone),
    "UpdatePhoneName": BodyCheck(phone_checks.update_phone_name),
    "UpdateCloudPhoneProperty": BodyCheck(phone_checks.update_cloud_phone_property),
    "ImportTraffic": BodyCheck(phone_checks.import_traffic),
    "BatchExportCloudPhoneData": BodyCheck(command_checks.batch_export_cloud_phone_data),
    "BatchImportCloudPhoneData": BodyCheck(command_checks.batch_import_cloud_phone_data),
    "ExpandPhoneDataVolumeSize": BodyCheck(command_checks.expand_phone_data_volume_size),
    **dict.fromkeys(("PushFile", "InstallApk", "UninstallApk", "RunShellCommand"), COMMAND),
    "RunSyncCommand": BodyCheck(command_checks.run_sync_command, (OF_SERVERS,)),
    "PushShareApps": BodyCheck(share_checks.push_share_apps, ({"pre_install_app": 1},)),
    "DeleteShareApps": BodyCheck(share_checks.delete_share_apps),
    "PushShareFiles": BodyCheck(share_checks.push_share_files, hidden=frozenset((".file_paths",))),
    "DeleteShareFiles": BodyCheck(share_checks.push_share_files),
    # beside CPH
    "CreateVpc": BodyCheck(vpc_checks.create_vpc),
    "UpdateVpc": BodyCheck(vpc_checks.update_vpc),
    "CreateSubnet": BodyCheck(vpc_checks.create_subnet, (NTP,)),
    "UpdateSubnet": BodyCheck(vpc_checks.update_subnet, (NTP,)),
    "UpdateSubnetWithoutVpc": BodyCheck(vpc_checks.update_subnet, (NTP,)),
    "BatchCreateVpcTags": BodyCheck(vpc_checks.tags_action),
    "BatchCreateSubnetTags": BodyCheck(vpc_checks.tags_action),
    "CreateSecurityGroup": BodyCheck(vpc_checks.create_security_group),
    "CreatePublicip": BodyCheck(eip_checks.create_publicip, ({"bandwidth": {"share_type": "WHOLE", "id": UNKNOWN_UUID}},)),
    "UpdatePublicip": BodyCheck(eip_checks.update_publicip),
    "CreateSharedBandwidth": BodyCheck(eip_checks.create_shared_bandwidth),
    "UpdatePublicipBandwidth": BodyCheck(eip_checks.update_bandwidth),
    "CreateKeypair": BodyCheck(keypair_checks.create_keypair, hidden=frozenset((".keypair.key_protection",))),
    "NovaCreateKeypair": BodyCheck(keypair_checks.nova_create_keypair),
    "UpdateKeypairDescription": BodyCheck(keypair_checks.update_keypair_description),
    "CancelResourcesSubscription": BodyCheck(billing_checks.cancel_resources_subscription),
    "KeystoneCreateUserTokenByPassword": BodyCheck(
        identity_checks.create_token,
        (
            {
                "auth": {
                    "identity": {"password": {"user": {"domain": {"name": "d"}}}},
                    "scope": {"project": {"name": "p", "domain": {"name": "d"}}},
                }
            },
            {"auth": {"scope": {"domain": {"name": "d"}}}},
        ),
    ),
}
