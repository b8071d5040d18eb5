# ruff: noqa: N802
"""A machine with GPUs: NVIDIA's driver library, played for the real pynvml.

In a process whose PYTHONPATH has this folder, `pynvml` finds this instead of
libnvidia-ml.so.1. GPU 0 is a plain one, GPU 1 is cut into two MIG instances (with a gap in their
numbers), GPU 2 does not tell its memory, GPU 3 is like the first one. 2,000 MB of GPU 0 belong to
another program.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import pynvml

GB = 1_000_000_000
# By handle: name, UUID, bytes in all, bytes in use.
BOARDS = {
    1: ("NVIDIA L4", "GPU-aaaa", 24 * GB, 2 * GB),
    2: ("NVIDIA H100", "GPU-bbbb", 80 * GB, 0),
    3: ("NVIDIA GB10", "GPU-cccc", 0, 0),
    4: ("NVIDIA L4", "GPU-dddd", 24 * GB, 0),
    21: ("NVIDIA H100 MIG 1g.10gb", "MIG-bbbb-0", 10 * GB, 0),
    22: ("NVIDIA H100 MIG 3g.40gb", "MIG-bbbb-2", 40 * GB, 0),
}
MIG = {0: 21, 2: 22}
OK, NOT_SUPPORTED, NOT_FOUND = 0, 3, 6


def value(argument: Any) -> Any:
    """What a pointer, or a number, stands for."""
    return getattr(argument, "_obj", argument)


def text(words: Callable[[int], str]) -> Callable[..., int]:
    def answer(handle: Any, buffer: Any, _: Any) -> int:
        buffer.value = words(number_of(handle)).encode()
        return OK

    return answer


class Driver:
    """The functions of libnvidia-ml.so.1 that ModelPilot calls, with C's signatures."""

    def __init__(self, _: str) -> None:
        self.nvmlDeviceGetName = text(lambda handle: BOARDS[handle][0])
        self.nvmlDeviceGetUUID = text(lambda handle: BOARDS[handle][1])

    def nvmlInitWithFlags(self, _: int) -> int:
        return OK

    def nvmlErrorString(self, code: int) -> bytes:
        return f"error {code}".encode()

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        value(count).value = 4
        return OK

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> int:
        return put(handle, index.value + 1)

    def nvmlDeviceGetMigMode(self, handle: Any, current: Any, pending: Any) -> int:
        number = number_of(handle)
        if number in (1, 4):
            return NOT_SUPPORTED
        value(current).value = value(pending).value = int(number == 2)
        return OK

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Any, count: Any) -> int:
        value(count).value = 7
        return OK

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Any, index: Any, found: Any) -> int:
        if index.value not in MIG:
            return NOT_FOUND
        return put(found, MIG[index.value])

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:
        _, _, total, used = BOARDS[number_of(handle)]
        if not total:
            return NOT_SUPPORTED
        info = value(memory)
        info.total, info.used, info.free = total, used, total - used
        return OK


def put(handle: Any, number: int) -> int:
    """Handles are pointers, which nobody but the driver looks behind."""
    ctypes.cast(
        ctypes.pointer(value(handle)), ctypes.POINTER(ctypes.c_void_p)
    ).contents.value = number
    return OK


def number_of(handle: Any) -> int:
    pointer = ctypes.cast(ctypes.pointer(handle), ctypes.POINTER(ctypes.c_void_p))
    return pointer.contents.value or 0


pynvml.CDLL = Driver
