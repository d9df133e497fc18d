"""The numbers that `status` of a server and of a phone may have (cph-api.md section 5), by name. No rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final


class ServerStatus:
    """`servers.status`."""

    CREATING: Final = 1  # documented: 0, 1, 3 and 4 all mean creating
    ABNORMAL: Final = 2
    CHANGING: Final = 3
    NORMAL: Final = 5
    DELETED: Final = 6  # undocumented; Terraform takes it for gone. Here: is being deleted
    FROZEN: Final = 8
    STOPPED: Final = 10
    STOP_FAILED: Final = 12
    STARTING: Final = 13  # here: is being restarted


class PhoneStatus:
    """`phones.status`."""

    CREATING: Final = 1
    RUNNING: Final = 2
    RESETTING: Final = 3
    RESTARTING: Final = 4
    FROZEN: Final = 6
    STOPPING: Final = 7
    STOPPED: Final = 8
    RESET_FAILED: Final = -5
    RESTART_FAILED: Final = -6
    ABNORMAL: Final = -7
    CREATE_FAILED: Final = -8
    STOP_FAILED: Final = -9


#: in words, for operators; cph-api.md section 5
SERVER_STATES: Mapping[int, str] = {
    0: "creating", 1: "creating", 2: "abnormal", 3: "creating or changing", 4: "creating", 5: "normal", 6: "deleted",
    8: "frozen", 10: "stopped", 11: "stopping", 12: "stop failed", 13: "starting",
}  # fmt: skip
PHONE_STATES: Mapping[int, str] = {
    1: "creating", 2: "running", 3: "resetting", 4: "restarting", 6: "frozen", 7: "stopping", 8: "stopped",
    -5: "reset failed", -6: "restart failed", -7: "abnormal", -8: "create failed", -9: "stop failed",
}  # fmt: skip
