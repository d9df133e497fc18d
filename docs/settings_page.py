"""Writes docs/settings.md from the annotations in `opencph.settings`. `--check` only says whether the page is stale."""

from __future__ import annotations

import sys
from pathlib import Path

from opencph.settings import ENVIRONMENT_PREFIX, specifications

PAGE = Path(__file__).with_name("settings.md")

INTRODUCTION = """\
# Settings

<!-- Made by `python docs/settings_page.py` from src/opencph/settings.py. Do not edit. -->

Every setting can be said in four places; a later one wins:

1. the default below,
2. a TOML file, named by `--config FILE` or `OPENCPH_CONFIG`: `ssh_port = 2222`,
3. an environment variable: `OPENCPH_SSH_PORT=2222`,
4. a command-line option, for those in [cli.md](cli.md).

A name in the file that is no setting is refused, and so is a variable that is nearly one. Any other `OPENCPH_` variable is told on
stderr and does nothing.

A value that cannot be used is refused at start with one sentence that names it.

| setting | default | meaning |
|---|---|---|
"""


def page() -> str:
    """The whole page."""
    rows = []
    for one in specifications():
        bounds = f" ({one.accepted}.)" if one.type is int else ""
        default = f"`{one.default}`" if one.default != "" else "empty"
        variable = ENVIRONMENT_PREFIX + one.name.upper()
        rows.append(f"| `{one.name}`<br>`{variable}` | {default} | {one.description}{bounds} |\n")
    return INTRODUCTION + "".join(rows)


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit(
            0 if PAGE.is_file() and PAGE.read_text() == page() else "docs/settings.md is stale: run python docs/settings_page.py"
        )
    PAGE.write_text(page())
