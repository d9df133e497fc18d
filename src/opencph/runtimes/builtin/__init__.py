"""The runtime of light phones on this machine: one host process per generation, forked by a zygote. Phones live in `handset`."""

from opencph.runtimes.builtin.processes import end_all
from opencph.runtimes.builtin.runtime import BuiltinRuntime

__all__ = ["BuiltinRuntime", "end_all"]
