"""A row of the table of numbers, the table itself, and docs/numbers.md. Measures nothing."""

from __future__ import annotations

import os
import platform
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

PAGE = Path(__file__).parents[1] / "docs" / "numbers.md"

INTRODUCTION = """\
# Numbers

<!-- The tables are written by `make bench`. -->

`make bench` measures these on your machine, `make bench ROWS="buy change"` some of them. Rates and times depend on the
machine and on what else it does, so each row also has a reference measured in the same run, right before or after; every
figure is the median of several rounds.
"""


@dataclass(frozen=True)
class Row:
    """One line: what was measured, beside a reference measured in the same run."""

    what: str
    measured: str
    reference: str
    ratio: str
    target: str
    ok: bool


def seconds(value: float) -> str:
    """A time, for reading."""
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value:.2f} s"


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def machine() -> str:
    """The machine and how busy it was, in one line."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} x {model[1] if model else platform.machine()}, {memory:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}; load average {os.getloadavg()[0]:.1f} at the end"
    )


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("what", "measured", "reference", "ratio", "target", "ok"):
        table.add_column(column)
    for row in rows:
        mark = "[green]yes[/]" if row.ok else "[red]no[/]"
        table.add_row(row.what, row.measured, row.reference, row.ratio, row.target, mark)
    console = Console(highlight=False)
    Console(width=max(console.width, 180), highlight=False).print(table)


def write_page(rows: Sequence[Row], page: Path = PAGE) -> None:
    """Put the rows into docs/numbers.md: rows of the same name are replaced, the others stay."""
    lines: dict[str, str] = {}
    if page.is_file():
        for line in page.read_text().splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if line.startswith("| ") and cells[0] != "what":
                lines[cells[0]] = line
    day = time.strftime("%Y-%m-%d")
    for row in rows:
        ok = "yes" if row.ok else "**no**"
        lines[row.what] = f"| {row.what} | {row.measured} | {row.reference} | {row.ratio} | {row.target} | {ok} | {day} |"
    head = "| what | measured | reference | ratio | target | ok | day |\n|---|---|---|---|---|---|---|\n"
    page.write_text(f"{INTRODUCTION}\nMachine of the last run: {machine()}.\n\n{head}" + "\n".join(lines.values()) + "\n")
