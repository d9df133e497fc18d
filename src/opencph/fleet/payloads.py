"""What the jobs of the fleet need to know: the payload struct of every job kind. Written by the accept side, read by the steps."""

from __future__ import annotations

import msgspec

CREATE_SERVER = "create_server"
CHANGE_SERVER = "change_server"
DELETE_SERVER = "delete_server"
RESTART_PHONE = "restart_phone"
RESET_PHONE = "reset_phone"
STOP_PHONE = "stop_phone"
UPDATE_PHONE = "update_phone"
RESTART_SERVER = "restart_server"
UPDATE_KEYPAIR = "update_keypair"
ATTACH_SHARE_FILESYSTEM = "attach_share_filesystem"
DETACH_SHARE_FILESYSTEM = "detach_share_filesystem"
RESTART_ENCODE_SERVER = "restart_encode_server"
CHANGE_SERVER_MODEL = "change_server_model"


class CreateServerJob(msgspec.Struct, frozen=True, kw_only=True):
    """Kind `create_server`: boot the first generation of a server (`Job.server_id`)."""

    generation_id: str


class ChangeServerJob(msgspec.Struct, frozen=True, kw_only=True):
    """Kind `change_server`: boot the new generation of a server (`Job.server_id`), move the pointer, retire the old one."""

    new_generation_id: str
    old_generation_id: str
    #: Bound to the server at the swap; None: stays what it is.
    enterprise_project_id: str | None = None


class DeleteServerJob(msgspec.Struct, frozen=True, kw_only=True):
    """Kind `delete_server`: stop and remove everything of these servers."""

    server_ids: tuple[str, ...]


class RestartPhoneJob(msgspec.Struct, frozen=True, kw_only=True):
    """Kind `restart_phone`: restart or start one phone (`Job.phone_id`); its row already carries the new image and properties."""

    generation_id: str


class ResetPhoneJob(msgspec.Struct, frozen=True, kw_only=True):
    """Kind `reset_phone`: wipe one phone (`Job.phone_id`) and boot it; its row already carries the new image and properties."""

    generation_id: str


class StopPhoneJob(msgspec.Struct, frozen=True, kw_only=True):
    """Kind `stop_phone`: power one phone (`Job.phone_id`) off."""

    generation_id: str


class UpdatePhoneJob(msgspec.Struct, frozen=True, kw_only=True):
    """Kind `update_phone`: tell one phone (`Job.phone_id`) the name, properties and traffic route of its row."""

    generation_id: str


class RestartServerJob(msgspec.Struct, frozen=True, kw_only=True):
    """Kind `restart_server`: end the host of a server (`Job.server_id`), make it anew and boot its phones."""

    generation_id: str


class UpdateKeypairJob(msgspec.Struct, frozen=True, kw_only=True):
    """Kind `update_keypair`: let another key pair into a server (`Job.server_id`)."""

    keypair_name: str


class ChangeServerModelJob(msgspec.Struct, frozen=True, kw_only=True):
    """Kind `change_server_model`: give a server (`Job.server_id`) other flavors; its phones keep their data."""

    generation_id: str
    server_model_name: str
    phone_model_name: str
    old_server_model_name: str
    old_phone_model_name: str


class ShareFilesystemJob(msgspec.Struct, frozen=True, kw_only=True):
    """Kinds `attach_share_filesystem` and `detach_share_filesystem`, of a server (`Job.server_id`)."""

    share_id: str
    path: str = ""  # of a directory in it; "" when it is detached
