"""What a request costs and how long it takes, through the whole platform: `make bench`.

Every request is a paid chat completion of 20 tokens: key, hold, job row, bell, pod, events,
settlement. See README.md beside this file for what the columns mean.
"""

import argparse
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import beside, load, memory, profile, stack, streams
from benchmarks.stack import BenchmarkError, Stack, table

COLUMNS = ["web", "pod", "PostgreSQL", "Valkey"]
BACKLOG = 500
WARM_UP_S = 1.5


@dataclass(frozen=True)
class Cell:
    model: str
    stream: bool
    clients: int

    @property
    def name(self) -> str:
        return f"{self.model.removeprefix('echo:')}, {'streamed' if self.stream else 'whole'}"


def measure(system: Stack, cell: Cell, seconds: float) -> tuple[list[str], list[str]]:
    """One row of the table, and what went wrong."""
    load_of(system, cell, WARM_UP_S)
    before, ours = system.cpu_s(), time.process_time()
    tally = load_of(system, cell, seconds)
    generator_s = time.process_time() - ours
    cpu = {part: used - before.get(part, 0.0) for part, used in system.cpu_s().items()}
    count = max(1, tally.count)
    row = [
        cell.name,
        str(cell.clients),
        f"{tally.count / tally.elapsed_s:.0f}",
        *(f"{percentile(tally.first_s, p):.0f}" for p in (50, 95)),
        *(f"{percentile(tally.total_s, p):.0f}" for p in (50, 95)),
        *(f"{cpu.get(part, 0.0) / count * 1000:.2f}" for part in COLUMNS),
        f"{generator_s / count * 1000:.2f}",
        f"{tally.pieces / count:.1f}",
        str(len(tally.errors)),
    ]
    return row, tally.errors


def load_of(system: Stack, cell: Cell, seconds: float) -> load.Tally:
    return load.run(system, cell.model, clients=cell.clients, stream=cell.stream, seconds=seconds)


def percentile(seconds: list[float], percent: int) -> float:
    """In milliseconds."""
    if len(seconds) < 2:
        return seconds[0] * 1000 if seconds else 0.0
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1] * 1000


def pod_alone(system: Stack, model: str) -> list[str]:
    """The pod with a queue that is full from the start: no web process, no client."""
    drain_backlog(system, model, 1)
    before = system.cpu_s()
    seconds = drain_backlog(system, model, BACKLOG)
    cpu = system.cpu_s()
    return [
        model.removeprefix("echo:"),
        f"{BACKLOG / seconds:.0f}",
        f"{(cpu['pod'] - before['pod']) / BACKLOG * 1000:.2f}",
    ]


def drain_backlog(system: Stack, model: str, count: int) -> float:
    code = f"from benchmarks.backlog import drain; drain({model!r}, {count})"
    return float(system.manage("shell", "--no-imports", "-c", code))


def idle(system: Stack, seconds: float) -> str:
    """What the parts use while nobody asks for anything, in thousandths of a core."""
    before = system.cpu_s()
    time.sleep(seconds)
    after = system.cpu_s()
    parts = {part: (used - before.get(part, 0.0)) / seconds for part, used in after.items()}
    return ", ".join(f"{part} {share * 1000:.0f}" for part, share in parts.items())


def platform_benchmark(system: Stack, arguments: argparse.Namespace) -> int:
    """Print the tables; returns the number of errors."""
    header = (
        "answers|clients|req/s|first p50|first p95|total p50|total p95|"
        "web|pod|PostgreSQL|Valkey|generator|pieces|errors"
    ).split("|")
    rows, errors = [], []
    cells = [
        Cell(f"echo:{pace}", stream, clients)
        for pace, stream in (("fast", True), ("fast", False), ("paced", True))
        for clients in arguments.clients
    ]
    for cell in cells:
        say(f"{cell.name}, {cell.clients} clients ...")
        row, wrong = measure(system, cell, arguments.seconds)
        rows.append(row)
        errors += wrong
    print("\nTimes in ms; web to generator: ms of CPU for each request.\n")
    print(table(header, rows))
    say("The pod alone ...")
    alone = [pod_alone(system, model) for model in ("echo:fast", "echo:paced")]
    print(f"\nThe pod alone, with {BACKLOG} jobs queued at once:\n")
    print(table(["answers", "jobs/s", "pod, ms of CPU"], alone))
    say("Nothing at all ...")
    print(f"\nIdle, in thousandths of a core: {idle(system, min(10.0, arguments.seconds))}.")
    for error in sorted(set(errors))[:5]:
        print(f"\nError: {error}")
    return len(errors)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def machine() -> str:
    return (
        f"{psutil.cpu_count()} cores, Python {platform.python_version()}, "
        f"load before the start {os.getloadavg()[0]:.1f}"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "what",
        nargs="*",
        default=["platform"],
        help="platform (the default), streams, memory, profile or beside; or several of them",
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="for each row (%(default)s)")
    parser.add_argument(
        "--clients",
        type=lambda text: [int(part) for part in text.split(",")],
        default=[1, 16, 64],
        help="at once (1,16,64)",
    )
    parser.add_argument("--litellm", type=Path, help="LiteLLM's program, for beside")
    parser.add_argument(
        "--data", type=Path, help="a folder to use and to keep, with up.log (a temporary one)"
    )
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    benchmarks: dict[str, Callable[[Stack], int]] = {
        # First, as it is about a stack that has done nothing yet.
        "memory": memory.benchmark,
        "platform": lambda system: platform_benchmark(system, arguments),
        "streams": streams.benchmark,
        "profile": profile.benchmark,
        "beside": lambda system: beside.benchmark(system, arguments),
    }
    if unknown := set(arguments.what) - set(benchmarks):
        say(f"There is no benchmark {', '.join(sorted(unknown))}: {', '.join(benchmarks)}.")
        return 2
    signal.signal(signal.SIGTERM, stack.terminated)
    print(machine())
    try:
        with stack.running(keep_data=arguments.data) as system:
            errors = sum(
                benchmark(system)
                for name, benchmark in benchmarks.items()
                if name in arguments.what
            )
            print(f"\n{system.manage('reconcile')}")
    except BenchmarkError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
