"""Every setting: its name, default, unit and meaning, once. Read from defaults, then a TOML file, then OPENCPH_* variables,
then command-line options; `docs/settings.md` is made from the descriptions here (`python docs/settings_page.py`)."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import msgspec

DEFAULT_DATA = Path("~/.local/share/opencph")
ENVIRONMENT_PREFIX = "OPENCPH_"
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("auto", "json", "text")
RUNTIMES = ("builtin",)
PHONE_NETWORKS = ("off", "internet")


#: Variables that are no settings: the settings file, and where a test has a process die (`jobs/failpoints.py`).
OTHER_VARIABLES = ("OPENCPH_CONFIG", "OPENCPH_FAILPOINT", "OPENCPH_FAILPOINT_ONCE", "OPENCPH_FAILPOINT_DIRECTORY")


class SettingsError(Exception):
    """A setting cannot be used. The message names it, its value and what is accepted."""


def describe(text: str, *, ge: int | None = None, le: int | None = None) -> msgspec.Meta:
    """The one-line description that `docs/settings.md` shows, and the bounds of a number."""
    return msgspec.Meta(description=text, ge=ge, le=le)


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
    ssh_port: Annotated[int, describe("TCP port of the SSH gateway on every public address.", ge=1, le=65535)] = 8522
    catalogue: Annotated[str, describe("TOML file with flavors, images and hosts of your own; see docs/catalogue.md.")] = ""
    quota_servers: Annotated[
        int, describe("Servers a project may have, unless `opencph projects quota` says otherwise for it.", ge=0)
    ] = 200
    quota_phones: Annotated[
        int, describe("Phones a project may have, unless `opencph projects quota` says otherwise for it.", ge=0)
    ] = 10_000
    quota_eips: Annotated[
        int, describe("Public addresses a project may have, unless `opencph projects quota` says otherwise for it.", ge=0)
    ] = 200
    host_phones: Annotated[int, describe("Phones this machine may run in all.", ge=0)] = 10_000
    host_servers: Annotated[int, describe("Cloud phone servers this machine may run in all.", ge=0)] = 400
    boots_at_once: Annotated[int, describe("Phones that may boot at the same time on one host.", ge=1)] = 200
    phone_network: Annotated[
        str,
        describe(
            "What programs in phones reach outside: `off`, nothing; `internet`, public addresses, through slirp4netns: never this "
            "machine, other phones or private networks. Holds for servers that are made, changed or restarted from then on."
        ),
    ] = "off"
    objects: Annotated[
        str,
        describe(
            "Where objects (`obs://bucket/key`) are: a directory, `s3://NAME/PREFIX` (all buckets in one of S3's) or "
            "`s3://{bucket}` (each the bucket of the same name). Credentials for S3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
            "AWS_REGION. Empty: `DATA/objects`."
        ),
    ] = ""
    objects_endpoint: Annotated[str, describe("URL of an S3-compatible service. Empty: Amazon's.")] = ""
    sync_commands_per_minute: Annotated[int, describe("RunSyncCommand calls that one user may make in a minute.", ge=1)] = 6
    requests_per_second: Annotated[
        int,
        describe(
            "Requests that one user may send in a second to one api process, object storage not counted; after a rest twice as "
            "many at once. 0: as many as the process can answer, which is fit where users do not compete.",
            ge=0,
            le=1_000_000,
        ),
    ] = 0
    login_failures_per_minute: Annotated[
        int,
        describe(
            "Wrong passwords that one client may send for one user in a minute; five times as many for all users, and ten times as "
            "many for one user from clients that never got in.",
            ge=1,
            le=10_000,
        ),
    ] = 10
    connections: Annotated[int, describe("HTTP connections that one api process holds at a time.", ge=16, le=1_000_000)] = 8192
    connections_per_client: Annotated[
        int,
        describe("Of these, how many of one client address (of IPv6: one /64). Raise it behind a proxy.", ge=1, le=1_000_000),
    ] = 1024
    tls_cert: Annotated[str, describe("PEM file with the certificate chain of the endpoint. Empty: HTTP without TLS.")] = ""
    tls_key: Annotated[str, describe("PEM file with its key, without a password; not readable by everybody.")] = ""
    token_hours: Annotated[int, describe("Life of an IAM token, in hours.", ge=1, le=8760)] = 24
    clock_skew_seconds: Annotated[int, describe("How far a signed request's X-Sdk-Date may be from our clock.", ge=1)] = 900
    body_limit_bytes: Annotated[int, describe("Largest request body.", ge=1024, le=1 << 30)] = 12 * 1024 * 1024
    job_lease_seconds: Annotated[int, describe("A worker that is silent for so long loses its jobs to another.", ge=1)] = 8
    job_retention_days: Annotated[int, describe("Finished jobs stay readable for so long.", ge=1)] = 30
    audit_retention_days: Annotated[int, describe("Entries of the audit record are kept for so long.", ge=1)] = 180
    ready_timeout_seconds: Annotated[int, describe("How long `opencph up` waits for its parts before it gives up.", ge=1)] = 30
    drain_seconds: Annotated[
        int, describe("How long an api or a gateway that is replaced goes on with the requests and connections it has.", ge=1)
    ] = 30
    hung_seconds: Annotated[
        int,
        describe(
            "`opencph up` kills a part whose event loop has not turned for so long, and starts it again. Time in which `up` itself "
            "stands still does not count. 0: never, as for who debugs a part; else at least 3.",
            ge=0,
            le=3600,
        ),
    ] = 20
    log_level: Annotated[str, describe("debug, info, warning or error.")] = "info"
    log_format: Annotated[
        str, describe("What goes to stderr: `json` lines, `text` for people, or `auto`: text on a terminal. The file has JSON.")
    ] = "auto"
    access_log: Annotated[str, describe("`on`: one line per HTTP request, with operation, status and time.")] = "off"

    @classmethod
    def load(
        cls,
        options: Mapping[str, object] | None = None,
        config: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Settings:
        """Resolve: defaults < TOML file < OPENCPH_NAME variables < `options` (None values are ignored).

        `data` and `catalogue` come out absolute, `~` expanded. Raises SettingsError with one sentence that names the setting.
        """
        environ = os.environ if environ is None else environ
        if config is None and environ.get("OPENCPH_CONFIG"):
            config = Path(environ["OPENCPH_CONFIG"])
        given: dict[str, tuple[object, str]] = {}  # name -> value, where it was said
        if config is not None:
            given |= {name: (value, f"in {config}") for name, value in _read_toml(config).items()}
        for variable, value in environ.items():
            name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
            if variable.startswith(ENVIRONMENT_PREFIX) and name in _specifications():
                given[name] = (value, f"in {variable}")
            elif variable.startswith(ENVIRONMENT_PREFIX) and (meant := _nearest(name)):
                raise SettingsError(f"{variable} is not a setting; did you mean {ENVIRONMENT_PREFIX}{meant.upper()}?")
        for name, option in (options or {}).items():
            if option is not None:
                given[name] = (option, f"in option --{name.replace('_', '-')}")
        values: dict[str, Any] = {name: _convert(name, value, where) for name, (value, where) in given.items()}
        settings = cls(**values)
        resolved = msgspec.structs.replace(
            settings,
            data=settings.data.expanduser().absolute(),
            catalogue=str(Path(settings.catalogue).expanduser().absolute()) if settings.catalogue else "",
        )
        for name, check in _CHECKS.items():
            if problem := check(getattr(resolved, name)):
                where = given[name][1] if name in given else "by default"
                raise SettingsError(f"{name} = {getattr(resolved, name)!r} ({where}): {problem}")
        return resolved

    @property
    def database_url(self) -> str:
        """The database in use."""
        return self.database or f"sqlite:///{self.data / 'opencph.db'}"

    @property
    def database_file(self) -> Path | None:
        """The file of a SQLite database; None when the database is a server's."""
        url = self.database_url
        return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:") else None

    def check_started(self) -> None:
        """Raises SettingsError when nothing was ever started here: the database's file is missing. A server is not asked."""
        if self.database_file is not None and not self.database_file.exists():
            raise SettingsError(f"{self.data} has no installation yet; start it once with `opencph up`")

    @property
    def database_shown(self) -> str:
        """The database in use, fit for people and logs: without a password."""
        return re.sub(r"(?<=://)([^/@]*):[^/@]*@", r"\1:***@", re.sub(r"(password=)[^&]*", r"\1***", self.database_url))

    @property
    def run_directory(self) -> Path:
        """Sockets and pid files of running processes."""
        return self.data / "run"

    @property
    def log_directory(self) -> Path:
        """Where every process appends to opencph.log."""
        return self.data / "logs"

    @property
    def listen_address(self) -> tuple[str, int]:
        """Host and port of the HTTP endpoint; the brackets of an IPv6 address removed."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class Specification(msgspec.Struct, frozen=True):
    """What is known of one setting."""

    name: str
    type: type
    default: Any
    description: str
    least: int | None
    most: int | None

    @property
    def accepted(self) -> str:
        """What a number may be, in words."""
        if self.most is None:
            return f"a whole number, at least {self.least}"
        return f"a whole number, {self.least} to {self.most}"


@cache
def _specifications() -> dict[str, Specification]:
    hints = get_type_hints(Settings, include_extras=True)
    found = {}
    for field in msgspec.structs.fields(Settings):
        kind, meta = get_args(hints[field.name])
        found[field.name] = Specification(field.name, kind, field.default, meta.description, meta.ge, meta.le)
    return found


def specifications() -> list[Specification]:
    """Every setting, in the order of the documentation."""
    return list(_specifications().values())


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """OPENCPH_* variables that mean nothing here. They are no errors: a cluster sets some for a service of our name."""
    return sorted(
        variable
        for variable in environ
        if variable.startswith(ENVIRONMENT_PREFIX)
        and variable not in OTHER_VARIABLES
        and variable.removeprefix(ENVIRONMENT_PREFIX).lower() not in _specifications()
    )


def _nearest(name: str) -> str:
    import difflib

    return next(iter(difflib.get_close_matches(name, _specifications(), n=1, cutoff=0.8)), "")


def _read_toml(path: Path) -> dict[str, object]:
    import tomllib

    try:
        values = tomllib.loads(path.expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file {path} is not TOML: {error}") from error
    for name in values:
        if name not in _specifications():
            meant = _nearest(name)
            raise SettingsError(
                f"{name} in {path} is not a setting; " + (f"did you mean {meant}?" if meant else "docs/settings.md has them all")
            )
    return values


def _convert(name: str, value: object, where: str) -> object:
    known = _specifications()[name]
    if known.type is Path:
        if isinstance(value, Path) or (isinstance(value, str) and value):
            return Path(value)
        raise SettingsError(f"{name} = {value!r} ({where}): give the path of a directory")
    if known.type is int:
        if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,18}\s*", value):
            value = int(value)
        low, high = known.least or 0, known.most if known.most is not None else 2**53
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise SettingsError(f"{name} = {value!r} ({where}): give {known.accepted}")
        return value
    if not isinstance(value, str):
        raise SettingsError(f"{name} = {value!r} ({where}): give a text in quotes")
    return value


def _check_listen(value: str) -> str:
    host, _, port = value.rpartition(":")
    right = "give HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:8580 or [::1]:8580"
    if not host or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        return right
    bracketed = host.startswith("[") and host.endswith("]")
    return right if (":" in host) != bracketed else ""


def _check_database(value: str) -> str:
    if not value or re.match(r"sqlite:///.|postgres(ql)?://", value):
        return ""
    return "give sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"


def _check_network(value: str) -> str:
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError as error:
        return f"give an IPv4 block such as 127.64.0.0/10 ({error})"
    if not network.subnet_of(ipaddress.IPv4Network("127.0.0.0/8")):
        return "the block must lie in 127.0.0.0/8, where Linux accepts connections without set-up"
    if not 10 <= network.prefixlen <= 20:
        return "the block must be between /10 (big) and /20 (small)"
    if ipaddress.IPv4Address("127.0.0.1") in network:
        return "the block must not contain 127.0.0.1, which is everybody's"
    return ""


def _check_zones(value: str) -> str:
    zones = value.split(",")
    if len(set(zones)) != len(zones) or not all(re.fullmatch(r"[A-Za-z0-9._-]{1,64}", zone) for zone in zones):
        return "give different zone names separated by commas, such as cn-east-3a,cn-east-3b"
    return ""


_CHECKS: dict[str, Callable[[str], str]] = {
    "listen": _check_listen,
    "database": _check_database,
    "runtime": lambda value: "" if value in RUNTIMES else f"this version has {', '.join(RUNTIMES)}",
    "region": lambda value: "" if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value) else "give letters, digits, - and _, at most 64",
    "availability_zones": _check_zones,
    "network": _check_network,
    "phone_network": lambda value: "" if value in PHONE_NETWORKS else f"give one of {', '.join(PHONE_NETWORKS)}",
    "catalogue": lambda value: "" if not value or Path(value).is_file() else "there is no such file",
    "objects": lambda value: (
        "" if re.fullmatch(r"s3://[^/]+(/.*)?|(?![a-z0-9]+://).*", value) else "give a directory or s3://NAME/PREFIX"
    ),
    "objects_endpoint": lambda value: "" if re.fullmatch(r"(https?://.+)?", value) else "give a URL such as https://s3.example.com",
    "hung_seconds": lambda value: "" if int(value) not in (1, 2) else "give 0, or at least 3: a busy part is silent for moments",
    "log_format": lambda value: "" if value in LOG_FORMATS else f"give one of {', '.join(LOG_FORMATS)}",
    "access_log": lambda value: "" if value in ("on", "off") else "give on or off",
    "log_level": lambda value: "" if value in LOG_LEVELS else f"give one of {', '.join(LOG_LEVELS)}",
}
