"""The catalogue: documented names are in it, an operator's file extends it, every fault of that file is named; lists page."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from fleet.fleet_world import FleetWorld
from opencph.fleet.catalogue import (
    list_cloud_phone_models,
    list_cloud_phone_server_models,
    load_catalogue,
)
from opencph.fleet.images import list_cloud_phone_images
from opencph.settings import SettingsError
from opencph.wire.errors import CphError
from opencph.wire.images import ListCloudPhoneImagesQuery
from opencph.wire.models import ListCloudPhoneModelsQuery, ListCloudPhoneServerModelsQuery

DOCUMENTED_PHONES = {
    "rx1.cp.c60.d10.e1v1": 60,
    "rx1.cp.c60.d32.e1v1.qemu": 60,
    "rx1.cg.c15.d30.e1v1": 15,
    "kg1.cp.c100.d10SSD.e1v1": 100,
    "kg1.cg.c40.d30SSD.e1v1": 40,
    "rx1.cp.c15.d46.e1v1": 15,
    "kg1.cp.c20.d64SSD.e1v1": 20,
    "kg1.cp.c150.d10GPSSD.e2v2.br150": 150,
}


def test_documented_flavors_have_their_documented_numbers() -> None:
    catalogue = load_catalogue()
    for name, phones in DOCUMENTED_PHONES.items():
        assert catalogue.phone_models[name].phone_capacity == phones
    rx1 = catalogue.phone_models["rx1.cp.c60.d10.e1v1"]
    assert (rx1.cpu, rx1.memory, rx1.disk, rx1.resolution, rx1.image_label) == (2, 3584, 10, "720x1280", "cloud_phone")
    assert catalogue.phone_models["rs2.plus"].needs_data_volume
    assert catalogue.phone_models["rs2.max"].needs_data_volume
    assert catalogue.server_models["physical.rx1.xlarge"].extend_spec.cpu == "Hi1616(2*32Core*2.4GHz)"
    assert all(len(image_id) == 32 for image_id in catalogue.images)


def test_an_own_file_adds_and_overrides_by_name(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        """
        [phone_models."rx1.cp.c60.d10.e1v1"]
        phone_capacity = 4
        [phone_models."my.small"]
        server_model_name = "my.server"
        phone_capacity = 2
        cpu = 1
        memory = 512
        disk = 1
        resolution = "360x640"
        dpi = 160
        image_label = "cloud_phone"
        [server_models."my.server"]
        server_type = "box"
        cpu = 4
        memory = 8
        [images."24110020241130d006101e2100000e18"]
        status = 0
        [hosts.rack1]
        availability_zone = "cn-east-3c"
        phone_capacity = 100
        server_capacity = 10
        """
    )
    catalogue = load_catalogue(str(own))
    assert catalogue.phone_models["rx1.cp.c60.d10.e1v1"].phone_capacity == 4
    assert catalogue.phone_models["rx1.cp.c60.d10.e1v1"].memory == 3584
    assert catalogue.phone_models["my.small"].server_model_name == "my.server"
    assert catalogue.hosts["rack1"].availability_zone == "cn-east-3c"
    with pytest.raises(CphError) as raised:
        catalogue.image_for("24110020241130d006101e2100000e18", "my.small")
    assert raised.value.code == "CPS.0030"
    assert "24110020241130d006101e2100000e18" not in {image.image_id for image in catalogue.wire_images}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[phone_models", ["not valid TOML"]),
        ("[phones.x]\na = 1", ["[phones] is unknown", "phone_models"]),
        ("phone_models = 3", ["[phone_models] must hold tables"]),
        ('[phone_models."rx1.cp.c60.d10.e1v1"]\ncpu = "two"', ['[phone_models."rx1.cp.c60.d10.e1v1"]', "$.cpu"]),
        ('[phone_models."rx1.cp.c60.d10.e1v1"]\nresolution = "big"', ["$.resolution"]),
        ('[phone_models."rx1.cp.c60.d10.e1v1"]\ncolour = "red"', ["colour"]),
        ('[phone_models."my.new"]\ncpu = 1', ['[phone_models."my.new"]', "missing required field"]),
        ('[phone_models."rx1.cp.c60.d10.e1v1"]\nserver_model_name = "nowhere"', ["server_model_name 'nowhere'"]),
        ('[phone_models."rx1.cp.c60.d10.e1v1"]\ndisk = 0', ["disk must be 0 for 2.0 flavors"]),
        ('[phone_models."rx1.cp.c60.d32.e1v1.qemu"]\nimage_label = "toaster"', ["$.image_label"]),
        ('[images."23060020230626f104211b2100000ed4"]\nimage_labels = ["cloud_phone"]', ["no image has image_label 'qemu_phone'"]),
        (f'[images."{"x" * 33}"]\nimage_name = "x"', ["1 to 32 bytes"]),
        ("[hosts.a]\navailability_zone = 'z'\nphone_capacity = -1\nserver_capacity = 1", ["[hosts.", "$.phone_capacity"]),
    ],
)
def test_a_fault_of_the_own_file_is_named(tmp_path: Path, text: str, words: list[str]) -> None:
    own = tmp_path / "own.toml"
    own.write_text(text)
    with pytest.raises(SettingsError) as raised:
        load_catalogue(str(own))
    message = str(raised.value)
    assert str(own) in message
    for word in words:
        assert word in message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml: cannot be read: No such file"):
        load_catalogue(str(tmp_path / "nowhere.toml"))


def test_server_models_page_by_marker(world: FleetWorld) -> None:
    names: list[str] = []
    marker = None
    while True:
        query = ListCloudPhoneServerModelsQuery(marker=marker, limit=4)
        answer = list_cloud_phone_server_models(world.fleet, world.caller, "r", query)
        names += [model.server_model_name for model in answer.server_models]
        marker = answer.page_info.next_marker
        if marker is None:
            break
        assert len(answer.server_models) == 4
    assert names == list(world.fleet.catalogue.server_models)
    games = list_cloud_phone_server_models(world.fleet, world.caller, "r", ListCloudPhoneServerModelsQuery(product_type=1))
    assert {model.product_type for model in games.server_models} == {1}
    with pytest.raises(CphError) as raised:
        list_cloud_phone_server_models(world.fleet, world.caller, "r", ListCloudPhoneServerModelsQuery(marker="nothing"))
    assert raised.value.code == "CPS.0002"


def test_phone_models_page_by_offset_and_filter_by_status(world: FleetWorld) -> None:
    everything = list_cloud_phone_models(world.fleet, world.caller, "r", ListCloudPhoneModelsQuery()).phone_models
    assert len(everything) == 12
    page = list_cloud_phone_models(world.fleet, world.caller, "r", ListCloudPhoneModelsQuery(offset=10, limit=5)).phone_models
    assert page == everything[10:]
    assert list_cloud_phone_models(world.fleet, world.caller, "r", ListCloudPhoneModelsQuery(offset=99)).phone_models == []
    offline = list_cloud_phone_models(world.fleet, world.caller, "r", ListCloudPhoneModelsQuery(status=0)).phone_models
    assert {model.phone_model_name for model in offline} == {"aphs1.medium.4.aosp", "aphs1.large.2.aosp"}
    rx1 = next(model for model in everything if model.phone_model_name == "rx1.cp.c60.d10.e1v1")
    assert rx1.spec_code == "rx1.cp.c60.d10.e1v1"
    assert msgspec.json.decode(rx1.extend_spec)["eip_count"] == 1


def test_images_page_by_marker_also_between_the_labels_of_one(world: FleetWorld) -> None:
    found: list[tuple[str, str]] = []
    marker = None
    while True:
        answer = list_cloud_phone_images(world.fleet, world.caller, "r", ListCloudPhoneImagesQuery(marker=marker, limit=1))
        found += [(image.image_id, image.image_label) for image in answer.phone_images]
        marker = answer.page_info.next_marker
        if marker is None:
            break
    wanted = [(image_id, label) for image_id, image in world.fleet.catalogue.images.items() for label in image.image_labels]
    assert found == wanted
    assert len(found) > len(world.fleet.catalogue.images), "one image runs on flavors of two labels"


def test_images_are_all_public_so_far(world: FleetWorld) -> None:
    for image_type, count in (("all", 13), ("public", 13), ("private", 0), ("share", 0)):
        answer = list_cloud_phone_images(world.fleet, world.caller, "r", ListCloudPhoneImagesQuery(image_type=image_type))
        assert len(answer.phone_images) == count
        assert all(image.is_public == 1 for image in answer.phone_images)
        assert answer.page_info.next_marker is None
