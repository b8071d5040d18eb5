"""What this machine's GPU makes of the seed models, in true size and with random weights.

    python -m benchmarks.gpu [--out FOLDER] [--on-cpu] [PART …]

Each part runs in a process of its own with so many seconds; what one has measured is written down
at once, so nothing is lost when a part fails. A table comes last. Parts: those in PARTS, which are
what is run if none is named. --on-cpu takes tiny models: only to see that this program runs.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.gpu.run import Run

ROOT = Path(__file__).parents[2]
# Seconds for each part.
PARTS = {
    "ceilings": 40, "text:qwen3-8b": 200, "text:gemma3:4b": 90, "text:deepseek-r1": 90,
    "picture:sdxl": 80, "picture:zimage": 90, "picture:wan-t2v": 100, "picture:flux-schnell": 120,
    "rival:qwen3-8b": 120, "whole": 240,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "data/gpu")))
    parser.add_argument("--weights", type=Path, default=Path("/dev/shm/modelpilot"))
    parser.add_argument("--on-cpu", action="store_true")
    parser.add_argument("--child", action="store_true")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.child:
        run = Run(asked.parts[0], asked.out, asked.weights, asked.on_cpu)
        kind, _, name = run.part.partition(":")
        importlib.import_module(f"benchmarks.gpu.{kind}").measure(run, name)
        return 0
    figures = asked.out / "figures.jsonl"
    figures.unlink(missing_ok=True)
    for part in asked.parts or PARTS:
        play(part, asked)
    rows = [json.loads(line) for line in figures.read_text().splitlines()]
    for part, what, value in rows:
        print(f"{part:22} {what:46} {value}")
    return int(any("FAILED" in what for _, what, _ in rows))


def play(part: str, asked: argparse.Namespace) -> None:
    """A part in a process of its own."""
    run = Run(part, asked.out, asked.weights, asked.on_cpu)
    command = [sys.executable, "-m", "benchmarks.gpu", "--child", part, "--out", str(asked.out)]
    command += ["--weights", str(asked.weights), *(["--on-cpu"] if asked.on_cpu else [])]
    begun = time.perf_counter()
    with open(asked.out / f"{part.replace(':', '-')}.log", "w") as log:
        try:
            done = subprocess.run(
                command, cwd=ROOT, stdout=log, stderr=log, timeout=PARTS.get(part, 120),
                env={**os.environ, "PYTHONUNBUFFERED": "1"}, check=False,
            )  # fmt: skip
            if done.returncode:
                run.note("process FAILED", f"exit status {done.returncode}, see its log")
        except subprocess.TimeoutExpired:
            run.note("process FAILED", "ran out of time")
    run.note("whole part, s", time.perf_counter() - begun)


if __name__ == "__main__":
    sys.exit(main())
