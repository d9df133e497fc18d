"""`opencph status --watch` on a terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from e2e.running import StartUp
from opencph.fleet import findings
from opencph.store import processes
from opencph.store.database import open_database


class Terminal:
    """The command on a terminal of its own, and all that it has shown."""

    def __init__(self, data: Path, columns: int = 200, lines: int = 60) -> None:
        self._fd, end = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "opencph", "status", "--watch", "--data", str(data)],
            stdin=end,
            stdout=end,
            stderr=end,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "LINES": str(lines)},
        )
        os.close(end)
        self.shown = ""

    def until(self, text: str, seconds: float = 40.0) -> None:
        """Read on until `text` is shown after what was shown before."""
        seen, deadline = "", time.monotonic() + seconds
        while text not in seen:
            assert time.monotonic() < deadline, f"{text!r} is not shown: {seen[-2000:]!r}"
            if select.select([self._fd], [], [], 0.2)[0]:
                try:
                    seen += os.read(self._fd, 65536).decode(errors="replace")
                except OSError:  # the other end is closed
                    break
        self.shown += seen
        assert text in seen, f"it ended: {seen[-2000:]!r}"

    def interrupt(self) -> int:
        """Ctrl-C; its exit status."""
        self.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self._fd], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self._fd, 65536).decode(errors="replace")
                except OSError:
                    break
        status = self.process.wait(20)
        os.close(self._fd)
        return status


def test_the_table_lives_through_the_end_of_an_api_and_ends_with_ctrl_c(start: StartUp) -> None:
    cph = start()
    terminal = Terminal(cph.data)
    try:
        terminal.until("Processes")
        terminal.until("phones on")
        assert "not running" not in terminal.shown
        database = open_database(f"sqlite:///{cph.data / 'opencph.db'}")
        api = processes.alive(database, "api")[0].pid
        database.close()
        os.kill(cph.process.pid, signal.SIGSTOP)  # nobody starts another one
        os.kill(api, signal.SIGKILL)
        terminal.until("not running")
        os.kill(cph.process.pid, signal.SIGCONT)
        file, aside = cph.data / "opencph.db", cph.data / "aside"
        file.rename(aside)
        file.mkdir()  # no database any more: what it said last stays
        terminal.until("this is what it said last")
        file.rmdir()
        aside.rename(file)
        assert terminal.interrupt() == 0
    finally:
        os.kill(cph.process.pid, signal.SIGCONT)
        if terminal.process.poll() is None:
            terminal.process.kill()
            terminal.process.wait()
    assert "Traceback" not in terminal.shown and "\x1b[?1049l" in terminal.shown, "the terminal is as it was"


def test_on_a_small_terminal_lists_are_shorter_and_what_comes_after_them_is_there(start: StartUp) -> None:
    cph = start()
    database = open_database(f"sqlite:///{cph.data / 'opencph.db'}")
    with database.write() as tx:
        for number in range(20):
            findings.report(
                tx, "contradiction", f"number {number}: " + "what was found needs more than a line of this terminal " * 3
            )
    database.close()
    terminal = Terminal(cph.data, columns=110, lines=40)
    try:
        terminal.until("Found in the last 24 hours (the newest ")
        terminal.until("Capacity and quota")
        terminal.until("eips of ")
        assert terminal.interrupt() == 0
    finally:
        if terminal.process.poll() is None:
            terminal.process.kill()
            terminal.process.wait()


def test_where_there_is_no_terminal_it_is_shown_once(start: StartUp) -> None:
    cph = start()
    done = subprocess.run(
        [sys.executable, "-m", "opencph", "status", "--watch", "--data", str(cph.data)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Processes") == 1 and "\x1b" not in done.stdout
