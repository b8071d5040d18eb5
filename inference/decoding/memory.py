"""How many pages a cache can have: measured, by running the largest step."""

import logging

import psutil
import torch

from inference.catalog import Card
from inference.decoding.fixed import Fixed
from inference.decoding.runner import Runner
from inference.decoding.step import PAGE, Part, pages_for
from inference.errors import InferenceError
from inference.types import Device

log = logging.getLogger(__name__)

# The part of the memory that is left for the cache once the rest has been measured.
CAREFUL = 0.9
# What CUDA itself keeps of a GPU for a process, in bytes; PyTorch doesn't count it. On an H100 it
# was 715 MB.
CONTEXT = 800_000_000


def allocate(runner: Runner, card: Card, device: Device, context: int, budget: int) -> int:
    """Give the runner a cache as large as the card's memory allows; how many pages it has.

    `budget` is how many tokens of prompts a step reads. On one GPU small steps become CUDA graphs,
    where there is room for them. Raises InferenceError if not even one request of the whole
    context would fit.
    """
    cache = runner.cache
    # What is free before the model works, on its fullest GPU; what it needs to work comes off.
    before = _free_bytes(card, device)
    for number in _gpus(device):
        torch.cuda.reset_peak_memory_stats(number)
    with torch.inference_mode():
        runner.run(_largest(min(budget, context), card.slots))
    free = min(before - _peak_bytes(device), _free_bytes(card, device))
    # A step copies what it reads of one layer, and its logits more than once.
    per_token = cache.bytes_per_token * (1 + 1 / len(cache.shapes))
    needed, most = pages_for(context) + 1, pages_for(card.slots * context) + 1

    def room(free: int) -> int:
        return int(CAREFUL * free / per_token) // PAGE

    if room(free) < needed:
        raise InferenceError(
            f"{card.id} leaves {max(free, 0) // 1_000_000} MB of its memory for its cache, and one "
            f"request of {context} tokens needs {int(needed * PAGE * per_token) // 1_000_000} MB. "
            "Raise memory_mb or lower context in its card."
        )
    fixed, cost = _graphs(runner, card, device, context)
    if room(free - cost) < needed:
        log.warning("%s: no memory is left for CUDA graphs; it runs slower without.", card.id)
        fixed, cost = None, 0
    pages = min(room(free - cost), most)
    cache.allocate(pages)
    if fixed is not None:
        with torch.inference_mode():
            fixed.capture()
        runner.fixed = fixed
    return pages


def _graphs(runner: Runner, card: Card, device: Device, context: int) -> tuple[Fixed | None, int]:
    """Steps of fixed size and the bytes of their graphs; None where there can't be any."""
    if device.kind != "cuda" or device.count > 1 or not card.options.get("graphs", True):
        return None, 0
    runner.cache.allocate(1)
    with torch.inference_mode():
        fixed = Fixed(runner.model, runner.cache, card.slots, context)
        cost = fixed.cost()
    runner.cache.layers = {}
    return (fixed, cost) if cost is not None else (None, 0)


def _largest(count: int, answers: int) -> list[Part]:
    """The largest step there can be: `count` tokens of prompts, beside many answers."""
    single = Part([1], 0, [0], kept=True)
    tokens = [1] * max(1, count - answers + 1)
    pages = list(range(pages_for(len(tokens))))
    return [*[single] * (min(count, answers) - 1), Part(tokens, 0, pages, kept=True)]


def _gpus(device: Device) -> range:
    return range(device.index, device.index + (device.count if device.kind == "cuda" else 0))


def _free_bytes(card: Card, device: Device) -> int:
    """What may still be taken: of the card's memory on the CPU, of each GPU otherwise."""
    if device.kind == "cpu":
        resident: int = psutil.Process().memory_info().rss
        return card.memory_mb * 1_000_000 - resident
    free: list[int] = []
    for number in _gpus(device):
        of_gpu = torch.cuda.mem_get_info(number)[0]
        if device.memory_mb is not None:
            taken = torch.cuda.memory_reserved(number) + CONTEXT
            of_gpu = min(of_gpu, device.memory_mb * 1_000_000 - taken)
        free.append(of_gpu)
    # Layers are spread evenly, and so is the cache.
    return min(free) * device.count


def _peak_bytes(device: Device) -> int:
    peaks: list[int] = [
        torch.cuda.max_memory_allocated(number) - torch.cuda.memory_allocated(number)
        for number in _gpus(device)
    ]
    return max(peaks, default=0)
