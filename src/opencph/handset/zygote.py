"""The zygote: a small process that has imported what phones share and forks a host whenever it is asked. Carries no phones.

`python -m opencph.handset.zygote RUN_DIRECTORY` becomes nobody's child, writes `ready` to its standard output and stays.
It ends on SIGTERM and when its run directory is deleted; the hosts go on.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

from opencph.handset import control, host, log_lines
from opencph.handset.phone import preload

_logger = logging.getLogger("opencph.handset.zygote")


def name_process(name: str) -> None:
    """What `ps -o comm` shows, at most 15 bytes."""
    with suppress(OSError):
        Path("/proc/self/comm").write_bytes(name.encode()[:15])


def main() -> None:
    """Detach, be the only zygote of this run directory, fork hosts until told to end."""
    run = Path(sys.argv[1])
    if os.fork():
        os._exit(0)  # who started us must not have to bury us
    log_lines.configure()
    try:
        lock = host.take_lock(run / control.ZYGOTE_LOCK)
        listener = control.listen(run / control.ZYGOTE_SOCKET)
    except (host.HostTakenError, OSError) as error:
        sys.exit(f"the zygote cannot start: {error}")
    name_process("cph-zygote")
    host.raise_descriptor_limit()
    preload()
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    quiet = os.open(os.devnull, os.O_RDWR)
    os.dup2(quiet, 0)
    os.dup2(2, 1)
    os.close(quiet)
    _Zygote(run, listener, lock).serve()


class _Zygote:
    def __init__(self, run: Path, listener: socket.socket, lock: int) -> None:
        self._run = run
        self._listener = listener
        self._lock = lock
        self._ending = False
        self._children: dict[int, str] = {}
        self._asking: dict[int, tuple[socket.socket, bytearray]] = {}

    def serve(self) -> None:
        """Fork on request. Signals only wake the wait below; the work is done here, between requests."""
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGIO):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        host.watch_deletion(self._run, lambda: None)
        os.write(wake_write, b"\0")  # it may be gone already
        poll = select.poll()
        poll.register(wake_read, select.POLLIN)
        poll.register(self._listener, select.POLLIN)
        while not self._ending:
            ready = {fd for fd, _ in poll.poll()}
            if wake_read in ready:
                with suppress(BlockingIOError):
                    os.read(wake_read, 4096)
                self._reap()
                if not self._is_the_one():
                    return
            if self._listener.fileno() in ready:
                connection, _ = self._listener.accept()
                connection.setblocking(False)
                self._asking[connection.fileno()] = connection, bytearray()
                poll.register(connection, select.POLLIN)
            for fd in ready & self._asking.keys():
                connection, received = self._asking[fd]
                if self._is_heard(connection, received):
                    poll.unregister(fd)
                    self._answer(connection, received, (wake_read, wake_write))
                    del self._asking[fd]
                    connection.close()
        (self._run / control.ZYGOTE_SOCKET).unlink(missing_ok=True)

    def _is_the_one(self) -> bool:
        """Whether the lock is where others look for it; without it nobody finds us, and another may be there."""
        try:
            return os.path.samestat((self._run / control.ZYGOTE_LOCK).stat(), os.fstat(self._lock))
        except OSError:
            return False

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGTERM:
            self._ending = True

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            home = self._children.pop(pid, "?")
            if status:
                _logger.warning("host %d of %s ended with %d", pid, home, os.waitstatus_to_exitcode(status))

    @staticmethod
    def _is_heard(connection: socket.socket, received: bytearray) -> bool:
        """Take what came. True when there is nothing more to wait for."""
        try:
            piece = connection.recv(65536)
            received += piece
            return not piece or control.take_body(received) is not None
        except BlockingIOError:
            return False
        except (OSError, control.ControlError):
            return True

    def _answer(self, connection: socket.socket, received: bytearray, close: tuple[int, ...]) -> None:
        if not control.may_command(connection):
            return
        try:
            request = control.decode_request(control.take_body(received) or b"")
            if not isinstance(request, control.Fork):
                raise control.ControlError(f"a zygote cannot {type(request).__name__}")
            pid = os.fork()
        except (control.ControlError, OSError) as error:
            with suppress(OSError):
                connection.sendall(control.frame(control.Reply(error=f"no host could be forked: {error}")))
            return
        if pid:
            self._children[pid] = request.home
            return
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGIO, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            for fd in (*close, self._lock):
                os.close(fd)
            for other, _ in self._asking.values():
                if other is not connection:
                    other.close()
            self._listener.close()
            os.setsid()
            self._children.clear()
            home = Path(request.home)
            name_process(f"cph-{home.name}")

            def answer(reply: control.Reply) -> None:
                with suppress(OSError):
                    connection.sendall(control.frame(reply))
                connection.close()

            host.run_host(home, self._run / request.socket, answer)
            status = 0
        except BaseException:
            _logger.exception("host of %s", request.home)
        finally:
            os._exit(status)


if __name__ == "__main__":
    main()
