"""The documentation cannot drift: settings, commands, options, links and make targets are all there, and all true."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from opencph.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_the_settings_page_is_fresh() -> None:
    done = subprocess.run([sys.executable, ROOT / "docs/settings_page.py", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_section(name: str) -> None:
    assert f"\n## opencph {name}\n" in (ROOT / "docs/cli.md").read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_the_table_with_the_commands_that_have_it(name: str) -> None:
    rows = re.findall(r"^\| (`--.*?) \| (.*?) \|", (ROOT / "docs/cli.md").read_text(), re.MULTILINE)
    documented = {option: of for options, of in rows for option in re.findall(r"(--[a-z]+)", options)}
    for parameter in COMMANDS[name].params:
        option = parameter.opts[0]
        if option.startswith("--") and option != "--help":
            assert documented[option] == "all" or f"`{name}`" in documented[option], option


def test_the_table_names_no_option_that_a_command_lacks() -> None:
    rows = re.findall(r"^\| (`--.*?) \| (.*?) \|", (ROOT / "docs/cli.md").read_text(), re.MULTILINE)
    for options, of in rows:
        option = re.findall(r"--[a-z]+", options)[0]
        for name in re.findall(r"`([a-z]+)`", of):
            if name != "opencph":
                assert option in [o for parameter in COMMANDS[name].params for o in parameter.opts], (name, option)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_of_ours_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http://", "https://", "#", "mailto:")):
            assert (page.parent / target.split("#")[0]).exists(), target


def test_every_make_target_that_the_documentation_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for target in re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(), re.MULTILINE):
            assert target in targets, (page.name, target)


def test_every_dependency_is_explained_and_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    page = (ROOT / "docs/dependencies.md").read_text()
    pins = (ROOT / "constraints.txt").read_text().lower().replace("_", "-")
    for requirement in needed:
        name = re.split(r"[\[>=<]", requirement)[0]
        if name != "opencph":
            assert f"| {name} |" in page, name
            assert f"\n{name}==" in pins, name


def test_nothing_in_the_repository_names_an_address_to_download_packages_from() -> None:
    text = (ROOT / "constraints.txt").read_text() + (ROOT / "pyproject.toml").read_text() + (ROOT / "Makefile").read_text()
    assert "://" not in text.replace("postgresql://", "").replace("sqlite://", "")
