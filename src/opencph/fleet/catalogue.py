"""What can be bought: server flavors, phone flavors, images, and the hosts an operator declares. Read once per process from
`catalogue.toml` and the operator's own file (setting `catalogue`, docs/catalogue.md). Nothing here touches the database."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from opencph.settings import SettingsError
from opencph.wire import images as wire_images
from opencph.wire import models as wire_models
from opencph.wire.errors import CphError

if TYPE_CHECKING:
    from opencph.fleet import Fleet
    from opencph.iam import Caller

Label = Literal["qemu_phone", "cloud_phone", "cloud_phone_1620", "cloud_game", "cloud_game_1620"]
VolumeType = Literal["SSD", "GPSSD"]
Flag = Literal[0, 1]
Name64 = Annotated[str, Meta(min_length=1, max_length=64)]
Positive = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]

ON_SALE: Literal[1] = 1
VERSION_1: Literal[0] = 0
VERSION_2: Literal[1] = 1


class ServerModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server flavor (cph-api.md 10.1). Memory and free_size in GB."""

    server_type: Annotated[str, Meta(min_length=1, max_length=32)]
    cpu: Positive
    memory: Positive
    extend_spec: wire_models.ServerExtendSpec = wire_models.ServerExtendSpec()
    disk_max_num: Count = 0
    product_type: Flag = 0
    free_size: Count = 0


class PhoneModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A phone flavor (cph-api.md 10.2). Memory in MB, disk in GiB."""

    server_model_name: Name64
    phone_capacity: Annotated[int, Meta(ge=1, le=1000)]
    cpu: Positive
    memory: Positive
    disk: Count
    disk_type: VolumeType = "SSD"
    resolution: Annotated[str, Meta(pattern=r"^[1-9][0-9]{1,4}x[1-9][0-9]{1,4}$")]
    dpi: Positive
    image_label: Label
    status: Flag = ON_SALE
    product_type: Flag = 0
    phone_model_version: Flag = VERSION_1
    volume_mode: Flag = 0
    fps: str = "30"
    render_fps: Positive = 30
    stream_fps: Positive = 30
    spec_code: str = ""  # "": the name
    extend_spec: dict[str, Any] = {}

    @property
    def width(self) -> int:
        """Screen width in pixels."""
        return int(self.resolution.partition("x")[0])

    @property
    def height(self) -> int:
        """Screen height in pixels."""
        return int(self.resolution.partition("x")[2])

    @property
    def needs_data_volume(self) -> bool:
        """Whether `phone_data_volume` must be bought with it (2.0 flavors)."""
        return self.phone_model_version == VERSION_2


class Image(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A public image (cph-api.md 10.3). `image_labels`: of the flavors it runs on; clients see it once with each."""

    image_name: Annotated[str, Meta(min_length=1, max_length=128)]
    image_version: str
    os_name: Annotated[str, Meta(min_length=1, max_length=36)]
    image_labels: Annotated[tuple[Label, ...], Meta(min_length=1)]
    os_type: Annotated[str, Meta(min_length=1, max_length=16)] = "aosp"
    is_support_encrypt: bool = False
    status: Flag = ON_SALE  # 0: withdrawn; phones that run it go on, new ones cannot take it


class Host(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A host the operator declares. `runtime` "": the one of the settings."""

    availability_zone: Name64
    phone_capacity: Count
    server_capacity: Count
    runtime: str = ""
    state: Literal["active", "draining"] = "active"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything that can be bought, by name, in the order of the files."""

    server_models: Mapping[str, ServerModel]
    phone_models: Mapping[str, PhoneModel]
    images: Mapping[str, Image]
    #: By host id. Empty: this machine, as the settings say (see `fleet.hosts`).
    hosts: Mapping[str, Host]
    wire_server_models: tuple[wire_models.ServerModel, ...] = field(repr=False)
    wire_phone_models: tuple[wire_models.PhoneModel, ...] = field(repr=False)
    wire_images: tuple[wire_images.PhoneImage, ...] = field(repr=False)

    def image_version(self, image_id: str) -> str:
        """`AOSP 11.0` of an image; "" for one that the catalogue no longer has."""
        image = self.images.get(image_id)
        return image.image_version if image is not None else ""

    def phone_model(self, name: str, *, server_model_name: str | None = None) -> PhoneModel:
        """The phone flavor to buy.

        Raises CPS.0028 when it does not exist, is not on sale, or does not run on `server_model_name`.
        """
        model = self.phone_models.get(name)
        if model is None:
            raise CphError("CPS.0028", f"there is no phone flavor {name!r}; list them with GET phone-models")
        if model.status != ON_SALE:
            raise CphError("CPS.0028", f"phone flavor {name!r} is offline and cannot be bought")
        if server_model_name is not None and model.server_model_name != server_model_name:
            raise CphError(
                "CPS.0028",
                f"phone_model_name {name!r} runs on server flavor {model.server_model_name!r}, not on {server_model_name!r}",
            )
        return model

    def server_model(self, name: str) -> ServerModel:
        """The server flavor to buy. Raises CPS.0089 when it does not exist."""
        model = self.server_models.get(name)
        if model is None:
            raise CphError("CPS.0089", f"there is no server flavor {name!r}; list them with GET server-models")
        return model

    def image_for(self, image_id: str, phone_model_name: str) -> Image:
        """The image to run on phones of a flavor.

        Raises CPS.0166 when it does not exist, CPS.0030 when it was withdrawn, CPS.0142 when it does not fit the flavor.
        """
        image = self.images.get(image_id)
        if image is None:
            raise CphError("CPS.0166", f"there is no image_id {image_id!r}; list them with GET phone-images")
        if image.status != ON_SALE:
            raise CphError("CPS.0030", f"image_id {image_id!r} was withdrawn and cannot be used for new phones")
        label = self.phone_models[phone_model_name].image_label
        if label not in image.image_labels:
            raise CphError(
                "CPS.0142",
                f"image_id {image_id!r} is for {' and '.join(image.image_labels)}; phone flavor {phone_model_name!r} needs {label}",
            )
        return image


def load_catalogue(path: str = "") -> Catalogue:
    """The built-in catalogue, extended by the operator's file. Raises SettingsError naming file, table and field."""
    tables = tomllib.loads(files(__package__).joinpath("catalogue.toml").read_text(encoding="utf-8"))
    if path:
        tables = _extended(tables, _operator_tables(Path(path)), path)
    where = f"catalogue {path}" if path else "built-in catalogue"
    server_models = _table(tables, "server_models", ServerModel, where)
    phone_models = _table(tables, "phone_models", PhoneModel, where)
    images = _table(tables, "images", Image, where)
    hosts = _table(tables, "hosts", Host, where)
    _cross_check(server_models, phone_models, images, where)
    return Catalogue(
        server_models=server_models,
        phone_models=phone_models,
        images=images,
        hosts=hosts,
        wire_server_models=tuple(_wire_server_model(name, model) for name, model in server_models.items()),
        wire_phone_models=tuple(_wire_phone_model(name, model) for name, model in phone_models.items()),
        wire_images=tuple(
            one for image_id, image in images.items() if image.status == ON_SALE for one in _wire_images(image_id, image)
        ),
    )


def _operator_tables(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"catalogue {path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"catalogue {path}: not valid TOML: {error}") from error


def _extended(base: dict[str, Any], own: dict[str, Any], path: str) -> dict[str, Any]:
    """The operator's entries over the built-in ones: a new name adds an entry, a known name changes the fields given."""
    known = ("server_models", "phone_models", "images", "hosts")
    for table, entries in own.items():
        if table not in known:
            raise SettingsError(f"catalogue {path}: [{table}] is unknown; use {', '.join(known)}")
        if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
            raise SettingsError(f'catalogue {path}: [{table}] must hold tables such as [{table}."name"]')
        merged = dict(base.get(table, {}))
        for name, entry in entries.items():
            merged[name] = {**merged.get(name, {}), **entry}
        base = {**base, table: merged}
    return base


Entry = TypeVar("Entry", bound=msgspec.Struct)


def _table(tables: Mapping[str, Any], table: str, kind: type[Entry], where: str) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for name, values in tables.get(table, {}).items():
        limit = 32 if table == "images" else 64
        if not name or len(name.encode()) > limit:
            raise SettingsError(f'{where}: [{table}."{name}"]: the name must have 1 to {limit} bytes')
        try:
            entries[name] = msgspec.convert(values, kind)
        except msgspec.ValidationError as error:
            raise SettingsError(f'{where}: [{table}."{name}"]: {error}') from error
    return entries


def _cross_check(
    server_models: Mapping[str, ServerModel],
    phone_models: Mapping[str, PhoneModel],
    images: Mapping[str, Image],
    where: str,
) -> None:
    for name, model in phone_models.items():
        spot = f'{where}: [phone_models."{name}"]'
        if model.server_model_name not in server_models:
            raise SettingsError(f"{spot}: server_model_name {model.server_model_name!r} is no server flavor of the catalogue")
        if model.needs_data_volume != (model.disk == 0):
            raise SettingsError(f"{spot}: disk must be 0 for 2.0 flavors (phone_model_version 1) and at least 1 for 1.0 flavors")
        if len(json.dumps(model.extend_spec)) > 512:
            raise SettingsError(f"{spot}: extend_spec must be at most 512 bytes of JSON")
        if model.status == ON_SALE and not any(
            model.image_label in image.image_labels for image in images.values() if image.status == ON_SALE
        ):
            raise SettingsError(f"{spot}: no image has image_label {model.image_label!r}; add one, or set status = 0")


def _wire_server_model(name: str, model: ServerModel) -> wire_models.ServerModel:
    return wire_models.ServerModel(
        server_model_name=name,
        server_type=model.server_type,
        cpu=model.cpu,
        memory=model.memory,
        extend_spec=model.extend_spec,
        disk_max_num=model.disk_max_num,
        product_type=model.product_type,
        free_size=model.free_size,
    )


def _wire_phone_model(name: str, model: PhoneModel) -> wire_models.PhoneModel:
    return wire_models.PhoneModel(
        server_model_name=model.server_model_name,
        phone_model_name=name,
        status=model.status,
        cpu=model.cpu,
        memory=model.memory,
        disk=model.disk,
        resolution=model.resolution,
        extend_spec=json.dumps(model.extend_spec),
        spec_code=model.spec_code or name,
        phone_capacity=model.phone_capacity,
        image_label=model.image_label,
        product_type=model.product_type,
        phone_model_version=model.phone_model_version,
        dpi=model.dpi,
        fps=model.fps,
        volume_mode=model.volume_mode,
        render_fps=model.render_fps,
        stream_fps=model.stream_fps,
    )


def _wire_images(image_id: str, image: Image) -> list[wire_images.PhoneImage]:
    return [
        wire_images.PhoneImage(
            image_name=image.image_name,
            os_type=image.os_type,
            is_public=1,
            os_name=image.os_name,
            image_label=label,
            image_id=image_id,
            is_support_encrypt=image.is_support_encrypt,
        )
        for label in image.image_labels
    ]


Item = TypeVar("Item")


def marker_page(
    items: Sequence[Item], key: Callable[[Item], str], marker: str | None, limit: int
) -> tuple[list[Item], wire_models.PageInfo]:
    """The page after `marker` (the key of the last item of the page before), and where the next one begins.

    `next_marker` is there only when more follows. Raises CPS.0002 for a marker that no page ever gave.
    """
    start = 0
    if marker:
        start = next((number for number, item in enumerate(items, 1) if key(item) == marker), -1)
        if start < 0:
            raise CphError("CPS.0002", f"marker {marker[:64]!r} is unknown; take it from page_info.next_marker of the page before")
    page = list(items[start : start + limit])
    more = start + limit < len(items)
    return page, wire_models.PageInfo(next_marker=key(page[-1]) if more else None)


def list_cloud_phone_server_models(
    fleet: Fleet, caller: Caller, request_id: str, query: wire_models.ListCloudPhoneServerModelsQuery
) -> wire_models.ListCloudPhoneServerModelsResponse:
    """Server flavors, in the order of the catalogue (cph-api.md section 4, number 11)."""
    models = [
        model
        for model in fleet.catalogue.wire_server_models
        if query.product_type is None or model.product_type == query.product_type
    ]
    page, page_info = marker_page(models, lambda model: model.server_model_name, query.marker, query.limit)
    return wire_models.ListCloudPhoneServerModelsResponse(request_id=request_id, server_models=page, page_info=page_info)


def list_cloud_phone_models(
    fleet: Fleet, caller: Caller, request_id: str, query: wire_models.ListCloudPhoneModelsQuery
) -> wire_models.ListCloudPhoneModelsResponse:
    """Phone flavors, offline ones included unless `status` says otherwise (cph-api.md section 4, number 18)."""
    models = [model for model in fleet.catalogue.wire_phone_models if query.status is None or model.status == query.status]
    return wire_models.ListCloudPhoneModelsResponse(
        request_id=request_id, phone_models=models[query.offset : query.offset + query.limit]
    )
