"""The parts of an installation: which there are, and how one runs in this process. Who forks and heals them is `supervisor`'s."""

from __future__ import annotations

import os
import socket
import sys
import traceback
from contextlib import suppress
from importlib import import_module

import structlog

from opencph import log
from opencph.children import Ready, sentence
from opencph.network_claim import claim
from opencph.preparation import prepare_database, prepare_directories, write_credentials
from opencph.service_manager import tell_ready
from opencph.settings import Settings
from opencph.sockets import listen

#: name -> module and function. Each runs until SIGTERM and calls `ready` once it serves.
PARTS = {
    "worker": ("opencph.worker", "run_worker"),
    "gateway": ("opencph.gateway.process", "run_gateway"),
    "api": ("opencph.api.process", "run_api"),
}

_logger = structlog.get_logger("opencph.supervisor")


def run_part(name: str, settings: Settings, ready: Ready, **more: object) -> None:
    """Run one part in this process until it is told to stop."""
    module, function = PARTS[name]
    getattr(import_module(module), function)(settings, ready, **more)


def import_parts(settings: Settings) -> None:
    """What the parts share is imported once, before they are forked."""
    for module, _ in PARTS.values():
        import_module(module)
    if settings.database_url.startswith("postgres"):
        with suppress(ImportError):  # the child that opens the database says what is missing
            import_module("opencph.store.postgresql")


def run_alone(name: str, settings: Settings) -> int:
    """`opencph api|worker|gateway`: one part in this process, beside others that share its database."""
    try:
        more = {"listening": _activated() or listen(settings.listen)} if name == "api" else {}
        network = None if name == "api" else claim(settings)  # an api opens none of those addresses
        prepare_directories(settings)
        log.configure(settings.log_level, process=name, directory=settings.log_directory, style=settings.log_format)
        prepare_database(settings, part=name)

        def ready(endpoint: str = "") -> None:
            if endpoint:
                write_credentials(settings, endpoint)
            print(f"ready {endpoint or name}", flush=True)
            tell_ready()

        run_part(name, settings, ready, **more)
        if network is not None:
            network.close()
    except KeyboardInterrupt:
        return 0
    except Exception as error:
        if not type(error).__module__.startswith("opencph.") and not isinstance(error, OSError):
            _logger.error(f"{name} failed", exception=traceback.format_exc())
        print(f"opencph {name} cannot run: {sentence(error)}", file=sys.stderr)
        return 1
    return 0


def _activated() -> socket.socket | None:
    """The socket that systemd listens on for us (sd_listen_fds(3)); it stays while api processes come and go."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        return None
    listening = socket.socket(fileno=3)
    listening.set_inheritable(False)
    listening.setblocking(False)
    return listening
