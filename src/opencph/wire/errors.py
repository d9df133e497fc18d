"""CPS and APIGW error codes: code -> HTTP status and documented message, in one table (cph-api.md section 7). No I/O."""

from __future__ import annotations

import msgspec

#: Longest piece of a caller's value that an error message repeats, in characters.
SHOWN_CHARACTERS = 64

#: HTTP status -> title of an identity error.
IDENTITY_TITLES: dict[int, str] = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class ErrorBody(msgspec.Struct, frozen=True):
    """What a refused call answers, from CPH and from the gateway in front of it (cph-api.md 2.1)."""

    request_id: str
    error_code: str
    error_msg: str


class IdentityErrorFields(msgspec.Struct, frozen=True):
    """The inside of an identity error."""

    code: int
    message: str
    title: str


class IdentityErrorBody(msgspec.Struct, frozen=True):
    """What the identity service answers: Keystone's nested shape (cph-api.md 2.1)."""

    error: IdentityErrorFields


class CphError(Exception):
    """A refusal that the caller sees: `{"request_id", "error_code", "error_msg"}` with the code's HTTP status.

    `detail` continues the documented message and names the field and the limit:
    `CphError("CPS.0040", "listen_port 80 of port 'web': must be 10000 to 50000")`.
    `subject` fills the `{0}` of a documented message (CPS.0163, CPS.0164). `retry_seconds`, unless 0, is told as Retry-After.
    """

    def __init__(
        self, code: str, detail: str = "", *, subject: str = "", status: int | None = None, retry_seconds: int = 0
    ) -> None:
        self.code = code
        self.retry_seconds = retry_seconds
        self.detail = detail
        self.subject = subject
        self.status = status if status is not None else http_status(code)
        super().__init__(f"{code} {self.message}")

    @property
    def message(self) -> str:
        """What `error_msg` says."""
        documented = MESSAGES.get(self.code, "").replace("{0}", self.subject)
        return f"{documented.rstrip('.')}: {self.detail}" if documented and self.detail else (self.detail or documented)


class IdentityError(Exception):
    """A refusal of the identity service, answered in Keystone's shape. 401 Unauthorized, 400 Bad Request, ..."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        self.title = IDENTITY_TITLES.get(status, "Error")
        super().__init__(f"{status} {message}")


class ServiceError(Exception):
    """A refusal of a service beside CPH, answered with `status` and `body`, which has that service's own shape."""

    def __init__(self, status: int, body: msgspec.Struct, message: str) -> None:
        self.status = status
        self.body = body
        self.message = message
        super().__init__(f"{status} {message}")


def shown(value: object) -> str:
    """A caller's value as an error message repeats it: quoted and cut."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."


def http_status(code: str) -> int:
    """The HTTP status of an error code; 400 unless cph-api.md 7.2 says otherwise."""
    return STATUSES.get(code, 400)


#: Codes that answer with another status than 400. Seen in the current table: 0003, 0005. Inferred in cph-api.md 7.2 from what
#: is missing between them: the other 403 and 404 ones. Ours: 0042, so that clients see that trying again helps.
STATUSES: dict[str, int] = {
    "CPS.0003": 500,
    "CPS.0042": 503,
    **dict.fromkeys(("CPS.0001", "CPS.0006", "CPS.0007", "CPS.0008", "CPS.0053", "CPS.1028"), 403),
    **dict.fromkeys(
        (
            *("CPS.0005", "CPS.0011", "CPS.0015", "CPS.0017", "CPS.0018", "CPS.0019", "CPS.0044", "CPS.0050", "CPS.0100"),
            *("CPS.0115", "CPS.0123", "CPS.0156", "CPS.0159", "CPS.0166", "CPS.0201"),
        ),
        404,
    ),
    "APIGW.0101": 404,
    "APIGW.0301": 401,
    "APIGW.0302": 403,
    "APIGW.0308": 429,
}

#: code -> documented message. APIGW codes are the gateway's in front of CPH, not CPH's own.
MESSAGES: dict[str, str] = {
    "APIGW.0101": "The API does not exist or has not been published in the environment",
    "APIGW.0106": "Invalid request parameter",
    "APIGW.0201": "Bad request",
    "APIGW.0301": "Incorrect IAM authentication information",
    "APIGW.0302": "The IAM user is not authorized to access the API",
    "APIGW.0308": "The throttling threshold has been reached",
    "CPS.0001": "No permission to request resources.",
    "CPS.0002": "Parameter: offset or limit is invalid.",
    "CPS.0003": "Service internal error.",
    "CPS.0004": "Invalid phone id.",
    "CPS.0005": "Phone is not found.",
    "CPS.0006": "No permission to request resources. Role is op_restricted.",
    "CPS.0007": "No permission to request resources. Role is op_suspended.",
    "CPS.0008": "No permission to request resources. Role is op_unverified.",
    "CPS.0009": "Parameter: phone_id list is empty.",
    "CPS.0010": "Parameter: status is invalid.",
    "CPS.0011": "Job not found.",
    "CPS.0014": "Parameter: sd_path list is empty.",
    "CPS.0015": "server_id not found.",
    "CPS.0016": "server_id is invalid.",
    "CPS.0017": "Event callback not found.",
    "CPS.0018": "Access info not found.",
    "CPS.0019": "Ticket not found.",
    "CPS.0020": "VNC is not enable.",
    "CPS.0021": "Invalid ticket.",
    "CPS.0022": "Not available phone.",
    "CPS.0023": "Duplicate apply the phone.",
    "CPS.0024": "Parameter: count is invalid.",
    "CPS.0025": "Parameter: phone_name is invalid.",
    "CPS.0026": "Parameter: phone_name is conflicted.",
    "CPS.0027": "Parameter: phone_model_name is empty.",
    "CPS.0028": "Parameter: phone_model_name is invalid.",
    "CPS.0029": "Parameter: image_id is empty.",
    "CPS.0030": "Parameter: image_id is invalid.",
    "CPS.0031": "Parameter: band_width is invalid.",
    "CPS.0032": "Parameter: band_width_id is empty.",
    "CPS.0033": "Parameter: band_width_id is invalid.",
    "CPS.0034": "Parameter: band_width_share_type is invalid.",
    "CPS.0035": "Parameter: band_width_charge_mode is invalid.",
    "CPS.0036": "Parameter: band_width_size is invalid.",
    "CPS.0037": "Parameter: ports is invalid.",
    "CPS.0038": "Parameter: port name is invalid.",
    "CPS.0039": "Parameter: port name is conflicted.",
    "CPS.0040": "Parameter: listen_port is invalid.",
    "CPS.0041": "Parameter: listen_port is conflicted.",
    "CPS.0042": "System busy.",
    "CPS.0043": "Parameter: bms_name is invalid.",
    "CPS.0044": "bms not found.",
    "CPS.0045": "Parameter: device_id is invalid.",
    "CPS.0046": "Parameter: project_id is invalid.",
    "CPS.0047": "Parameter: action is invalid.",
    "CPS.0048": "Parameter: job_id is empty.",
    "CPS.0049": "Parameter: request_id is empty.",
    "CPS.0050": "Jobs related to this requestId is not found.",
    "CPS.0051": "The bandwidth share type of WHOLE is exist.",
    "CPS.0052": "Parameter: error_code is invalid.",
    "CPS.0053": "No permission to request resources. Phone is freezed.",
    "CPS.0054": "Handle job timeout.",
    "CPS.0055": "Parameter: extend_param is invalid.",
    "CPS.0056": "Parameter: charging_mode is invalid.",
    "CPS.0057": "Parameter: period_type is invalid.",
    "CPS.0058": "Parameter: period_num is invalid.",
    "CPS.0059": "Parameter: isAutoRenew is invalid.",
    "CPS.0060": "Parameter: isAutoPay is invalid.",
    "CPS.0061": "Inquiry order info failed.",
    "CPS.0062": "Create order failed.",
    "CPS.0063": "productInfos is empty.",
    "CPS.0064": "productId is empty.",
    "CPS.0065": "Quota exceeded for server.",
    "CPS.0066": "Capacity exceeded for server.",
    "CPS.0067": "Keypair could not found.",
    "CPS.0068": "Parameter: keypair_name is empty.",
    "CPS.0069": "Parameter: topic_urn is invalid.",
    "CPS.0070": "Parameter: Property [phone_brand] is invalid.",
    "CPS.0071": "Parameter: Property [phone_type] is invalid.",
    "CPS.0072": "Parameter: Property [serial_num] is invalid.",
    "CPS.0073": "Parameter: Property [os_version] is invalid.",
    "CPS.0074": "Parameter: Property [phone_num] is invalid.",
    "CPS.0075": "Parameter: Property [imsi] is invalid.",
    "CPS.0076": "Parameter: Property [iccid] is invalid.",
    "CPS.0077": "Parameter: phones list is invalid.",
    "CPS.0078": "Parameter: Property is invalid.",
    "CPS.0079": "Parameter: mac_address is invalid.",
    "CPS.0080": "Parameter: phone_ids is invalid.",
    "CPS.0081": "Parameter: phone_ids and phones are both empty.",
    "CPS.0082": "Parameter: Property [wifi_name] is invalid.",
    "CPS.0083": "Parameter: Property [mac_address] is invalid.",
    "CPS.0084": "Parameter: Property [imei] is invalid.",
    "CPS.0085": "Parameter: order_id is invalid.",
    "CPS.0086": "Parameter: resourceId is invalid.",
    "CPS.0087": "Parameter: server_name is invalid.",
    "CPS.0088": "Parameter: server_model_name is empty.",
    "CPS.0089": "Parameter: server_model_name is invalid.",
    "CPS.0090": "Init server create data failed.",
    "CPS.0091": "Retry time exceeded for creating server.",
    "CPS.0092": "Create server failed.",
    "CPS.0093": "Parameter: internet_accessible is empty.",
    "CPS.0094": "Parameter: server_ids is invalid.",
    "CPS.0095": "Parameter: server_ids is empty.",
    "CPS.0096": "The number of servers exceeds the limit.",
    "CPS.0097": "Parameter: server_id is invalid.",
    "CPS.0098": "Parameter: no available keypair_name or server not ready.",
    "CPS.0099": "Parameter: server is not ready.",
    "CPS.0100": "Probation phones not found.",
    "CPS.0101": "No available device access found.",
    "CPS.0102": "Failed to create OBS bucket.",
    "CPS.0103": "Failed to upload objects to OBS.",
    "CPS.0104": "File doesn't exists in OBS.",
    "CPS.0105": "BMS status is invalid.",
    "CPS.0106": "version doesn't match with agent package.",
    "CPS.0107": "Parameters for upload files to obs is invalid.",
    "CPS.0108": "Upload files to obs failed.",
    "CPS.0109": "Failed to create alarm topic.",
    "CPS.0110": "Failed to add alarm topic subscriber list.",
    "CPS.0111": "desc.json is invalid.",
    "CPS.0112": "Upload version didn't equals version defined in desc.json.",
    "CPS.0113": "Upload file not founded.",
    "CPS.0114": "Update system_parameter failed.",
    "CPS.0115": "Band width not found.",
    "CPS.0116": "Parameter: type is invalid.",
    "CPS.0117": "Parameter: command is invalid.",
    "CPS.0118": "Parameter: content is invalid.",
    "CPS.0119": "Parameter: filename doesn't end .apk.",
    "CPS.0121": "Parameter: Encode server id is invalid.",
    "CPS.0122": "Parameter: Encode server id list is invalid.",
    "CPS.0123": "Encode server not found.",
    "CPS.0124": "Encode server is creating.",
    "CPS.0125": "Parameter: Property [build_id] is invalid.",
    "CPS.0126": "Parameter: Property [android_id] is invalid.",
    "CPS.0127": "Parameter: Property [hide_navigate] is invalid.",
    "CPS.0128": "Parameter: Property [gsm_country] is invalid.",
    "CPS.0129": "Parameter: Property [gsm_number] is invalid.",
    "CPS.0130": "Parameter: Property [gsm_operator] is invalid.",
    "CPS.0131": "Parameter: Property [sim_country] is invalid.",
    "CPS.0132": "Parameter: Property [sim_number] is invalid.",
    "CPS.0133": "Parameter: Property [sim_operator] is invalid.",
    "CPS.0134": "Parameter: bucket_name is invalid.",
    "CPS.0135": "Parameter: object_path is invalid.",
    "CPS.0136": "Available server not found.",
    "CPS.0137": "Server does not support push share files.",
    "CPS.0138": "The bandwidth name is invalid.",
    "CPS.0139": "The port_name_list is invalid.",
    "CPS.0140": "Parameter: manage_band_width is invalid.",
    "CPS.0141": "Phone is not in running status.",
    "CPS.0142": "Parameter: image_label is invalid.",
    "CPS.0143": "Parameter: is_public is invalid.",
    "CPS.0144": "Parameter: product_type is invalid.",
    "CPS.0155": "The file_paths is invalid.",
    "CPS.0156": "The server_id is not found.",
    "CPS.0157": "The phone model is invalid.",
    "CPS.0158": "The server is not available for being restarted.",
    "CPS.0159": "Server not found.",
    "CPS.0160": "Only the size of shared bandwidth can be changed.",
    "CPS.0161": "Parameter: the number of request IDs has exceeded the limit.",
    "CPS.0162": "Parameter: image_name is invalid.",
    "CPS.0163": "Parameter: property {0} not supported.",
    "CPS.0164": "Parameter: Invalid property {0}.",
    "CPS.0165": "The phone must be in stopped or running status.",
    "CPS.0166": "Phone image not found.",
    "CPS.0167": "Parameter: storage_infos is invalid.",
    "CPS.0168": "Parameter: include_files is invalid.",
    "CPS.0169": "Parameter: exclude_files is invalid.",
    "CPS.0170": "Parameter: storage_infos exceeds the limit.",
    "CPS.0171": "Parameter: restore_infos is invalid.",
    "CPS.0172": "Parameter: object_path is unregistered.",
    "CPS.0173": "Parameter: package_name is invalid.",
    "CPS.0174": "Parameter: time is invalid.",
    "CPS.0175": "Parameter: run_time is invalid.",
    "CPS.0176": "Parameter: session_id is invalid.",
    "CPS.0190": "The number of phones exceeds the limit.",
    "CPS.0191": "Parameter: subnet_cidr is invalid.",
    "CPS.0192": "Cannot delete the latest agent because it is in use.",
    "CPS.0193": "Parameter: is_key_version is invalid.",
    "CPS.0194": "The subnet overlaps with an existing one.",
    "CPS.0195": "Encode server is frozen, no permission to request resources.",
    "CPS.0196": "Quota is insufficient.",
    "CPS.0197": "Parameter: vpc_cidr is invalid.",
    "CPS.0198": "The VPC CIDR block must be the same with the existing one.",
    "CPS.0199": "The path is invalid.",
    "CPS.0200": "Parameter: peering_id is invalid",
    "CPS.0201": "The peering connection cannot be found.",
    "CPS.0202": "You can only configure routes for active peering connections.",
    "CPS.0203": "Failed to obtain the VPC ID. Buy a server first.",
    "CPS.0204": "The subnet cannot be used when in delete or error status.",
    "CPS.0223": "Parameter: tenant_vpc_id is invalid.",
    "CPS.0224": "Parameter: subnet_id is invalid.",
    "CPS.0226": "Parameter: nics is invalid.",
    "CPS.0228": "Subnet does not belong to the VPC.",
    "CPS.0229": "Query subnet by id fail.",
    "CPS.0236": "Query vpc by id not found.",
    "CPS.0238": "Parameter: public_ip is invalid.",
    "CPS.0239": "Parameter: eip is invalid.",
    "CPS.0240": "Parameter: network_version is invalid.",
    "CPS.0241": "Insufficient IP addresses.",
    "CPS.1000": "The number of app versions has reached the limit.",
    "CPS.1002": "Invalid app pool id.",
    "CPS.1003": "Invalid version code.",
    "CPS.1004": "Version code already exists.",
    "CPS.1005": "Invalid version name.",
    "CPS.1006": "Parameter: name is invalid.",
    "CPS.1007": "Parameter: Invalid launch activity.",
    "CPS.1008": "Parameter: description is invalid.",
    "CPS.1009": "The number of apps has exceeded the limit.",
    "CPS.1010": "App not found.",
    "CPS.1011": "Parameter: app_id is invalid.",
    "CPS.1012": "AppVersion related to the app exists.",
    "CPS.1013": "Parameter: app_ids is invalid.",
    "CPS.1014": "Parameter: app_id list is empty.",
    "CPS.1015": "The number of app pools has exceeded the limit.",
    "CPS.1016": "Failed to push server app.",
    "CPS.1017": "Failed to deploy phone app.",
    "CPS.1018": "App version not found.",
    "CPS.1019": "Server belongs to other pool.",
    "CPS.1020": "Parameter: app_version_id is invalid.",
    "CPS.1021": "Relationship between pool and app version exists.",
    "CPS.1022": "Relationship between server and app version exists.",
    "CPS.1023": "Relationship between phone and app version exists.",
    "CPS.1024": "App pool still contains server(s).",
    "CPS.1025": "Parameter: scale_up is invalid.",
    "CPS.1026": "Pool not found.",
    "CPS.1027": "Server is being scaled up.",
    "CPS.1028": "No permission to request resources. Server is frozen.",
    "CPS.1029": "App not found or App version not found.",
    "CPS.1031": "Action not found.",
    "CPS.1032": "Parameter: scale_down is invalid.",
    "CPS.1040": "App pool cannot be scaled down.",
    "CPS.1041": "Failed to create app pool.",
    "CPS.1042": "App pool cannot be scaled up.",
    "CPS.1043": "Server doesn't belong to this pool.",
    "CPS.1044": "Failed to undeploy app versions from servers.",
    "CPS.1045": "Failed to remove app versions from server.",
    "CPS.1046": "Failed to undeploy phone app.",
    "CPS.1047": "Parameter: namespace is invalid.",
    "CPS.1048": "Parameter: batch_undeploy_app_version is invalid.",
    "CPS.1049": "Parameter: app_version_id is conflicting.",
    "CPS.1050": "Parameter: batch_deploy_app_version is invalid.",
    "CPS.1051": "Failed to deploy app version to server.",
    "CPS.1052": "Parameter: app_version_ids is invalid.",
    "CPS.1053": "Parameter: app_version_ids is empty.",
    "CPS.1054": "Failed to push app version to server.",
    "CPS.1055": "Parameter: batch_push_app_version is invalid.",
    "CPS.1056": "The URL is not found.",
    "CPS.1057": "Parameter: batch_remove_app_version is invalid.",
    "CPS.1060": "Parameter: update_app_version is invalid.",
    "CPS.1061": "Failed to update app version of phone.",
    "CPS.1062": "Parameter: dim.0.name is invalid.",
    "CPS.1063": "Parameter: dim.0.value is invalid.",
    "CPS.1064": "Parameter: query.id is invalid.",
    "CPS.1065": "Parameter: Start or limit is invalid.",
    "CPS.1066": "Parameter: dim.1.name is invalid.",
    "CPS.1067": "Parameter: query.name is invalid.",
    "CPS.1068": "Parameter: add_app is invalid.",
    "CPS.1069": "Parameter: apps is invalid.",
    "CPS.1070": "Parameter: apps is empty.",
    "CPS.1071": "App info id is invalid.",
    "CPS.1072": "Failed to add app to pool.",
    "CPS.1073": "Parameter: remove_app is invalid.",
}
