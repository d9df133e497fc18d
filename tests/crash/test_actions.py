"""`kill -9` of workers at every step of what is done to servers and phones that are there: the work ends and the server serves."""

from __future__ import annotations

import pytest

from crash.installation import Installation
from crash.test_crash import of
from jobs_fleet.small_world import BIGGER_MODEL, MODEL, SERVER_MODEL
from opencph.fleet.encode_servers import restart_encode_server, turned
from opencph.fleet.ids import new_id
from opencph.fleet.phone_updates import update_phone_name
from opencph.fleet.server_keypair import update_keypair
from opencph.fleet.server_model_change import change_cloud_phone_server_model
from opencph.fleet.server_restart import restart_cloud_phone_server
from opencph.fleet.servers import show_cloud_phone_server_detail
from opencph.fleet.share_filesystems import attach_share_filesystem, detach_share_filesystem
from opencph.wire.encode_servers import RestartEncodeServerRequest
from opencph.wire.phones import UpdatePhoneNameRequest
from opencph.wire.server_actions import (
    ChangeCloudPhoneServerModelRequest,
    RestartCloudPhoneServerRequest,
    ServerKeypair,
    UpdateKeypairRequest,
)
from opencph.wire.share_filesystems import AttachShareFilesystemRequest, DetachShareFilesystemRequest

FILE = "/data/local/tmp/kept"
KINDS = (
    "restart_server",
    "change_server_model",
    "update_keypair",
    "restart_encode_server",
    "update_phone",
    "attach_share_filesystem",
    "detach_share_filesystem",
)


def flavor(installation: Installation, server_id: str) -> str:
    world = installation.world
    return show_cloud_phone_server_detail(world.fleet, world.caller, new_id(), server_id).phone_model_name


def accept(installation: Installation, server_id: str, kind: str) -> None:
    """The call that makes a job of the kind."""
    world = installation.world
    fleet, caller, request_id = world.fleet, world.caller, new_id()
    if kind == "restart_server":
        restart_cloud_phone_server(fleet, caller, request_id, RestartCloudPhoneServerRequest(server_ids=(server_id,)))
    elif kind == "change_server_model":
        small = flavor(installation, server_id) == MODEL
        order = ChangeCloudPhoneServerModelRequest(
            server_id=server_id,
            server_model_name=f"{SERVER_MODEL}.special" if small else SERVER_MODEL,
            phone_model_name=BIGGER_MODEL if small else MODEL,
        )
        change_cloud_phone_server_model(fleet, caller, request_id, order)
    elif kind == "update_keypair":
        servers = (ServerKeypair(server_id=server_id, keypair_name="keypair"),)
        update_keypair(fleet, caller, request_id, UpdateKeypairRequest(servers=servers))
    elif kind == "restart_encode_server":
        restart_encode_server(fleet, caller, request_id, RestartEncodeServerRequest(encode_server_ids=(turned(server_id),)))
    elif kind == "update_phone":
        phone_id = world.phones(server_id)[0].phone_id
        update_phone_name(fleet, caller, request_id, phone_id, UpdatePhoneNameRequest(phone_name="renamed"))
    elif kind == "attach_share_filesystem":
        attach = AttachShareFilesystemRequest(type="sfs_turbo", id="share", server_ids=(server_id,))
        attach_share_filesystem(fleet, caller, request_id, attach)
    else:
        detach = DetachShareFilesystemRequest(type="sfs_turbo", id="share", server_ids=(server_id,))
        detach_share_filesystem(fleet, caller, request_id, detach)


@pytest.mark.parametrize("point", of(*KINDS))
def test_what_is_done_to_a_server_is_done_wherever_the_worker_is_killed(
    installation: Installation, server_id: str, point: str
) -> None:
    world, kind = installation.world, point.split(":")[0]
    phone = world.phones(server_id)[0]
    installation.start_worker()
    if kind == "detach_share_filesystem":
        accept(installation, server_id, "attach_share_filesystem")
        installation.ended()
    installation.push(phone.ip, b"kept", FILE)
    installation.stop_workers()
    before, flavor_before = len(world.jobs()), flavor(installation, server_id)
    accept(installation, server_id, kind)
    installation.die_at(point)
    installation.start_worker()
    installation.ended()
    assert [(job.kind, job.status) for job in world.jobs()[before:]] == [(kind, 2)], installation.words()
    installation.eventually_serves(server_id)
    assert installation.pull(phone.ip, FILE) == b"kept"
    assert (flavor(installation, server_id) != flavor_before) == (kind == "change_server_model")
    installation.nothing_leaks()
