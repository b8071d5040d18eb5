"""What this machine has to run models on: its CPU, and its NVIDIA GPUs if there are any.

GPUs are found by NVML, the library that comes with NVIDIA's driver. Without a driver there is
just the CPU, and nothing is said about it.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import psutil
import pynvml
from django.conf import settings

from inference import engines, picking
from inference.catalog import Card
from inference.cores import cores
from inference.picking import Choice, Picked
from inference.types import Device as Computing

log = logging.getLogger(__name__)

CPU = "cpu"
# A GPU's driver and each process's CUDA context need some that no card reckons with.
GPU_RESERVE_MB = 500


@dataclass(frozen=True, slots=True)
class Device:
    """One pool of memory, in MB: what it has, what pods may use together, what is free now.

    `id` is "cpu", or the UUID by which CUDA_VISIBLE_DEVICES knows a GPU or a MIG instance.
    """

    id: str
    kind: str
    name: str
    total_mb: int
    memory_mb: int
    free_mb: int

    @property
    def whole(self) -> bool:
        """A process sees one MIG instance at a time, so they can't work together."""
        return not self.id.startswith("MIG-")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


# The devices of each machine.
Machines = Collection[Sequence[Device]]


def devices() -> list[Device]:
    """The CPU, then the GPUs that CUDA_VISIBLE_DEVICES leaves us, in the driver's order."""
    return [cpu(), *gpus()]


def cpu() -> Device:
    memory = psutil.virtual_memory()
    return Device(
        CPU, "cpu", "CPU", memory.total // 1_000_000, memory_mb(), memory.available // 1_000_000
    )


@cache
def memory_mb() -> int:
    """Memory that pods may use together, in MB."""
    return settings.NODE_MEMORY_MB or psutil.virtual_memory().total * 3 // 4 // 1_000_000


def gpus() -> list[Device]:
    if not driver_answers():
        return []
    try:
        return list(listed(settings.VISIBLE_GPUS))
    except pynvml.NVMLError as error:
        log.warning("The GPUs can't be listed: %s", error)
        return []


@cache
def driver_answers() -> bool:
    """Whether there is a driver; asked once, and NVML stays open as long as the process."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    return True


def listed(visible: str) -> Iterator[Device]:
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        names = {str(index), pynvml.nvmlDeviceGetUUID(handle)}
        for part in instances(handle):
            if allowed(visible, names | {pynvml.nvmlDeviceGetUUID(part)}):
                yield from described(part)


def instances(handle: Any) -> list[Any]:
    """A GPU itself, or, when it is cut up by MIG, its instances: then only these compute."""
    try:
        mode, _ = pynvml.nvmlDeviceGetMigMode(handle)
    except pynvml.NVMLError:  # most GPUs have no MIG
        return [handle]
    if mode != pynvml.NVML_DEVICE_MIG_ENABLE:
        return [handle]
    found = []
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            found.append(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))
        except pynvml.NVMLError_NotFound:
            continue  # the numbers have gaps
    return found


def described(handle: Any) -> Iterator[Device]:
    name = pynvml.nvmlDeviceGetName(handle)
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError as error:
        warn_once(f"{name} is not used, as its memory is not known: {error}")
        return
    total, free = int(memory.total) // 1_000_000, int(memory.free) // 1_000_000
    uuid = pynvml.nvmlDeviceGetUUID(handle)
    yield Device(uuid, "cuda", name, total, max(0, total - GPU_RESERVE_MB), free)


@cache
def warn_once(text: str) -> None:
    log.warning(text)


def allowed(visible: str, names: Collection[str]) -> bool:
    """Whether CUDA_VISIBLE_DEVICES ("all", or indices and (the start of) UUIDs) names it."""
    if visible == "all":
        return True
    wanted = [item.strip() for item in visible.split(",")]
    return any(
        name == item or (item.startswith(("GPU-", "MIG-")) and name.startswith(item))
        for name in names
        for item in wanted
    )


def kind(devices: Sequence[str]) -> str:
    """What the ids of a pod's devices say of their kind."""
    return "cpu" if CPU in devices else "cuda"


def environment(devices: Sequence[str]) -> dict[str, str]:
    """What a pod on these devices is told: it sees these GPUs and no others, or none."""
    return {"CUDA_VISIBLE_DEVICES": "" if CPU in devices else ",".join(devices)}


def computing(devices: Sequence[str], memory_mb: int) -> Computing:
    """Where a pod computes: on all cores, since pods are niced and everything else goes first.

    Its GPUs have the numbers from 0 on: it sees no others. Of each it may use what the plan has
    reckoned with.
    """
    if CPU in devices:
        return Computing("cpu", 0, cores())
    return Computing("cuda", 0, cores(), memory_mb, len(devices))


def pick(card: Card, machines: Machines, choice: Choice = picking.ANY) -> Picked:
    """Which of the card's ways is taken on these machines (see `inference.picking`)."""
    return picking.pick(
        card, lambda way: engines.installed(way) or too_small_for(way, machines), choice
    )


def too_small_for(card: Card, machines: Machines) -> str | None:
    """Why a card fits on none of these machines, as a sentence; None if it does."""
    if card.devices > 1:
        return too_few_for(card, machines)
    suited = [device for there in machines for device in there if device.kind == card.device]
    if not suited:
        return f"It needs an NVIDIA GPU with {card.memory_mb:,} MB, and there is none here."
    largest = max(suited, key=lambda device: device.memory_mb)
    if card.memory_mb <= largest.memory_mb:
        return None
    if card.device == "cuda":
        return (
            f"It needs {card.memory_mb:,} MB on one GPU; the largest here, {largest.name}, has "
            f"{largest.memory_mb:,} MB for pods."
        )
    return f"It needs {card.memory_mb:,} MB of memory; pods may use {largest.memory_mb:,} MB here."


def too_few_for(card: Card, machines: Machines) -> str | None:
    """The same for a card whose pods span several GPUs."""
    able = [
        sum(
            device.kind == card.device and device.whole and device.memory_mb >= card.memory_mb
            for device in there
        )
        for there in machines
    ]
    most = max(able, default=0)
    if most >= card.devices:
        return None
    return (
        f"It needs {card.devices} NVIDIA GPUs of one machine with {card.memory_mb:,} MB on each; "
        f"{most or 'none'} {'is' if most < 2 else 'are'} here."
    )
