"""One target under atheris, as a process: `python -m fuzz.one TARGET`, then libFuzzer's options. What runs it is `__main__`."""

from __future__ import annotations

import sys

import atheris


def main() -> None:
    """Instrument ours as it is imported, then fuzz."""
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["opencph"]):
        from fuzz.__main__ import ALL

    atheris.Setup(sys.argv, ALL[name].run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
