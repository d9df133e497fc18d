"""Makes small APKs that say what real ones say: a signed zip with a binary AndroidManifest.xml and, where there are labels in
several languages or an icon, a resources.arsc (AOSP `ResourceTypes.h`). No code.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from apk_signer import signed_v1, signed_v2

ANDROID = "http://schemas.android.com/apk/res/android"
IDS = {
    "label": 0x01010001, "icon": 0x01010002, "name": 0x01010003, "debuggable": 0x0101000F, "targetPackage": 0x01010021,
    "minSdkVersion": 0x0101020C, "versionCode": 0x0101021B, "versionName": 0x0101021C, "targetSdkVersion": 0x01010270,
    "testOnly": 0x01010272, "required": 0x0101028E,
}  # fmt: skip
STRING_POOL, TABLE, RESOURCE_MAP, XML = 0x0001, 0x0002, 0x0180, 0x0003
START_NAMESPACE, END_NAMESPACE, START_ELEMENT, END_ELEMENT = 0x0100, 0x0101, 0x0102, 0x0103
PACKAGE, TYPE, TYPE_SPEC = 0x0200, 0x0201, 0x0202
REFERENCE, STRING, INTEGER, BOOLEAN = 0x01, 0x03, 0x10, 0x12
NONE = 0xFFFFFFFF
LABEL_ID, ICON_ID = 0x7F010000, 0x7F020000
ICON_FILE = "res/mipmap/icon.png"


@dataclass(frozen=True)
class Reference:
    """A resource."""

    number: int


Attributes = dict[str, str | int | bool | Reference]  # "android:name" or "package"


def _pool(strings: Sequence[str]) -> bytes:
    data, offsets = b"", []
    for text in strings:
        offsets.append(len(data))
        encoded = text.encode("utf-16-le")
        data += struct.pack("<H", len(encoded) // 2) + encoded + b"\0\0"
    data += bytes(-len(data) % 4)
    start = 28 + 4 * len(offsets)
    head = struct.pack("<HHIIIIII", STRING_POOL, 28, start + len(data), len(offsets), 0, 0, start, 0)
    return head + struct.pack(f"<{len(offsets)}I", *offsets) + data


class _Writer:
    def __init__(self) -> None:
        self.strings = list(IDS)  # the resource map is for the first strings
        self.nodes = b""

    def string(self, text: str) -> int:
        if text not in self.strings:
            self.strings.append(text)
        return self.strings.index(text)

    def _node(self, kind: int, body: bytes) -> None:
        self.nodes += struct.pack("<HHIII", kind, 16, 16 + len(body), 1, NONE) + body

    def namespace(self, kind: int) -> None:
        self._node(kind, struct.pack("<II", self.string("android"), self.string(ANDROID)))

    def start(self, name: str, attributes: Attributes) -> None:
        packed = b""
        for key, value in attributes.items():
            space = self.string(ANDROID) if key.startswith("android:") else NONE
            word = self.string(key.removeprefix("android:"))
            raw = NONE
            if isinstance(value, bool):
                kind, data = BOOLEAN, NONE if value else 0
            elif isinstance(value, Reference):
                kind, data = REFERENCE, value.number
            elif isinstance(value, int):
                kind, data = INTEGER, value
            else:
                raw = self.string(value)
                kind, data = STRING, raw
            packed += struct.pack("<IIIHBBI", space, word, raw, 8, 0, kind, data)
        head = struct.pack("<IIHHHHHH", NONE, self.string(name), 20, 20, len(attributes), 0, 0, 0)
        self._node(START_ELEMENT, head + packed)

    def end(self, name: str) -> None:
        self._node(END_ELEMENT, struct.pack("<II", NONE, self.string(name)))

    def single(self, name: str, attributes: Attributes) -> None:
        self.start(name, attributes)
        self.end(name)

    def document(self) -> bytes:
        ids = struct.pack("<HHI", RESOURCE_MAP, 8, 8 + 4 * len(IDS)) + struct.pack(f"<{len(IDS)}I", *IDS.values())
        body = _pool(self.strings) + ids + self.nodes
        return struct.pack("<HHI", XML, 8, 8 + len(body)) + body


def _config(locale: str = "", density: int = 0) -> bytes:
    language, _, region = locale.partition("-")
    made = struct.pack("<II", 64, 0) + language.encode().ljust(2, b"\0") + region.encode().ljust(2, b"\0")
    return (made + struct.pack("<BBH", 0, 0, density)).ljust(64, b"\0")


def _type(number: int, config: bytes, string: int) -> bytes:
    entry = struct.pack("<HHI", 8, 0, number - 1) + struct.pack("<HBBI", 8, 0, STRING, string)
    head = 20 + len(config)
    body = struct.pack("<BBHII", number, 0, 0, 1, head + 4) + config + struct.pack("<I", 0) + entry
    return struct.pack("<HHI", TYPE, head, 8 + len(body)) + body


def resources(package: str, labels: Mapping[str, str], icon: bool) -> bytes:
    """A resources.arsc with the string `label` by language and, if wanted, the mipmap `icon`."""
    strings = [*labels.values(), ICON_FILE]
    chunks = struct.pack("<HHIBBHI", TYPE_SPEC, 16, 20, 1, 0, 0, 1) + struct.pack("<I", 4)
    for number, locale in enumerate(labels):
        chunks += _type(1, _config(locale), number)
    if icon:
        chunks += struct.pack("<HHIBBHI", TYPE_SPEC, 16, 20, 2, 0, 0, 1) + struct.pack("<I", 0x100)
        chunks += _type(2, _config(density=480), len(strings) - 1)
    types, keys = _pool(["string", "mipmap"]), _pool(["label", "icon"])
    named = package.encode("utf-16-le")[:254].ljust(256, b"\0")
    head = struct.pack("<I", 0x7F) + named + struct.pack("<IIIII", 288, 2, 288 + len(types), 2, 0)
    body = head + types + keys + chunks
    made = _pool(strings) + struct.pack("<HHI", PACKAGE, 288, 8 + len(body)) + body
    return struct.pack("<HHII", TABLE, 12, 12 + len(made), 1) + made


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a manifest says beside package and version."""

    split: str = ""
    min_sdk: int = 21
    target_sdk: int = 0
    permissions: tuple[str, ...] = ("android.permission.INTERNET",)
    features: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()  # by language, "" for the others
    icon: bytes = b""
    debuggable: bool = False
    test_only: bool = False
    instrumentation: str = ""


def manifest(package: str, version_code: int, version_name: str, facts: Facts) -> bytes:
    """A binary AndroidManifest.xml with one launcher activity."""
    writer = _Writer()
    writer.namespace(START_NAMESPACE)
    head: Attributes = {"package": package, "android:versionCode": version_code, "android:versionName": version_name}
    writer.start("manifest", {**head, "split": facts.split} if facts.split else head)
    target: Attributes = {"android:targetSdkVersion": facts.target_sdk} if facts.target_sdk else {}
    writer.single("uses-sdk", {"android:minSdkVersion": facts.min_sdk, **target})
    for name in facts.permissions:
        writer.single("uses-permission", {"android:name": name})
    for name in facts.features:
        writer.single("uses-feature", {"android:name": name})
    if facts.instrumentation:
        writer.single("instrumentation", {"android:name": facts.instrumentation, "android:targetPackage": package})
    application: Attributes = {"android:label": Reference(LABEL_ID) if facts.labels else "Test App"}
    if facts.icon:
        application["android:icon"] = Reference(ICON_ID)
    if facts.debuggable:
        application["android:debuggable"] = True
    if facts.test_only:
        application["android:testOnly"] = True
    writer.start("application", application)
    for name in facts.libraries:
        writer.single("uses-library", {"android:name": name})
    writer.start("activity", {"android:name": f"{package}.Main"})
    writer.start("intent-filter", {})
    for name, value in (("action", "android.intent.action.MAIN"), ("category", "android.intent.category.LAUNCHER")):
        writer.single(name, {"android:name": value})
    writer.end("intent-filter")
    writer.end("activity")
    writer.end("application")
    writer.end("manifest")
    writer.namespace(END_NAMESPACE)
    return writer.document()


def unsigned(package: str = "com.myapp.test", version_code: int = 1, version_name: str = "1.0", *, facts: Facts | None = None,
             filling: int = 0, files: Mapping[str, bytes] | None = None) -> bytes:  # fmt: skip
    """An APK that nobody signed."""
    said = facts or Facts()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("AndroidManifest.xml", manifest(package, version_code, version_name, said))
        if said.labels or said.icon:
            archive.writestr("resources.arsc", resources(package, dict(said.labels), bool(said.icon)))
        if said.icon:
            archive.writestr(ICON_FILE, said.icon)
        if filling:
            archive.writestr("assets/filling", b"x" * filling)
        for name, data in (files or {}).items():
            archive.writestr(name, data)
    return file.getvalue()


def apk(package: str = "com.myapp.test", version_code: int = 1, version_name: str = "1.0", *, split: str = "", min_sdk: int = 21,
        filling: int = 0, facts: Facts | None = None, signer: str = "tester", scheme: int = 2,
        files: Mapping[str, bytes] | None = None) -> bytes:  # fmt: skip
    """An APK of about `filling` bytes, signed with v2 unless another scheme is asked for."""
    said = facts or Facts(split=split, min_sdk=min_sdk)
    plain = unsigned(package, version_code, version_name, facts=said, filling=filling, files=files)
    if scheme == 1:
        return signed_v1(plain, signer)
    return signed_v2(plain, signer, schemes=(2, 3) if scheme == 3 else (2,))
