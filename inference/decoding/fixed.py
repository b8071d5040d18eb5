"""Small steps in tensors of fixed sizes, which a GPU can replay as CUDA graphs.

A model of 36 layers is some two thousand calls of the GPU in a step, and launching them from
Python takes several times as long as they do. A graph launches all of them at once. It works on
the same tensors each time, so a step is padded to the next size; what is too much goes to the
cache's scratch page. All tokens are alike here, an answer's next one or part of a prompt.
"""

import logging
from typing import Any

import numpy as np
import torch

from inference.decoding.attention import Cache, Layout
from inference.decoding.paged import Paged
from inference.decoding.step import PAGE, Step, pages_for

log = logging.getLogger(__name__)

# How many tokens a step may have, padded. Beyond the last the GPU has enough to do in a launch.
SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)


def forward(
    model: Any, tokens: torch.Tensor, places: torch.Tensor, layout: Layout, kept: torch.Tensor
) -> torch.Tensor:
    """Logits behind the tokens number `kept`: [kept, vocabulary]."""
    output = model(
        input_ids=tokens[None],
        position_ids=places[None],
        use_cache=False,
        layout=layout,
        logits_to_keep=kept,
    )
    logits: torch.Tensor = output.logits[0]
    return logits


class Fixed:
    """Steps of at most `rows` sequences, each of `context` tokens at most.

    Without `capture` it does the same without graphs, on any device.
    """

    def __init__(self, model: Any, cache: Cache, rows: int, context: int) -> None:
        self.model, self.cache, self.rows = model, cache, rows
        self.width = pages_for(context) + 1
        self._graphs: dict[int, tuple[Any, torch.Tensor]] = {}
        most = SIZES[-1]
        # One tensor, as each way to the GPU takes its time: tokens, their places, slots and owners,
        # which of them are kept, and the pages of each sequence, those of padding last.
        lengths = [most, most, most, most, rows, (rows + 1) * self.width]
        self._host = np.zeros(sum(lengths), dtype=np.int32)
        self._device = torch.zeros(sum(lengths), dtype=torch.int32, device=model.device)
        cuts = np.cumsum(lengths)[:-1]
        self._tokens, self._places, self._slots, self._owners, self._kept, table = np.split(
            self._host, cuts
        )
        self._table = table.reshape(rows + 1, self.width)
        self._parts = self._device.split(lengths)

    def holds(self, step: Step) -> bool:
        """Whether the step is small enough."""
        return len(step) <= self.rows and sum(len(part.tokens) for part in step) <= SIZES[-1]

    def run(self, step: Step) -> torch.Tensor:
        """See Runner.run."""
        count = self._fill(step)
        size = next(size for size in SIZES if size >= count)
        if size in self._graphs:
            graph, logits = self._graphs[size]
            graph.replay()
        else:
            logits = self._run(size)
        return logits[: sum(part.kept for part in step)]

    def capture(self) -> None:
        """Make the graphs of all sizes; where that fails, steps run without."""
        pool = torch.cuda.graph_pool_handle()
        try:
            # The largest first: the smaller ones use its memory.
            for size in reversed(SIZES):
                self._capture(size, pool)
        except Exception:
            log.exception("CUDA graphs can't be made of this model: it runs slower without.")
            self.forget()

    def cost(self) -> int | None:
        """How many bytes of the GPU `capture` will take, by making the largest graph.

        None if it can't be made.
        """
        self._fill(())
        self._run(SIZES[-1])
        torch.cuda.synchronize(self.model.device)
        # Capturing begins with this, and what it gives back must not hide what a graph takes.
        torch.cuda.empty_cache()
        free, pooled = _memory(self.model.device)
        try:
            self._capture(SIZES[-1], torch.cuda.graph_pool_handle())
        except Exception:
            log.exception("A CUDA graph can't be made of this model: it runs slower without.")
            return None
        free_after, pooled_after = _memory(self.model.device)
        self.forget()
        pooled = max(0, pooled_after - pooled)
        return pooled + max(0, free - free_after - pooled) * len(SIZES)

    def forget(self) -> None:
        """Drop all graphs and their memory."""
        self._graphs.clear()
        torch.cuda.empty_cache()

    def _capture(self, size: int, pool: Any) -> None:
        self._fill(())
        # What is compiled or allocated once must not be so within the graph.
        self._run(size)
        graph = torch.cuda.CUDAGraph()
        # Other threads of this process may talk to the GPU meanwhile.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            logits = self._run(size)
        self._graphs[size] = graph, logits

    def _fill(self, step: Step) -> int:
        """Send the step's numbers to the device, and padding behind them; how many tokens it has.

        Waits for what the device was doing, so that nothing is overwritten while it is read.
        """
        scratch = self.cache.scratch
        self._host[:] = 0
        self._slots[:] = scratch * PAGE
        self._owners[:] = self.rows
        self._table[self.rows] = scratch
        start = kept = 0
        for number, part in enumerate(step):
            end = start + len(part.tokens)
            self._tokens[start:end] = part.tokens
            self._places[start:end] = range(part.start, part.end)
            self._slots[start:end] = part.slots()
            self._owners[start:end] = number
            pages = part.pages[: pages_for(part.end)]
            self._table[number, : len(pages)] = pages
            if part.kept:
                self._kept[kept] = end - 1
                kept += 1
            start = end
        self._device.copy_(torch.from_numpy(self._host))
        return start

    def _run(self, size: int) -> torch.Tensor:
        tokens, places, slots, owners, kept, table = self._parts
        layout = Paged(
            self.cache, slots[:size].long(), places[:size], owners[:size],
            table.view(self.rows + 1, self.width),
        )  # fmt: skip
        return forward(
            self.model, tokens[:size].long(), places[:size].long(), layout,
            kept[: min(size, self.rows)].long(),
        )  # fmt: skip


def _memory(device: torch.device) -> tuple[int, int]:
    """What is free of the GPU, and what PyTorch has taken, in bytes."""
    return torch.cuda.mem_get_info(device)[0], torch.cuda.memory_reserved(device)
