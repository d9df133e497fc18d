"""The one route table: which operation answers where (cph-api.md section 3). An operation's handler has its name in snake case."""

from __future__ import annotations

from opencph.api import (
    bandwidths,
    commands,
    encode_servers,
    health,
    identity,
    images,
    jobs,
    metrics,
    models,
    openapi,
    phones,
    scheduled_events,
    servers,
    share_filesystems,
    shares,
    tags,
)
from opencph.api.call import awaited
from opencph.api.neighbour_routes import NEIGHBOUR_ROUTES
from opencph.api.routing import Route

_V1 = "/v1/{project_id}/cloud-phone"
_V2 = "/v2/{project_id}/cloud-phone"

ROUTES: tuple[Route, ...] = (
    # cloud phone servers
    Route("CreateNet2CloudPhoneServer", "POST", f"{_V2}/servers", servers.create_net2_cloud_phone_server, writes=True),
    Route(
        "CreateCloudPhoneSingleServer",
        "POST",
        "/v2.1/{project_id}/cloud-phone/servers",
        servers.create_cloud_phone_single_server,
        writes=True,
    ),
    Route("ListCloudPhoneServers", "GET", f"{_V1}/servers", servers.list_cloud_phone_servers),
    Route(
        "ShowCloudPhoneServerDetail",
        "GET",
        f"{_V1}/servers/{{server_id}}",
        servers.show_cloud_phone_server_detail,
        of_one_thing=True,
    ),
    Route("UpdateServerName", "PUT", f"{_V1}/servers/{{server_id}}", servers.update_server_name, writes=True),
    Route("ChangeCloudPhoneServer", "POST", f"{_V2}/servers/{{server_id}}/change", servers.change_cloud_phone_server, writes=True),
    Route(
        "ChangeCloudPhoneServerModel",
        "POST",
        f"{_V1}/servers/change-server-model",
        servers.change_cloud_phone_server_model,
        writes=True,
    ),
    Route("RestartCloudPhoneServer", "POST", f"{_V1}/servers/batch-restart", servers.restart_cloud_phone_server, writes=True),
    Route("UpdateKeypair", "PUT", f"{_V1}/servers/open-access", servers.update_keypair, writes=True),
    Route("DeleteCloudPhoneServer", "DELETE", f"{_V2}/servers", servers.delete_cloud_phone_server, writes=True),
    Route("ListCloudPhoneServerModels", "GET", f"{_V1}/server-models", models.list_cloud_phone_server_models),
    Route(
        "ListCloudPhoneServerModelOfferings",
        "GET",
        "/v1/{project_id}/server-model-offerings",
        models.list_cloud_phone_server_model_offerings,
    ),
    Route(
        "AttachShareFilesystem",
        "POST",
        "/v1/{project_id}/servers/attach-share-filesystem",
        share_filesystems.attach_share_filesystem,
        writes=True,
    ),
    Route(
        "DetachShareFilesystem",
        "POST",
        "/v1/{project_id}/servers/detach-share-filesystem",
        share_filesystems.detach_share_filesystem,
        writes=True,
    ),
    # phones
    Route("ListCloudPhones", "GET", f"{_V1}/phones", phones.list_cloud_phones, slow=phones.looks_at_every_phone),
    Route("ShowCloudPhoneDetail", "GET", f"{_V1}/phones/{{phone_id}}", phones.show_cloud_phone_detail, of_one_thing=True),
    Route("ListCloudPhoneModels", "GET", f"{_V1}/phone-models", models.list_cloud_phone_models),
    Route("RestartCloudPhone", "POST", f"{_V1}/phones/batch-restart", phones.restart_cloud_phone, writes=True),
    Route("ResetCloudPhone", "POST", f"{_V1}/phones/batch-reset", phones.reset_cloud_phone, writes=True),
    Route("StopCloudPhone", "POST", f"{_V1}/phones/batch-stop", phones.stop_cloud_phone, writes=True),
    Route("UpdatePhoneName", "PUT", f"{_V1}/phones/{{phone_id}}", phones.update_phone_name, writes=True),
    Route(
        "UpdateCloudPhoneProperty",
        "POST",
        f"{_V1}/phones/batch-update-property",
        phones.update_cloud_phone_property,
        writes=True,
    ),
    Route("ImportTraffic", "POST", f"{_V1}/phones-traffic", phones.import_traffic, writes=True),
    Route(  # a ticket lets its bearer act on the phone
        "BatchShowPhoneConnectInfos",
        "POST",
        f"{_V1}/phones/batch-connection",
        phones.batch_show_phone_connect_infos,
        writes=True,
    ),
    Route("BatchExportCloudPhoneData", "POST", f"{_V1}/phones/batch-storage", commands.batch_export_cloud_phone_data, writes=True),
    Route("BatchImportCloudPhoneData", "POST", f"{_V1}/phones/batch-restore", commands.batch_import_cloud_phone_data, writes=True),
    Route("ExpandPhoneDataVolumeSize", "POST", f"{_V1}/phones/expand-volume", commands.expand_phone_data_volume_size, writes=True),
    # commands
    Route(
        "RunShellCommand",
        "POST",
        f"{_V1}/phones/commands",
        commands.run_shell_command,
        writes=True,
        also=("PushFile", "InstallApk", "UninstallApk"),
    ),
    Route(
        "RunSyncCommand",
        "POST",
        f"{_V1}/phones/sync-commands",
        commands.run_sync_command,
        writes=True,
        calls_per_minute="sync_commands_per_minute",
    ),
    # shared apps and files
    Route("PushShareApps", "POST", f"{_V1}/phones/share-apps", shares.push_share_apps, writes=True),
    Route("DeleteShareApps", "DELETE", f"{_V1}/phones/share-apps", shares.delete_share_apps, writes=True),
    Route(
        "ListShareAppsSnapshot",
        "GET",
        "/v1/{project_id}/servers/{server_id}/share-apps-snapshot",
        shares.list_share_apps_snapshot,
    ),
    Route("PushShareFiles", "POST", f"{_V1}/phones/share-files", shares.push_share_files, writes=True, also=("DeleteShareFiles",)),
    Route("ListShareFiles", "GET", f"{_V1}/servers/share-files", shares.list_share_files, blocks=True),
    # images
    Route("ListCloudPhoneImages", "GET", f"{_V1}/phone-images", images.list_cloud_phone_images),
    Route("ListImages", "GET", f"{_V1}/images", images.list_images),
    Route("DeleteImage", "DELETE", f"{_V1}/images/{{image_id}}", images.delete_image, writes=True),
    Route("AddImageMember", "POST", f"{_V1}/images/{{image_id}}/members", images.add_image_member, writes=True),
    Route("ListImageMembers", "GET", f"{_V1}/images/{{image_id}}/members", images.list_image_members),
    Route("UpdateImageMember", "PUT", f"{_V1}/images/{{image_id}}/members", images.update_image_member, writes=True),
    Route(
        "DeleteImageMember",
        "DELETE",
        f"{_V1}/images/{{image_id}}/members/{{member_id}}",
        images.delete_image_member,
        writes=True,
    ),
    # jobs
    Route("ShowJob", "GET", f"{_V1}/jobs/{{job_id}}", jobs.show_job, of_one_thing=True),
    Route("ListJobs", "GET", f"{_V1}/jobs", jobs.list_jobs),
    # encode servers
    Route("ListEncodeServers", "GET", f"{_V1}/encode-servers", encode_servers.list_encode_servers),
    Route(
        "RestartEncodeServer",
        "POST",
        f"{_V1}/encode-servers/batch-restart",
        encode_servers.restart_encode_server,
        writes=True,
    ),
    # scheduled events
    Route("ListScheduledEvents", "GET", f"{_V1}/scheduled-events", scheduled_events.list_scheduled_events),
    Route(
        "AuthorizeScheduledEvent",
        "POST",
        f"{_V1}/scheduled-events/{{event_id}}/authorize",
        scheduled_events.authorize_scheduled_event,
        writes=True,
    ),
    Route(
        "UpdateScheduledEvent",
        "PUT",
        f"{_V1}/scheduled-events/{{event_id}}",
        scheduled_events.update_scheduled_event,
        writes=True,
    ),
    # bandwidths
    Route("ShowBandwidthDetail", "GET", f"{_V1}/bandwidths", bandwidths.show_bandwidth_detail),
    Route("UpdateBandwidth", "PUT", f"{_V1}/bandwidths/{{band_width_id}}", bandwidths.update_bandwidth, writes=True),
    # tags
    Route(
        "BatchCreateTags",
        "POST",
        "/v1/{project_id}/{resource_type}/{resource_id}/tags/action",
        tags.batch_create_tags,
        writes=True,
        also=("BatchDeleteTags",),
    ),
    Route("ListResourceTags", "GET", "/v1/{project_id}/{resource_type}/{resource_id}/tags", tags.list_resource_tags),
    Route("ListProjectTags", "GET", "/v1/{project_id}/{resource_type}/tags", tags.list_project_tags),
    Route(
        "ListResourceInstances",
        "POST",
        "/v1/{project_id}/{resource_type}/resource_instances/action",
        tags.list_resource_instances,
    ),
    # identity
    Route(
        "KeystoneCreateUserTokenByPassword",
        "POST",
        "/v3/auth/tokens",
        identity.create_token,
        blocks=True,
        auth=False,
        identity=True,
    ),
    Route("KeystoneValidateToken", "GET", "/v3/auth/tokens", identity.show_token, identity=True),
    Route("KeystoneListProjects", "GET", "/v3/projects", identity.list_projects, identity=True),
    Route("KeystoneListAuthProjects", "GET", "/v3/auth/projects", identity.list_auth_projects, identity=True),
    Route("KeystoneListAuthDomains", "GET", "/v3/auth/domains", identity.list_auth_domains, identity=True),
    Route("KeystoneListUsers", "GET", "/v3/users", identity.list_users, identity=True),
    # what there is
    Route("ShowOpenApi", "GET", "/openapi.json", openapi.show_open_api, blocks=True, auth=False),
    # health
    Route("ShowHealth", "GET", "/healthz", health.show_health, auth=False),
    Route("ShowReadiness", "GET", "/readyz", awaited(health.show_readiness), blocks=True, awaits=True, auth=False),
    Route("ShowMetrics", "GET", "/metrics", awaited(metrics.show_metrics), blocks=True, awaits=True, scraped=True),
    *NEIGHBOUR_ROUTES,
)
