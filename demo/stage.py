"""What the demo stands on: printing, waiting with real progress, a stock adb of its own. Nothing of the story."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

T = TypeVar("T")
POLL_SECONDS = 0.1
ADB_SECONDS = 30.0


class DemoError(Exception):
    """Something is not as it must be. The message names it."""


class Stage:
    """Tells the story on the terminal and keeps the times."""

    def __init__(self, picture: Path | None = None) -> None:
        self.picture = picture
        self.console = Console(highlight=False, soft_wrap=True, record=picture is not None, width=100 if picture else None)
        self.times: list[tuple[str, float]] = []

    def chapter(self, title: str) -> None:
        """A new part of the story."""
        self.console.print()
        self.console.print(f"[bold]{escape(title)}[/]")

    def say(self, text: str) -> None:
        """A line of the story; rich markup allowed."""
        self.console.print(f"  {text}")

    def fact(self, name: str, value: object) -> None:
        """A name and what it is."""
        self.console.print(f"  [dim]{name:<18}[/] {escape(str(value))}")

    def save_picture(self) -> None:
        """Write what was printed as an SVG file, if one was asked for; it loads nothing from anywhere."""
        if self.picture is not None:
            frame = re.sub(r"@font-face \{\{.*?\n    \}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
            self.picture.write_text(self.console.export_svg(title="make demo", code_format=frame))

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Keep how long the block took, for the summary."""
        start = time.monotonic()
        yield
        self.times.append((what, time.monotonic() - start))

    def expect(self, what: str, found: object, wanted: object) -> None:
        """Raises DemoError when `found` is not `wanted`; else says that it is right."""
        if found != wanted:
            raise DemoError(f"{what}: expected {wanted!r}, found {found!r}")
        self.console.print(f"  [green]✓[/] {what}")

    def wait(self, text: str, total: int, look: Callable[[], tuple[int, bool]], seconds: float) -> None:
        """Show real progress until `look()` says (done so far, finished). Raises DemoError after `seconds`."""
        deadline = time.monotonic() + seconds
        if not self.console.is_terminal:
            return self._wait_plainly(text, total, look, deadline)
        text_first = (TextColumn("  "), SpinnerColumn(), TextColumn("{task.description}"))
        columns = (*text_first, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(text, total=total)
            while True:
                done, finished = look()
                progress.update(task, completed=done)
                if finished:
                    return None
                self._check(text, done, total, deadline)

    def _wait_plainly(self, text: str, total: int, look: Callable[[], tuple[int, bool]], deadline: float) -> None:
        last = -1
        while True:
            done, finished = look()
            if done != last:
                self.console.print(f"  {text}: {done}/{total}")
                last = done
            if finished:
                return
            self._check(text, done, total, deadline)

    def _check(self, text: str, done: int, total: int, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise DemoError(f"{text}: {done} of {total} when the time was up")
        time.sleep(POLL_SECONDS)


class Adb:
    """The machine's own adb program, with a server of its own that ends with the demo."""

    def __init__(self) -> None:
        path = shutil.which("adb")
        if path is None:
            raise DemoError("no adb program: sudo apt-get install adb")
        self.path = path
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def __call__(self, *arguments: str) -> str:
        """Run adb; returns what it printed. Raises DemoError when it fails."""
        environment = {**os.environ, "ANDROID_ADB_SERVER_PORT": str(self.port)}
        try:
            done = subprocess.run(
                [self.path, *arguments], capture_output=True, text=True, timeout=ADB_SECONDS, env=environment, check=False
            )
        except subprocess.TimeoutExpired:
            raise DemoError(f"adb {' '.join(arguments)}: no answer in {ADB_SECONDS:g} s") from None
        if done.returncode:
            raise DemoError(f"adb {' '.join(arguments)}: status {done.returncode}, {(done.stdout + done.stderr).strip()}")
        return done.stdout.strip()

    def close(self) -> None:
        """End its server."""
        self("kill-server")
