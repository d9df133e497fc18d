"""Who signed an APK is checked as Android checks it: the schemes, what was changed afterwards, updates by others, rotated keys."""

from __future__ import annotations

import asyncio
import io
import zipfile
from pathlib import Path

import pytest

from apk_maker import Facts, apk, unsigned
from apk_signer import signed_v1, signed_v2
from handset.one_phone import Pair, dial, running
from opencph.adb.client import Connection

APK = "/data/local/tmp/a.apk"
NONE = "INSTALL_PARSE_FAILED_NO_CERTIFICATES"


async def _install(adb: Connection, data: bytes, options: str = "") -> str:
    await adb.push(data, APK)
    return (await adb.shell(f"pm install {options} {APK}")).stdout.decode().strip()


def test_stock_adb_installs_what_is_signed_and_nothing_else(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "none.apk").write_bytes(unsigned("com.signed.app"))
    refused = pair("install", str(tmp_path / "none.apk"), check=False)
    assert refused.returncode and NONE.encode() in refused.stdout + refused.stderr
    (tmp_path / "mine.apk").write_bytes(apk("com.signed.app"))
    assert "Success" in pair.text("install", str(tmp_path / "mine.apk"))
    (tmp_path / "theirs.apk").write_bytes(apk("com.signed.app", 2, signer="somebody else"))
    refused = pair("install", "-r", str(tmp_path / "theirs.apk"), check=False)
    assert b"INSTALL_FAILED_UPDATE_INCOMPATIBLE" in refused.stdout + refused.stderr
    assert "versionCode:1" in pair.text("shell", "pm", "list", "packages", "--show-versioncode", "com.signed.app")
    assert "Success" in pair.text("uninstall", "com.signed.app")
    assert "Success" in pair.text("install", str(tmp_path / "theirs.apk"))
    pair("uninstall", "com.signed.app")


@pytest.mark.parametrize("scheme", [1, 2, 3])
def test_every_scheme_is_understood_and_shown(home: Path, scheme: int) -> None:
    async def main() -> None:
        async with running(home / "phone") as phone, await dial(phone) as adb:
            assert await _install(adb, apk(scheme=scheme)) == "Success"
            assert f"apkSigningVersion={scheme}\n" in (await adb.shell("dumpsys package com.myapp.test")).stdout.decode()

    asyncio.run(main())


def _changed(data: bytes, name: str, contents: bytes) -> bytes:
    """A file of a JAR-signed zip is another one, and nothing else."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(out, "w") as after:
        for one in before.namelist():
            after.writestr(one, contents if one == name else before.read(one))
    return out.getvalue()


def _without(data: bytes, name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(out, "w") as after:
        for one in before.namelist():
            if one != name:
                after.writestr(one, before.read(one))
    return out.getvalue()


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


_FILLED = apk(filling=3000)
_JAR = signed_v1(unsigned(filling=3000))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (_flipped(_FILLED, _FILLED.index(b"xxxx") + 100), NONE),  # the contents are not what was signed
        (_flipped(_FILLED, _FILLED.rindex(b"PK\1\2") + 20), NONE),  # nor the directory
        (_flipped(_FILLED, _FILLED.index(b"APK Sig Block 42") - 60), NONE),  # nor the key
        (_changed(_JAR, "assets/filling", b"y"), NONE),
        (_changed(_JAR, "META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\r\n\r\n"), NONE),
        (_changed(_JAR, "META-INF/CERT.RSA", b"\x30\x03\x02\x01\x00"), NONE),
        (_without(_JAR, "META-INF/CERT.SF"), NONE),
        (signed_v1(unsigned(), says="2"), NONE),  # a v2 signature was taken away
        (signed_v2(unsigned(), says_v3=True), NONE),  # a v3 one was
        (apk(scheme=1, facts=Facts(target_sdk=30)), NONE),  # new apps need more than JAR signing
        (apk(facts=Facts(test_only=True)), "INSTALL_FAILED_TEST_ONLY"),
        (apk(facts=Facts(libraries=("com.none.library",))), "INSTALL_FAILED_MISSING_SHARED_LIBRARY"),
        (apk("com.android.settings"), "INSTALL_FAILED_UPDATE_INCOMPATIBLE"),
    ],
)
def test_what_is_not_signed_as_it_must_be_is_refused(home: Path, data: bytes, code: str) -> None:
    async def main() -> None:
        async with running(home / "phone") as phone, await dial(phone) as adb:
            said = await _install(adb, data)
            assert said.startswith(f"Failure [{code}"), said
            assert (await adb.shell("pm list packages -3")).stdout == b""

    asyncio.run(main())


def test_files_that_a_jar_signature_does_not_name_are_refused(home: Path) -> None:
    out = io.BytesIO(_JAR)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("assets/more", b"more")

    async def main() -> None:
        async with running(home / "phone") as phone, await dial(phone) as adb:
            assert "INSTALL_PARSE_FAILED_INCONSISTENT_CERTIFICATES" in await _install(adb, out.getvalue())

    asyncio.run(main())


def test_a_rotated_key_may_update_what_its_lineage_names(home: Path) -> None:
    async def main() -> None:
        async with running(home / "phone") as phone, await dial(phone) as adb:
            assert await _install(adb, apk(signer="old")) == "Success"
            without_trust = signed_v2(unsigned(version_code=2), "new", schemes=(3,), lineage=["old"], flags=2)
            assert "UPDATE_INCOMPATIBLE" in await _install(adb, without_trust)
            rotated = signed_v2(unsigned(version_code=2), "new", schemes=(3,), lineage=["older", "old"])
            assert await _install(adb, rotated) == "Success"
            shown = (await adb.shell("dumpsys package com.myapp.test")).stdout.decode()
            assert shown.split("past signatures:[")[1].split("]")[0].count("flags") == 2
            assert "UPDATE_INCOMPATIBLE" in await _install(adb, signed_v2(unsigned(version_code=3), "third", schemes=(3,)))

    asyncio.run(main())


def test_splits_of_another_signer_do_not_belong(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "base.apk").write_bytes(apk("com.split.two"))
    (tmp_path / "de.apk").write_bytes(apk("com.split.two", split="config.de", signer="somebody else"))
    refused = pair("install-multiple", str(tmp_path / "base.apk"), str(tmp_path / "de.apk"), check=False)
    assert b"signatures are inconsistent" in refused.stdout + refused.stderr


def test_an_unsigned_package_that_was_pushed_is_none(home: Path) -> None:
    async def main() -> None:
        async with running(home / "phone") as phone, await dial(phone) as adb:
            await adb.push(unsigned("com.pushed.app"), "/data/app/com.pushed.app-1/base.apk")
            assert (await adb.shell("pm list packages -3")).stdout == b""

    asyncio.run(main())


def test_test_apps_are_installed_when_asked(home: Path) -> None:
    async def main() -> None:
        async with running(home / "phone") as phone, await dial(phone) as adb:
            data = apk(facts=Facts(test_only=True, debuggable=True, instrumentation="com.myapp.test.Runner"))
            assert await _install(adb, data, "-t") == "Success"
            listed = (await adb.shell("pm list instrumentation")).stdout
            assert listed == b"instrumentation:com.myapp.test/.Runner (target=com.myapp.test)\n"
            assert b"DEBUGGABLE HAS_CODE TEST_ONLY" in (await adb.shell("dumpsys package com.myapp.test")).stdout

    asyncio.run(main())
