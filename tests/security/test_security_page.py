"""docs/security.md names tests and fuzz targets: they must be there."""

from __future__ import annotations

import re
from pathlib import Path

from fuzz.__main__ import ALL

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text()


def test_every_test_file_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"[\w/]*test_\w+\.py", PAGE))
    assert len(named) > 15
    missing = []
    for name in named:
        places = [ROOT / name] if "/" in name else [*(ROOT / "tests").glob(f"*/{name}")]
        if not any(place.is_file() for place in places):
            missing.append(name)
    assert missing == []


def test_every_part_of_ours_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`((?:api|iam|wire|fleet|gateway|handset)/\w+\.py)`", PAGE))
    assert [name for name in named if not (ROOT / "src/opencph" / name).is_file()] == []


def test_every_fuzz_target_is_named_where_it_guards_something() -> None:
    named = {
        target for text in re.findall(r"fuzz targets? ((?:`[\w-]+`(?:, )?)+)", PAGE) for target in re.findall(r"`([\w-]+)`", text)
    }
    assert named <= set(ALL)
    assert set(ALL) - named <= {"properties", "policies", "public-keys", "routes", "object-bodies"}
