"""One target under atheris, as a process: `python -m fuzz.one TARGET`, then libFuzzer's options. What runs it is `__main__`."""

from __future__ import annotations

import sys

import atheris


def main() -> None:
    """Instrument ours as it is imported, then fuzz."""
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["opencph"]):
        from fuzz import phone_targets, targets, tunnel_target

    found = {**targets.TARGETS, **phone_targets.TARGETS, **tunnel_target.TARGETS}[name]
    atheris.Setup(sys.argv, found.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
