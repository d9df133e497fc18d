"""`python -m fuzz [TARGET...] [--seconds N] [--corpus DIR]`: run targets one by one, print a table, keep what broke them."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from fuzz import phone_targets, targets, tunnel_target
from fuzz.targets import Target

ALL: dict[str, Target] = {**targets.TARGETS, **phone_targets.TARGETS, **tunnel_target.TARGETS}
INPUT_SECONDS = 60  # one input may take so long
MEMORY_MB = 2048


def run(name: str, seconds: int, corpus: Path, found: Path) -> bool:
    """Fuzz one target; whether nothing was found."""
    target = ALL[name]
    directory = corpus / name
    directory.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (directory / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    found.mkdir(parents=True, exist_ok=True)
    options = {
        "max_total_time": seconds,
        "max_len": target.longest,
        "timeout": INPUT_SECONDS,
        "rss_limit_mb": MEMORY_MB,
        "artifact_prefix": f"{found}/{name}-",
        "print_final_stats": 1,
    }
    words = [sys.executable, "-m", "fuzz.one", name, str(directory), *(f"-{key}={value}" for key, value in options.items())]
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    said = done.stdout + done.stderr
    inputs = re.search(r"number_of_executed_units: (\d+)", said)
    covered = re.findall(r"cov: (\d+)", said)
    broke = re.search(r"Test unit written to (\S+)", said)
    print(
        f"{name:<18}{inputs[1] if inputs else '?':>12}{covered[-1] if covered else '?':>10}  {broke[1] if broke else 'nothing'}",
        flush=True,
    )
    if done.returncode:
        at = said.find("Uncaught Python exception")
        print(said[at : at + 4000] if at >= 0 else said[-2000:], flush=True)
    return done.returncode == 0


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(ALL))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--corpus", type=Path, help="where inputs that lead somewhere new are kept; without, nowhere")
    parser.add_argument("--found", type=Path, default=Path("fuzz-found"), help="where inputs that broke a target are kept")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(ALL):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).parent.parent))
    print(f"{'target':<18}{'inputs':>12}{'covered':>10}  found")
    with tempfile.TemporaryDirectory(prefix="ocph-fuzz-") as scratch:
        results = [run(name, options.seconds, options.corpus or Path(scratch), options.found) for name in options.targets or ALL]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
