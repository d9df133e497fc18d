"""ADB commands over HTTP: decode, call the rule, answer. `command` in the body says which operation of the SDK it is."""

from __future__ import annotations

from opencph.api.call import Call, Result
from opencph.fleet import commands, phone_data, sync_commands
from opencph.wire import command_checks


def run_shell_command(call: Call) -> Result:
    """POST /v1/{project_id}/cloud-phone/phones/commands: RunShellCommand, PushFile, InstallApk and UninstallApk."""
    body = command_checks.run_shell_command(call.body)
    return commands.run_shell_command(call.fleet, call.caller, call.request_id, body)


def run_sync_command(call: Call) -> Result:
    """POST /v1/{project_id}/cloud-phone/phones/sync-commands."""
    body = command_checks.run_sync_command(call.body)
    return sync_commands.run_sync_command(call.fleet, call.caller, call.request_id, body)


def batch_export_cloud_phone_data(call: Call) -> Result:
    """POST /v1/{project_id}/cloud-phone/phones/batch-storage."""
    body = command_checks.batch_export_cloud_phone_data(call.body)
    return phone_data.batch_export_cloud_phone_data(call.fleet, call.caller, call.request_id, body)


def batch_import_cloud_phone_data(call: Call) -> Result:
    """POST /v1/{project_id}/cloud-phone/phones/batch-restore."""
    body = command_checks.batch_import_cloud_phone_data(call.body)
    return phone_data.batch_import_cloud_phone_data(call.fleet, call.caller, call.request_id, body)


def expand_phone_data_volume_size(call: Call) -> Result:
    """POST /v1/{project_id}/cloud-phone/phones/expand-volume."""
    body = command_checks.expand_phone_data_volume_size(call.body)
    return phone_data.expand_phone_data_volume_size(call.fleet, call.caller, call.request_id, body)
