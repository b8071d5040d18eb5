"""What the idle stack keeps in memory, process by process.

RSS counts a shared page in every process that has it; PSS shares it out among them, so only PSS
can be added up.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

from benchmarks.stack import Stack, table

SETTLE_S = 3.0
MODEL = "echo:fast"
HEADER = ["process", "how many", "RSS MB", "PSS MB", "own MB"]


def benchmark(system: Stack) -> int:
    time.sleep(SETTLE_S)
    print("\nMemory of the idle stack, before any model was called:\n")
    print(report(system))
    ask(system)
    time.sleep(SETTLE_S)
    print(f"\nAfter one answer of {MODEL}, whose pod stays up:\n")
    print(report(system))
    return 0


def ask(system: Stack) -> None:
    messages = [{"role": "user", "content": "hello"}]
    system.post("/v1/chat/completions", {"model": MODEL, "messages": messages})


def report(system: Stack) -> str:
    rows = []
    totals = [0.0, 0.0]
    for part, processes in system.processes().items():
        sizes = [memory for process in processes if (memory := memory_of(process))]
        rss, pss, own = (sum(column) for column in zip(*sizes, strict=True))
        totals[0] += pss
        totals[1] += own
        rows.append([part, str(len(sizes)), f"{rss:.0f}", f"{pss:.0f}", f"{own:.0f}"])
    rows.sort(key=lambda row: -float(row[3]))
    return table(HEADER, [*rows, ["together", "", "", f"{totals[0]:.0f}", f"{totals[1]:.0f}"]])


def memory_of(process: psutil.Process) -> tuple[float, float, float] | None:
    """Resident, proportional and private memory in MB; None for a process that has ended."""
    try:
        full = process.memory_full_info()
    except psutil.NoSuchProcess:
        return None
    return full.rss / 1e6, full.pss / 1e6, full.uss / 1e6


EVERY_S = 2.0


@dataclass
class Watch:
    """PSS of each part in MB, over time: by what was going on, its samples in order."""

    system: Stack
    samples: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    def look(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for part, processes in self.system.processes().items():
            sizes = [memory for process in processes if (memory := memory_of(process))]
            found[part] = sum(pss for _, pss, _ in sizes)
        return found

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Look every EVERY_S, and at the end."""
        over = threading.Event()
        samples = self.samples.setdefault(phase, [])

        def watch() -> None:
            while not over.wait(EVERY_S):
                samples.append(self.look())

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            samples.append(self.look())

    def peak(self, part: str, phase: str) -> float:
        return max((sample.get(part, 0.0) for sample in self.samples[phase]), default=0.0)

    def table(self) -> str:
        """The most that each part had in each phase."""
        parts = {part for samples in self.samples.values() for each in samples for part in each}
        rows = [
            [part, *(f"{self.peak(part, phase):.0f}" for phase in self.samples)] for part in parts
        ]
        rows.sort(key=lambda row: -float(row[-1]))
        return table(["PSS, MB", *self.samples], rows)
