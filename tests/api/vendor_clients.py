"""The vendor's unmodified SDK clients of the services beside CPH, pointed at a running api process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials, GlobalCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException

if TYPE_CHECKING:
    from api.api_service import Service


def client_of(service: Service, kind: Any) -> Any:
    """A client that signs with the access key, for the project."""
    keys = service.credentials["access_key"], service.credentials["secret_key"], service.project_id
    return kind.new_builder().with_credentials(BasicCredentials(*keys)).with_endpoints([service.endpoint]).build()


def global_client_of(service: Service, kind: Any) -> Any:
    """A client of a service without projects, such as billing."""
    keys = service.credentials["access_key"], service.credentials["secret_key"], service.credentials["domain_id"]
    return kind.new_builder().with_credentials(GlobalCredentials(*keys)).with_endpoints([service.endpoint]).build()


def refused(call: Any, request: Any, status: int, code: str) -> str:
    """The message of a call that must be refused so."""
    with pytest.raises(ClientRequestException) as caught:
        call(request)
    assert (caught.value.status_code, caught.value.error_code) == (status, code), caught.value.error_msg
    return str(caught.value.error_msg)
