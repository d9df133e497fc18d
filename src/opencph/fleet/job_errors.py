"""How the fleet's jobs end when they fail: which code means what. The work itself is in `server_jobs` and `phone_jobs`."""

from __future__ import annotations

from opencph.jobs import JobFailedError
from opencph.wire.errors import CphError

#: "Create server failed.": also for the new generation of a change, which says so (`change_failed`); the table has no code for it.
CREATE_FAILED = "CPS.0092"
#: "Service internal error.": the runtime could not do it (cph-api.md 7.1 has no code for a phone that does not boot).
RUNTIME_FAILED = "CPS.0003"
#: "Handle job timeout.": phones booted, and do not answer ADB in time.
TIMED_OUT = "CPS.0054"
#: "Phone is not found.": it went away before its job ran.
PHONE_GONE = "CPS.0005"
#: A command that the phone refused: "Run command failed.", as the page's example has it; the table gives this code another text
#: (cph-api.md section 6).
COMMAND_FAILED, COMMAND_FAILED_TEXT = "CPS.0191", "Run command failed."


def job_failed(code: str, detail: str) -> JobFailedError:
    """The end of a job: the code's documented message, continued by what happened."""
    if code == COMMAND_FAILED:
        return JobFailedError(code, f"{COMMAND_FAILED_TEXT} {detail}".strip())
    return JobFailedError(code, CphError(code, detail).message)


def change_failed(failed: JobFailedError) -> JobFailedError:
    """The same end, as a change tells it: no server was to be created."""
    if failed.code != CREATE_FAILED:
        return failed
    created = CphError(CREATE_FAILED).message.rstrip(".")
    return JobFailedError(failed.code, "Change server failed" + failed.message.removeprefix(created))
