"""Makes small APKs that say what real ones say: a zip with a binary AndroidManifest.xml (AOSP `ResourceTypes.h`). No code."""

from __future__ import annotations

import io
import struct
import zipfile

ANDROID = "http://schemas.android.com/apk/res/android"
IDS = {"versionCode": 0x0101021B, "versionName": 0x0101021C, "minSdkVersion": 0x0101020C, "name": 0x01010003, "label": 0x01010001}
STRING_POOL, RESOURCE_MAP, XML = 0x0001, 0x0180, 0x0003
START_NAMESPACE, END_NAMESPACE, START_ELEMENT, END_ELEMENT = 0x0100, 0x0101, 0x0102, 0x0103
STRING, INTEGER = 0x03, 0x10
NONE = 0xFFFFFFFF

Attributes = dict[str, str | int]  # "android:name" or "package"


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
            raw = self.string(value) if isinstance(value, str) else NONE
            kind, data = (STRING, raw) if isinstance(value, str) else (INTEGER, value)
            packed += struct.pack("<IIIHBBI", space, word, raw, 8, 0, kind, data)
        head = struct.pack("<IIHHHHHH", NONE, self.string(name), 20, 20, len(attributes), 0, 0, 0)
        self._node(START_ELEMENT, head + packed)

    def end(self, name: str) -> None:
        self._node(END_ELEMENT, struct.pack("<II", NONE, self.string(name)))

    def document(self) -> bytes:
        data, offsets = b"", []
        for text in self.strings:
            offsets.append(len(data))
            encoded = text.encode("utf-16-le")
            data += struct.pack("<H", len(encoded) // 2) + encoded + b"\0\0"
        data += bytes(-len(data) % 4)
        start = 28 + 4 * len(offsets)
        pool = struct.pack("<HHIIIIII", STRING_POOL, 28, start + len(data), len(offsets), 0, 0, start, 0)
        pool += struct.pack(f"<{len(offsets)}I", *offsets) + data
        ids = struct.pack("<HHI", RESOURCE_MAP, 8, 8 + 4 * len(IDS)) + struct.pack(f"<{len(IDS)}I", *IDS.values())
        body = pool + ids + self.nodes
        return struct.pack("<HHI", XML, 8, 8 + len(body)) + body


def manifest(package: str, version_code: int, version_name: str, *, split: str = "", min_sdk: int = 21) -> bytes:
    """A binary AndroidManifest.xml with one launcher activity."""
    writer = _Writer()
    writer.namespace(START_NAMESPACE)
    head: Attributes = {"package": package, "android:versionCode": version_code, "android:versionName": version_name}
    writer.start("manifest", {**head, "split": split} if split else head)
    writer.start("uses-sdk", {"android:minSdkVersion": min_sdk})
    writer.end("uses-sdk")
    writer.start("uses-permission", {"android:name": "android.permission.INTERNET"})
    writer.end("uses-permission")
    writer.start("application", {"android:label": "Test App"})
    writer.start("activity", {"android:name": f"{package}.Main"})
    writer.start("intent-filter", {})
    for name, value in (("action", "android.intent.action.MAIN"), ("category", "android.intent.category.LAUNCHER")):
        writer.start(name, {"android:name": value})
        writer.end(name)
    writer.end("intent-filter")
    writer.end("activity")
    writer.end("application")
    writer.end("manifest")
    writer.namespace(END_NAMESPACE)
    return writer.document()


def apk(package: str = "com.myapp.test", version_code: int = 1, version_name: str = "1.0", *, split: str = "", min_sdk: int = 21,
        filling: int = 0) -> bytes:  # fmt: skip
    """An APK of about `filling` bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("AndroidManifest.xml", manifest(package, version_code, version_name, split=split, min_sdk=min_sdk))
        if filling:
            archive.writestr("assets/filling", b"x" * filling)
    return file.getvalue()
