"""How many cores there are to compute on."""

import os

import psutil


def cores() -> int:
    """Physical cores that this process may run on, at least 1: a container, or taskset(1), may
    have left it only some of the machine's. Two threads of one core would only disturb each
    other."""
    physical: int = psutil.cpu_count(logical=False) or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else physical
    return min(physical, allowed)
