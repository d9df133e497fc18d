"""Which runtime the settings name. The runtimes themselves live beside it and are imported when they are chosen."""

from __future__ import annotations

from opencph.runtimes import Runtime
from opencph.settings import Settings, SettingsError


def make_runtime(settings: Settings) -> Runtime:
    """The runtime that the settings name. Raises SettingsError when there is none of that name."""
    if settings.runtime == "builtin":
        from opencph.runtimes.builtin import BuiltinRuntime

        return BuiltinRuntime(settings.data, boots_at_once=settings.boots_at_once, phone_network=settings.phone_network)
    raise SettingsError(f"runtime {settings.runtime!r} is not known; use builtin")
