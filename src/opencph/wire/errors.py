"""CPS and APIGW error codes: code -> HTTP status and documented message, in one table (cph-api.md section 7)."""

from __future__ import annotations


class CphError(Exception):
    """A refusal that the caller sees: `{"request_id", "error_code", "error_msg"}` with the code's HTTP status.

    `detail` continues the documented message and names the field and the limit:
    `CphError("CPS.0040", "listen_port 80 of port 'web': must be 10000 to 50000")`.
    """

    def __init__(self, code: str, detail: str = "", *, status: int | None = None) -> None:
        self.code = code
        self.detail = detail
        self.status = status if status is not None else http_status(code)
        super().__init__(f"{code} {self.message}")

    @property
    def message(self) -> str:
        """What `error_msg` says."""
        documented = MESSAGES.get(self.code, "")
        return f"{documented.rstrip('.')}: {self.detail}" if documented and self.detail else (self.detail or documented)


#: code -> documented message
MESSAGES: dict[str, str] = {
    "CPS.0003": "Service internal error.",
    "CPS.0005": "Phone is not found.",
}

#: codes that answer with another status than 400
STATUSES: dict[str, int] = {"CPS.0003": 500, "CPS.0005": 404}


def http_status(code: str) -> int:
    """The HTTP status of an error code; 400 unless cph-api.md 7.2 says otherwise."""
    return STATUSES.get(code, 400)
