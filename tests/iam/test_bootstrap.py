"""The first start: made once, by whoever comes first, with files that scripts can rely on."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from sqlalchemy import func, select

from opencph.iam.bootstrap import Credentials, bootstrap, write_credentials
from opencph.iam.keypairs import fingerprint, make_keypair
from opencph.iam.users import USER_BY_ID, USER_BY_NAME, check_password
from opencph.settings import Settings
from opencph.store import tables
from opencph.store.database import Database, Query, StoreConflictError, scalar, tuple_row
from opencph.store.networks import carve

FILLED = ("domains", "projects", "users", "grants", "access_keys", "signing_keys", "keypairs", "vpcs", "subnets")


def counts(database: Database) -> dict[str, Any]:
    names: dict[str, Query[int]] = {
        name: Query(select(func.count()).select_from(tables.metadata.tables[name]), scalar) for name in FILLED
    }
    return {name: database.row(query) for name, query in names.items()}


def test_the_credentials_have_every_field_scripts_rely_on(settings: Settings, credentials: Credentials) -> None:
    written = json.loads((settings.data / "credentials.json").read_text())
    assert list(written) == [
        *("endpoint", "region", "project_id", "domain_id", "domain_name", "user_name", "password", "access_key", "secret_key"),
        *("vpc_id", "subnet_id", "keypair_name", "private_key_file", "ssh_port"),
    ]
    assert all(written.values())
    assert written["region"] == settings.region


def test_the_files_are_their_owners_alone(settings: Settings, credentials: Credentials) -> None:
    names = {path.name for path in settings.data.iterdir() if not path.name.startswith("opencph.db")}
    assert names == {"credentials.json", "opencph.pem"}
    for name in names:
        assert stat.S_IMODE((settings.data / name).stat().st_mode) == 0o600


def test_the_password_and_the_private_key_fit_what_is_stored(database: Database, credentials: Credentials) -> None:
    user = database.row(USER_BY_NAME, name=credentials.user_name, domain_name=credentials.domain_name)
    assert user is not None
    assert user.password_hash.startswith("$argon2id$")
    assert check_password(user.password_hash, credentials.password)
    assert not check_password(user.password_hash, credentials.password + "x")
    assert not check_password(None, credentials.password)
    stored = database.row(Query(select(tables.keypairs.c.public_key, tables.keypairs.c.fingerprint), tuple_row))
    assert stored is not None
    load_pem_private_key(Path(credentials.private_key_file).read_bytes(), None)
    if shutil.which("ssh-keygen"):
        derived = subprocess.run(
            ["ssh-keygen", "-y", "-f", credentials.private_key_file], capture_output=True, text=True, check=True
        ).stdout
        assert str(stored[0]).split()[:2] == derived.split()[:2]
    assert stored[1] == fingerprint(str(stored[0]))


def test_a_second_start_changes_nothing(database: Database, settings: Settings, credentials: Credentials) -> None:
    before = counts(database), (settings.data / "credentials.json").read_bytes()
    bootstrap(database, settings)
    write_credentials(database, settings, credentials.endpoint)
    assert (counts(database), (settings.data / "credentials.json").read_bytes()) == before


def test_many_starts_at_once_make_one(database: Database, settings: Settings) -> None:
    with ThreadPoolExecutor(6) as threads:
        for result in [threads.submit(bootstrap, database, settings) for _ in range(6)]:
            result.result()
    assert counts(database) == dict.fromkeys(FILLED, 1)
    written = json.loads((settings.data / "credentials.json").read_text())
    user = database.row(USER_BY_ID, user_id=str(database.row(Query(select(tables.users.c.user_id), scalar))))
    assert user is not None and check_password(user.password_hash, written["password"])


def test_the_endpoint_is_written_once_it_is_known(database: Database, settings: Settings, credentials: Credentials) -> None:
    write_credentials(database, settings, "http://127.0.0.1:34567")
    after = json.loads((settings.data / "credentials.json").read_text())
    assert after["endpoint"] == "http://127.0.0.1:34567"
    assert after["password"] == credentials.password
    assert after["secret_key"] == credentials.secret_key


def test_deleted_credentials_come_back_without_what_nobody_knows(
    database: Database, settings: Settings, credentials: Credentials
) -> None:
    for name in ("credentials.json", "opencph.pem"):
        (settings.data / name).unlink()
    bootstrap(database, settings)
    write_credentials(database, settings, "http://127.0.0.1:1")
    after = json.loads((settings.data / "credentials.json").read_text())
    assert (after["password"], after["private_key_file"]) == ("", "")
    kept = ("project_id", "domain_id", "access_key", "secret_key", "vpc_id", "subnet_id", "keypair_name", "user_name")
    assert {name: after[name] for name in kept} == {name: getattr(credentials, name) for name in kept}


def test_credentials_of_another_database_are_not_mixed_in(database: Database, settings: Settings, credentials: Credentials) -> None:
    file = settings.data / "credentials.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "domain_id": "another", "password": "wrong"}))
    write_credentials(database, settings, "http://127.0.0.1:1")
    assert json.loads(file.read_text())["password"] == ""


def test_nothing_is_kept_when_the_files_cannot_be_written(database: Database, settings: Settings, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    unwritable = Settings(data=blocked / "data", database=settings.database, network=settings.network)
    with pytest.raises(OSError):
        bootstrap(database, unwritable)
    assert set(counts(database).values()) == {0}
    bootstrap(database, settings)
    assert counts(database)["users"] == 1


def test_the_default_subnet_is_the_first_quarter_of_the_network(
    database: Database, settings: Settings, credentials: Credentials
) -> None:
    subnet = tables.subnets.c
    row = database.row(Query(select(subnet.cidr, subnet.gateway_ip, subnet.subnet_id, subnet.vpc_id), tuple_row))
    assert row == ("127.70.0.0/18", "127.70.0.1", credentials.subnet_id, credentials.vpc_id)


def test_a_networks_parts_do_not_overlap() -> None:
    parts = carve("127.64.0.0/10")
    assert parts == (IPv4Network("127.64.0.0/12"), IPv4Network("127.80.0.0/12"), IPv4Network("127.96.0.0/11"))
    assert IPv4Address("127.96.0.1") in parts.phones


@pytest.mark.parametrize("network", ["", "x", "10.0.0.0/10", "127.0.0.0/8", "127.0.0.0/9", "127.0.0.0/21", "127.0.0.1/16", "::/10"])
def test_a_network_that_cannot_be_used_is_named(network: str) -> None:
    with pytest.raises(ValueError, match="network"):
        carve(network)


def test_keys_are_what_old_ssh_clients_read() -> None:
    pair = make_keypair("name")
    assert pair.private_key.startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert pair.public_key.startswith("ssh-rsa ") and pair.public_key.endswith(" name")
    assert len(pair.fingerprint.split(":")) == 16


@pytest.mark.parametrize("text", ["", "ssh-rsa", "ssh-rsa !!!"])
def test_what_is_no_key_has_no_fingerprint(text: str) -> None:
    with pytest.raises(ValueError):
        fingerprint(text)


def test_a_user_name_is_unique_in_its_domain(database: Database, credentials: Credentials) -> None:
    from sqlalchemy import insert

    from opencph.store.database import command

    values = {"user_id": "u2", "domain_id": credentials.domain_id, "name": "admin", "password_hash": "x", "enabled": 1}
    with pytest.raises(StoreConflictError), database.write() as tx:
        tx.run(command(insert(tables.users).values(values)))
