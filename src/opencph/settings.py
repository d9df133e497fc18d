"""Every setting: its name, default, unit and meaning, once. Read from defaults, then a TOML file, then OPENCPH_* variables,
then command-line options; `docs/settings.md` is made from the descriptions here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

DEFAULT_DATA = Path("~/.local/share/opencph")


class SettingsError(Exception):
    """A setting cannot be used. The message names it, its value and what is accepted."""


def describe(text: str) -> msgspec.Meta:
    """The one-line description that `docs/settings.md` shows."""
    return msgspec.Meta(description=text)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings, resolved. `Settings.load()` makes one; nothing else reads the environment."""

    data: Annotated[Path, describe("Data directory: database, credentials, phones. Mode 0700.")] = DEFAULT_DATA
    listen: Annotated[str, describe("HOST:PORT of the HTTP endpoint. Port 0 takes a free one.")] = "127.0.0.1:8580"
    database: Annotated[str, describe("`sqlite:///PATH` or `postgresql://...`. Empty: `sqlite:///DATA/opencph.db`.")] = ""
    runtime: Annotated[str, describe("What runs the phones: `builtin` (`docker` and `kubernetes` are to come).")] = "builtin"
    region: Annotated[str, describe("Region id that clients name; also the name of the first project.")] = "cn-east-3"
    availability_zones: Annotated[str, describe("Comma-separated zones of this machine; the first is the default.")] = (
        "cn-east-3a,cn-east-3b"
    )
    network: Annotated[
        str,
        describe(
            "IPv4 block out of 127.0.0.0/8, /10 to /20, for server addresses (first quarter), EIPs (second quarter) and "
            "phones (second half). Two installations on one machine need blocks that do not overlap."
        ),
    ] = "127.64.0.0/10"
    ssh_port: Annotated[int, describe("TCP port of the SSH gateway on every public address.")] = 8522
    catalogue: Annotated[str, describe("TOML file with flavors, images and hosts of your own; see docs/catalogue.md.")] = ""
    quota_servers: Annotated[int, describe("Servers a new project may have.")] = 200
    quota_phones: Annotated[int, describe("Phones a new project may have.")] = 10_000
    quota_eips: Annotated[int, describe("Public addresses a new project may have.")] = 200
    host_phones: Annotated[int, describe("Phones this machine may run in all.")] = 10_000
    host_servers: Annotated[int, describe("Cloud phone servers this machine may run in all.")] = 400
    boots_at_once: Annotated[int, describe("Phones that may boot at the same time on one host.")] = 200
    token_hours: Annotated[int, describe("Life of an IAM token, in hours.")] = 24
    clock_skew_seconds: Annotated[int, describe("How far a signed request's X-Sdk-Date may be from our clock.")] = 900
    body_limit_bytes: Annotated[int, describe("Largest request body.")] = 12 * 1024 * 1024
    job_lease_seconds: Annotated[int, describe("A worker that is silent for so long loses its jobs to another.")] = 10
    job_retention_days: Annotated[int, describe("Finished jobs stay readable for so long.")] = 30
    ready_timeout_seconds: Annotated[int, describe("How long `opencph up` waits for its parts before it gives up.")] = 30
    log_level: Annotated[str, describe("debug, info, warning or error.")] = "info"

    @classmethod
    def load(
        cls,
        options: Mapping[str, object] | None = None,
        config: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Settings:
        """Resolve: defaults < TOML file < OPENCPH_NAME variables < `options` (None values are ignored).

        Raises SettingsError with one sentence that names the setting.
        """
        raise SettingsError("to be written")  # the CLI part writes this, with the derived values below

    @property
    def database_url(self) -> str:
        """The database in use."""
        return self.database or f"sqlite:///{self.data / 'opencph.db'}"

    @property
    def run_directory(self) -> Path:
        """Sockets and pid files of running processes."""
        return self.data / "run"
