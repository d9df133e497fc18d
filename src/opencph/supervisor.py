"""`opencph up`: prepares, forks api, worker and gateway, heals them, replaces them one by one, and ends them. Knows how parts
live, not what they do.

The parent stays single-threaded and never opens the database, so that it may fork at any time; what needs the database
before the parts run is done in a short-lived child while the parent imports what the parts share.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import structlog

import opencph
from opencph import handover, log
from opencph.children import Child, Ready, fork, how_it_ended, kill, sentence
from opencph.network_claim import NetworkTakenError, claim
from opencph.parts import PARTS, import_parts, run_part
from opencph.preparation import (
    OnlyOne,
    StartError,
    is_in_use,
    prepare_database,
    prepare_directories,
    write_credentials,
)
from opencph.pulse import LOOK_SECONDS, Watch, with_pulse
from opencph.restart_command import write_outcome
from opencph.service_manager import tell_ready
from opencph.settings import Settings
from opencph.sockets import ListenError, listen

STOP_SECONDS = 10.0
BACK_OFF_SECONDS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
STEADY_SECONDS = 60.0  # a part that lived so long starts its back-off anew
UPKEEP_SECONDS = 2.0
#: The signal on which `up` replaces its parts, and on which a part leaves because it is replaced.
REPLACE = signal.SIGUSR1

#: What becomes of the work of a part that is ended because it hangs.
HUNG_WORK = {
    "worker": "its jobs go on from their last recorded step",
    "gateway": "its connections are cut, phones run on",
    "api": "the requests it had are cut, clients may send them again",
}

_logger = structlog.get_logger("opencph.supervisor")


class _Ended(NamedTuple):
    """A part that is no more."""

    name: str
    error: str
    status: int  # as waitpid gives it
    lived_seconds: float
    expected: bool  # it was told to
    pid: int


class Supervisor:
    """The parts of one `opencph up`.

    `listening` is the HTTP endpoint, which every api accepts from; `lock` and `claimed` are held until all processes have ended.
    """

    def __init__(self, settings: Settings, listening: socket.socket, lock: OnlyOne, claimed: socket.socket) -> None:
        self.settings = settings
        self.listening = listening
        self.lock = lock
        self.claimed = claimed
        self.children: dict[int, Child] = {}
        self.restarts: dict[str, int] = {}
        self.due: dict[str, float] = {}  # part -> when it is started again
        self.stop_signals = 0
        self.replace_wanted = False
        self.worker_ran = False
        self._upkeep = time.monotonic() + UPKEEP_SECONDS
        self._watch = Watch(int(settings.hung_seconds / LOOK_SECONDS))
        self._selector = selectors.EpollSelector()
        self._wake_read, self._wake_write = os.pipe()
        for fd in (self._wake_read, self._wake_write):
            os.set_blocking(fd, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup stays nohup
                signal.signal(number, self._on_stop)
        signal.signal(REPLACE, self._on_replace)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, handover.SIGNALS)

    def _on_stop(self, _number: int, _frame: object) -> None:
        self.stop_signals += 1

    def _on_replace(self, _number: int, _frame: object) -> None:
        self.replace_wanted = True

    def start(self, name: str) -> Child:
        """Fork one part."""
        settings, listening = self.settings, self.listening

        def work(ready: Ready) -> None:
            log.configure(settings.log_level, process=name, directory=settings.log_directory, style=settings.log_format)
            if name == "api":
                run_part(name, settings, with_pulse(ready), listening=listening)
            else:
                listening.close()
                run_part(name, settings, with_pulse(ready))

        self.worker_ran = self.worker_ran or name == "worker"
        child = fork(name, work, self._descriptors())
        self.add(child)
        return child

    def add(self, child: Child) -> None:
        """Watch over a child."""
        self.children[child.pid] = child
        for fd in (child.pidfd, child.pipe):
            self._selector.register(fd, selectors.EVENT_READ, child)

    def in_child(self, name: str, work: Callable[[], None], meanwhile: Callable[[], None] = lambda: None) -> None:
        """Do `work` in a child and wait for it, doing `meanwhile` here. Raises StartError with the child's error."""
        child = fork(name, lambda ready: work(), [*self._descriptors(), self.listening.fileno()])
        try:
            meanwhile()
            while True:
                pid, status = os.waitpid(child.pid, os.WNOHANG)
                if pid:
                    break
                with selectors.DefaultSelector() as waiting:
                    waiting.register(child.pidfd, selectors.EVENT_READ)
                    waiting.register(self._wake_read, selectors.EVENT_READ)
                    waiting.select()
                if self.stop_signals:
                    os.kill(child.pid, signal.SIGKILL)
                    os.waitpid(child.pid, 0)
                    return
                self._drain_wake()
            child.listen()
            if status:
                raise StartError(child.error or f"{name} {how_it_ended(status)}")
        finally:
            child.close()

    def wait_until_ready(self) -> str:
        """The endpoint, once all parts answer; empty when told to stop before. Raises StartError."""
        deadline = time.monotonic() + self.settings.ready_timeout_seconds
        while not self.stop_signals:
            for ended in self._turn(max(0.0, deadline - time.monotonic())):
                raise StartError(f"the {ended.name}: {self._why(ended)}")
            if all(child.ready for child in self.children.values()):
                return next(child.endpoint for child in self.children.values() if child.endpoint)
            if time.monotonic() >= deadline:
                late = ", ".join(child.name for child in self.children.values() if not child.ready)
                raise self._late(late)
        return ""

    def watch(self) -> None:
        """Restart what dies until told to stop; replace everything when told to."""
        while not self.stop_signals:
            if self.replace_wanted:
                self.replace_wanted = False
                self._hand_over()
            self._step()

    def roll(self) -> None:
        """Replace the parts of the program before, one by one: the new one is ready before the old one is told to leave.

        Raises StartError when a new part does not get ready; the old one of it, and those after it, go on.
        """
        for name in PARTS:
            self.due.pop(name, None)
            old = [child for child in self.children.values() if child.name == name and not child.leaving]
            new = self.start(name)
            deadline = time.monotonic() + self.settings.ready_timeout_seconds
            while not (new.ready or self.stop_signals):
                for ended in self._step(deadline):
                    if ended.pid == new.pid:
                        raise StartError(f"the new {name}: {self._why(ended)}")
                if time.monotonic() >= deadline:
                    self._let_go(new, signal.SIGKILL, 0.0)
                    raise self._late(f"the new {name}")
            if self.stop_signals:
                return
            for child in old:
                if child.pid in self.children:
                    self._let_go(child, REPLACE, self.settings.drain_seconds + STOP_SECONDS)

    def stop(self) -> None:
        """End every part, and then the phones. Bounded: after STOP_SECONDS, or a second signal, parts are killed."""
        self.listening.close()
        self.due.clear()
        signals, deadline = self.stop_signals, time.monotonic() + STOP_SECONDS
        for child in self.children.values():
            child.leaving = True
            child.kill_at = deadline + 1.0
            kill(child.pid, signal.SIGTERM)
        while self.children:
            left = deadline - time.monotonic()
            if left <= 0 or self.stop_signals > max(signals, 1):
                for child in self.children.values():
                    kill(child.pid, signal.SIGKILL)
                    _logger.warning(f"the {child.name} did not stop; killed", pid=child.pid)
                left, deadline = 1.0, time.monotonic() + 1.0
            self._turn(left)
        if self.worker_ran and self.settings.runtime == "builtin":
            from opencph.runtimes.builtin import end_all

            end_all(self.settings.data)

    # --- healing ---

    def _step(self, deadline: float | None = None) -> list[_Ended]:
        """Wait for events until something is due, at most until `deadline`; heal. Returns the parts that ended."""
        leaving = [child.kill_at for child in self.children.values() if child.leaving]
        until = min([self._upkeep, self._watch.next_look, *self.due.values(), *leaving, *([] if deadline is None else [deadline])])
        all_ended = self._turn(max(0.0, until - time.monotonic()))
        for ended in all_ended:
            if ended.expected or any(child.name == ended.name and not child.leaving for child in self.children.values()):
                continue
            steady = ended.lived_seconds > STEADY_SECONDS
            count = self.restarts[ended.name] = 0 if steady else self.restarts.get(ended.name, -1) + 1
            pause = BACK_OFF_SECONDS[min(count, len(BACK_OFF_SECONDS) - 1)]
            self.due[ended.name] = time.monotonic() + pause
            why = f" ({ended.error})" if ended.error else ""
            when = f" in {pause:g} s" if pause else ""
            _logger.warning(f"the {ended.name} {how_it_ended(ended.status)}{why}; starting it again{when}")
        now = time.monotonic()
        for name in [name for name, when in self.due.items() if when <= now]:
            del self.due[name]
            try:
                self.start(name)
            except OSError as error:  # no process or no descriptor is left for it
                self.due[name] = now + BACK_OFF_SECONDS[-1]
                _logger.error(f"the {name} cannot be started: {sentence(error)}; tried again in {BACK_OFF_SECONDS[-1]:g} s")
        for child in self.children.values():
            if child.leaving and child.kill_at <= now:
                _logger.warning(f"the {child.name} that was replaced did not leave in time; killed", part_pid=child.pid)
                kill(child.pid, signal.SIGKILL)
                child.kill_at = now + STOP_SECONDS
        for child in self._watch.hanging(list(self.children.values())):
            silent = f"its event loop has not turned for {self._watch.looks} s"
            _logger.error(f"the {child.name} hangs, {silent}; killed: {HUNG_WORK[child.name]}", part_pid=child.pid)
            kill(child.pid, signal.SIGKILL)
        if now >= self._upkeep:
            self._upkeep = now + UPKEEP_SECONDS
            log.rotate(self.settings.log_directory)
            with suppress(OSError):  # the data directory is gone, or full; the next time will do
                self.lock.keep()
        return all_ended

    def _let_go(self, child: Child, number: int, seconds: float) -> None:
        """Tell a part to end, and kill it after so long."""
        child.leaving = True
        child.kill_at = time.monotonic() + seconds
        kill(child.pid, number)

    def _hand_over(self) -> None:
        """Become the program as it is installed now, which replaces the parts; or stay, and say why."""
        try:
            handover.try_out()
            handover.hand_over(
                handover.Left(
                    lock=self.lock.file,
                    directory=self.lock.directory,
                    listening=self.listening.fileno(),
                    claim=self.claimed.fileno(),
                    worker_ran=self.worker_ran,
                    parts=[handover.left_part(child) for child in self.children.values()],
                )
            )
        except (handover.TrialError, OSError) as error:
            self.tell_outcome(f"nothing is replaced: {sentence(error)}")

    def tell_outcome(self, why: str) -> None:
        """Write down whether every part was replaced, or why not."""
        pids = {child.name: child.pid for child in self.children.values() if not child.leaving}
        if why:
            _logger.error(why)
        else:
            _logger.info("every part is replaced", parts=pids)
        with suppress(OSError):
            write_outcome(self.settings, why, pids)

    # --- events ---

    def _why(self, ended: _Ended) -> str:
        return ended.error or f"{how_it_ended(ended.status)}; see {self.settings.log_directory}"

    def _late(self, what: str) -> StartError:
        return StartError(
            f"{what} not ready within {self.settings.ready_timeout_seconds} s; see {self.settings.log_directory}, "
            "or allow more with OPENCPH_READY_TIMEOUT_SECONDS"
        )

    def _descriptors(self) -> list[int]:
        """Those that are nobody else's."""
        return [
            self._wake_read,
            self._wake_write,
            self._selector.fileno(),
            *(fd for child in self.children.values() for fd in (child.pidfd, child.pipe)),
        ]

    def _drain_wake(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake_read, 4096)

    def _turn(self, seconds: float) -> list[_Ended]:
        """Wait for events, at most so long. Returns the parts that ended."""
        ended = []
        for key, _ in self._selector.select(seconds):
            child: Child | None = key.data
            if child is None:
                self._drain_wake()
            elif child.pid not in self.children:
                continue  # it ended in this very turn
            elif key.fd == child.pipe:
                was_ready = child.ready
                if not child.listen():
                    self._selector.unregister(child.pipe)
                if child.ready and not was_ready:
                    tell = _logger.warning if child.name in self.restarts else _logger.info
                    tell(f"the {child.name} is ready", part_pid=child.pid)
            else:
                _, status = os.waitpid(child.pid, 0)
                child.listen()
                for fd in (child.pidfd, child.pipe):
                    with suppress(KeyError):
                        self._selector.unregister(fd)
                child.close()
                del self.children[child.pid]
                lived = time.monotonic() - child.start
                ended.append(_Ended(child.name, child.error, status, lived, child.leaving, child.pid))
        return ended


def up(settings: Settings) -> int:
    """Run everything until SIGINT or SIGTERM; replace it on SIGUSR1. Returns the exit status; says in one sentence why it could
    not start."""
    if handover.is_trial():
        return 0
    left = handover.take()
    if left is not None:
        return _take_over(settings, left)
    supervisor: Supervisor | None = None
    try:
        # before anything is made; in a directory that is in use `OnlyOne` knows better why a port is taken
        listening = None if settings.run_directory.exists() or is_in_use(settings) else listen(settings.listen)
        prepare_directories(settings)
        log.configure(settings.log_level, process="up", directory=settings.log_directory, style=settings.log_format)
        log.rotate(settings.log_directory)
        lock = OnlyOne(settings)
        supervisor = Supervisor(settings, listening or listen(settings.listen), lock, claim(settings))
        _prepare(supervisor)
        if not supervisor.stop_signals:
            for name in PARTS:
                supervisor.start(name)
        endpoint = supervisor.wait_until_ready()
        if endpoint:
            supervisor.in_child("credentials", lambda: write_credentials(settings, endpoint))
        if not supervisor.stop_signals:
            _announce(settings, endpoint)
            tell_ready()
        supervisor.watch()
        supervisor.stop()
    except (StartError, NetworkTakenError, ListenError, OSError) as error:
        print(f"opencph cannot start: {sentence(error)}", file=sys.stderr)
        if supervisor is not None:
            supervisor.stop()
        return 1
    return 0


def _prepare(supervisor: Supervisor) -> None:
    settings = supervisor.settings
    supervisor.in_child("prepare", lambda: prepare_database(settings), meanwhile=lambda: import_parts(settings))
    gc.collect()
    gc.freeze()  # the pages of what was imported stay shared


def _take_over(settings: Settings, left: handover.Left) -> int:
    """Go on where the program before left off: replace its parts, or, when that fails, watch over them as they are."""
    log.configure(settings.log_level, process="up", directory=settings.log_directory, style=settings.log_format)
    listening, claimed = (socket.socket(fileno=descriptor) for descriptor in (left.listening, left.claim))
    listening.setblocking(False)  # Python takes it for blocking, and would make it so for everybody
    supervisor = Supervisor(settings, listening, OnlyOne(settings, (left.directory, left.lock)), claimed)
    supervisor.worker_ran = left.worker_ran
    for part in left.parts:
        supervisor.add(handover.child_of(part))
    try:
        _prepare(supervisor)
        supervisor.roll()
        supervisor.tell_outcome("")
    except (StartError, OSError) as error:
        supervisor.tell_outcome(f"not every part is replaced, and what was not goes on as it was: {sentence(error)}")
    supervisor.watch()
    supervisor.stop()
    return 0


def _announce(settings: Settings, endpoint: str) -> None:
    with suppress(OSError):  # whoever read our output may have gone
        print(f"OpenCPH {opencph.__version__}: region {settings.region}, data in {settings.data}")
        print(f"credentials for SDKs and scripts in {settings.data / 'credentials.json'}; stop with Ctrl-C")
        print(f"ready {endpoint}", flush=True)
