"""An APK from anywhere costs little to look at: what is too large to be unpacked is refused in words before it is unpacked."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

_RUN = """
import runpy, sys
try:
    runpy.run_module("opencph.handset.apk", run_name="__main__")
finally:
    print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
"""


def read(path: Path) -> tuple[int, str, int]:
    """Exit code, output and peak memory in KiB of the program that reads APKs."""
    with path.open("rb") as apk:
        done = subprocess.run([sys.executable, "-c", _RUN], stdin=apk, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, int(done.stderr.split("VmHWM:")[1].split()[0])


@pytest.mark.parametrize("part", ["AndroidManifest.xml", "resources.arsc"])
def test_a_bomb_is_refused_before_it_is_unpacked(part: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.apk", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("AndroidManifest.xml", "w") as manifest:
            manifest.write(b"\x03\x00\x08\x00")
        if part != "AndroidManifest.xml":
            with archive.open(part, "w") as contents:
                for _ in range(256):
                    contents.write(bytes(1 << 20))
    if part == "AndroidManifest.xml":
        with (
            zipfile.ZipFile(tmp_path / "bomb.apk", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
            archive.open(part, "w") as contents,
        ):
            for _ in range(256):
                contents.write(bytes(1 << 20))
    code, output, peak = read(tmp_path / "bomb.apk")
    assert code == 1
    assert f"its {part} unpacks to {256 << 20} bytes: at most" in output
    assert peak < 256 << 10


def test_a_zip_that_says_less_than_it_holds_is_not_unpacked_either(tmp_path: Path) -> None:
    path = tmp_path / "liar.apk"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("AndroidManifest.xml", "w") as out,
    ):
        for _ in range(256):
            out.write(bytes(1 << 20))
    path.write_bytes(path.read_bytes().replace((256 << 20).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    code, output, peak = read(path)
    assert code == 1 and output.strip()
    assert peak < 256 << 10


def test_a_zip_without_a_manifest_and_no_zip_at_all_are_named_so(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "none.apk", "w") as archive:
        archive.writestr("other", "x")
    assert "there is no AndroidManifest.xml in it" in read(tmp_path / "none.apk")[1]
    (tmp_path / "text.apk").write_text("PK")
    assert "no zip archive that can be read" in read(tmp_path / "text.apk")[1]
