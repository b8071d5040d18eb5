"""What this machine has to run models on."""

from functools import cache

import psutil
from django.conf import settings

from inference.catalog import Card
from inference.types import Device


@cache
def memory_mb() -> int:
    """Memory that pods may use together, in MB."""
    return settings.NODE_MEMORY_MB or psutil.virtual_memory().total * 3 // 4 // 1_000_000


def device() -> Device:
    """Where a pod computes: on all cores, since pods are niced and everything else goes first."""
    return Device("cpu", 0, psutil.cpu_count(logical=False) or 1)


def too_small_for(card: Card) -> str | None:
    """Why the card does not fit, as a sentence; None if it does."""
    if card.device == "cuda":
        return "It needs an NVIDIA GPU, and this version runs models on the CPU only."
    if card.memory_mb > memory_mb():
        return f"It needs {card.memory_mb} MB of memory; pods may use {memory_mb()} MB here."
    return None
