"""What the idle stack keeps in memory, process by process.

RSS counts a shared page in every process that has it; PSS shares it out among them, so only PSS
can be added up.
"""

import time

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
