"""Who may change objects, and that every change of them is on record."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from api.api_service import Service
from objects.conftest import s3_client
from opencph.iam import administration, audit
from opencph.store.database import open_database


def client_of(service: Service, name: str, role: str) -> object:
    database = open_database(service.database_url)
    administration.add_user(database, name)
    administration.grant(database, name, service.project_id, role)
    access_key, secret_key = administration.add_key(database, name)
    database.close()
    return s3_client(replace(service, credentials={**service.credentials, "access_key": access_key, "secret_key": secret_key}))


def test_a_policy_without_the_action_may_not_and_changes_are_on_record(service: Service) -> None:
    document = json.dumps({"Statement": [{"Effect": "Allow", "Action": ["obs:object:get", "obs:object:put"]}]})
    database = open_database(service.database_url)
    administration.put_policy(database, "uploader", document)
    admin = s3_client(service)
    admin.create_bucket(Bucket="guarded")
    uploader, reader = client_of(service, "up", "uploader"), client_of(service, "look", "reader")
    uploader.put_object(Bucket="guarded", Key="a.txt", Body=b"text")  # type: ignore[attr-defined]
    assert reader.get_object(Bucket="guarded", Key="a.txt")["Body"].read() == b"text"  # type: ignore[attr-defined]
    for client, name in ((uploader, "up"), (reader, "look")):
        with pytest.raises(ClientError) as refused:
            client.delete_object(Bucket="guarded", Key="a.txt")  # type: ignore[attr-defined]
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        (entry,) = audit.entries(database, limit=9, user_name=name, operation="DeleteObject")
        assert (entry.status, entry.error_code, json.loads(entry.resources)) == (403, "AccessDenied", ["obs://guarded/a.txt"])
    (entry,) = audit.entries(database, limit=9, user_name="up", operation="PutObject")
    assert (entry.action, entry.status, entry.error_code) == ("obs:object:put", 200, "")
    assert audit.entries(database, limit=9, operation="CreateBucket", resource="guarded")
    database.close()
