"""A pod has as many threads as cores that it may run on."""

import os
import subprocess
import sys

import psutil


def counted(allowed: set[int]) -> int:
    program = (
        f"import os; os.sched_setaffinity(0, {allowed})\n"
        "from inference.cores import cores; print(cores())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return int(ran.stdout)


def test_all_are_the_machines() -> None:
    everywhere = os.sched_getaffinity(0)
    assert counted(everywhere) == min(psutil.cpu_count(logical=False) or 1, len(everywhere))


def test_of_what_is_forbidden_none_counts() -> None:
    assert counted({min(os.sched_getaffinity(0))}) == 1
