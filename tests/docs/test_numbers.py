"""docs/numbers.md as `make bench` writes it."""

from __future__ import annotations

from pathlib import Path

from bench.table import Row, write_page


def test_a_row_measured_again_replaces_its_line_and_leaves_the_others(tmp_path: Path) -> None:
    page = tmp_path / "numbers.md"
    first = [Row("a", "1 s", "2 s", "0.5", "<= 1 s", True), Row("b", "3 s", "2 s", "1.5", "<= 1 s", False)]
    write_page(first, page)
    write_page([Row("b", "0.5 s", "2 s", "0.25", "<= 1 s", True)], page)
    lines = [line.rsplit(" | ", 1)[0] for line in page.read_text().splitlines() if line.startswith("| ")]
    assert lines[1:] == ["| a | 1 s | 2 s | 0.5 | <= 1 s | yes", "| b | 0.5 s | 2 s | 0.25 | <= 1 s | yes"]
