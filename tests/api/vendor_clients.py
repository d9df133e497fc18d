"""The vendor's unmodified SDK clients, pointed at a running installation or api process."""

from __future__ import annotations

from typing import Any, Protocol

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials, GlobalCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException


class Running(Protocol):
    """Where to ask, and as whom: an `api.api_service.Service`, an `opencph.testing.RunningCph`."""

    endpoint: str

    @property
    def credentials(self) -> dict[str, Any]: ...


def client_of(running: Running, kind: Any) -> Any:
    """A client that signs with the access key, for the project."""
    known = running.credentials
    keys = BasicCredentials(known["access_key"], known["secret_key"], known["project_id"])
    return kind.new_builder().with_credentials(keys).with_endpoint(running.endpoint).build()


def global_client_of(running: Running, kind: Any) -> Any:
    """A client of a service without projects, such as billing."""
    known = running.credentials
    keys = GlobalCredentials(known["access_key"], known["secret_key"], known["domain_id"])
    return kind.new_builder().with_credentials(keys).with_endpoint(running.endpoint).build()


def refused(call: Any, request: Any, status: int, code: str) -> str:
    """The message of a call that must be refused so."""
    with pytest.raises(ClientRequestException) as caught:
        call(request)
    assert (caught.value.status_code, caught.value.error_code) == (status, code), caught.value.error_msg
    return str(caught.value.error_msg)
