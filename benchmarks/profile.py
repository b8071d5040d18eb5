"""Where the CPU time of a request goes: py-spy on the web process and the pod under load.

Only threads that hold the interpreter's lock are sampled. Samples become milliseconds for each
request through the CPU time that the process really used.
"""

import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import load
from benchmarks.stack import ROOT, BenchmarkError, Stack, table

MODEL = "echo:paced"
CLIENTS = 16
SECONDS = 12.0
LINES = 35
# A function in more than this share of the samples is only on the way to everything.
BORING = 0.6
OURS = ("modelpilot/", "billing/", "inference/")


def benchmark(system: Stack) -> int:
    """Print two tables for each part, by own time and with everything that was called."""
    load.run(system, MODEL, clients=CLIENTS, stream=True, seconds=2.0)
    for part in ("web", "pod"):
        profile(system, part)
    return 0


def profile(system: Stack, part: str) -> None:
    processes = system.processes()[part]
    before = system.cpu_s()[part]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:
        path = Path(folder) / "stacks"
        recording = pool.submit(record, processes[-1].pid, path)
        tally = load.run(system, MODEL, clients=CLIENTS, stream=True, seconds=SECONDS)
        recording.result()
        stacks = read(path)
    ms = (system.cpu_s()[part] - before) / max(1, tally.count) * 1000
    samples = sum(stacks.values())
    own: Counter[str] = Counter()
    cumulative: Counter[str] = Counter()
    for frames, count in stacks.items():
        own[frames[-1]] += count
        cumulative.update(dict.fromkeys(frames, count))
    ours = Counter({name: n for name, n in cumulative.items() if is_ours(name)})
    theirs = Counter(
        {name: n for name, n in cumulative.items() if not is_ours(name) and n < samples * BORING}
    )
    print(f"\n{part}: {ms:.2f} ms of CPU for each of {tally.count} requests ({samples} samples)")
    for title, counts in (
        ("own time", own),
        ("our functions with what they call", ours),
        ("others' functions with what they call", theirs),
    ):
        rows = [[name, f"{n / samples * ms:.3f}"] for name, n in counts.most_common(LINES)]
        print(f"\n{table([f'{part}, {title}', 'ms'], rows)}")


def is_ours(name: str) -> bool:
    return name.rpartition("(")[2].startswith(OURS)


def record(pid: int, path: Path) -> None:
    py_spy = Path(sys.executable).with_name("py-spy")
    options = f"record --pid {pid} --duration {SECONDS:.0f} --rate 200 --format raw --gil"
    done = subprocess.run(
        [py_spy, *options.split(), "--output", path], capture_output=True, text=True, check=False
    )
    if done.returncode or not path.exists():
        raise BenchmarkError(f"py-spy failed: {done.stderr}")


def read(path: Path) -> dict[tuple[str, ...], int]:
    """Collapsed stacks; lines of one function are one frame."""
    stacks: Counter[tuple[str, ...]] = Counter()
    for line in path.read_text().splitlines():
        frames, _, count = line.rpartition(" ")
        stacks[tuple(short(frame) for frame in frames.split(";"))] += int(count)
    return stacks


def short(frame: str) -> str:
    """`function (package/file.py)`, without the line number and the path before the package."""
    name, _, place = frame.rpartition(" (")
    file = place.rstrip(")").rpartition(":")[0] or place.rstrip(")")
    for prefix in (f"{ROOT}/", "site-packages/"):
        file = file.rpartition(prefix)[2]
    return f"{name} ({file})"
