"""Writes the table of phone commands into docs/handset.md from `opencph.handset.commands.table`; `--check` compares only."""

from __future__ import annotations

import sys
from pathlib import Path

from opencph.handset.commands import preload
from opencph.handset.commands.table import TABLE, Entry

PAGE = Path(__file__).parent / "handset.md"
BEGIN, END = "<!-- commands: written by docs/handset_commands.py -->\n", "<!-- end of commands -->\n"
NAMES = {"package": "pm", "activity": "am", "package-list": "pm list"}
LEFT_OUT = frozenset((("pm", ""), ("am", ""), ("package", "list")))  # their sub-commands say it


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _rows() -> list[tuple[str, str, Entry]]:
    """Sub-commands that share a function share a row."""
    found: dict[tuple[str, int, str], list[str]] = {}
    entries: dict[tuple[str, int, str], Entry] = {}
    for command, subs in TABLE.items():
        for sub, one in subs.items():
            if (command, sub) in LEFT_OUT:
                continue
            key = (command, id(one.run), one.does)
            found.setdefault(key, []).append(sub)
            entries[key] = one
    rows = []
    for (command, run, does), names in found.items():
        words = f"{NAMES.get(command, command)} {', '.join(sorted(names))}".strip()
        rows.append((words, str(entries[command, run, does].spec), entries[command, run, does]))
    return sorted(rows, key=lambda row: row[0])


def table() -> str:
    """The table in Markdown."""
    preload()
    lines = ["| command | options | what it does |", "|---|---|---|"]
    for words, options, one in _rows():
        does = one.said if not one.refused else f"refused: {one.does}"
        lines.append(f"| `{words}` | {f'`{_cell(options)}`' if options else ''} | {_cell(does)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """The program."""
    text = PAGE.read_text()
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        print(f"{PAGE} lacks {BEGIN!r} or {END!r}")
        return 1
    fresh = f"{head}{BEGIN}{table()}{END}{tail}"
    if "--check" in sys.argv:
        if fresh != text:
            print(f"{PAGE} is not what the commands are: run python docs/handset_commands.py")
        return int(fresh != text)
    PAGE.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
