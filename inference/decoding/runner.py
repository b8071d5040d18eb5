"""Runs a loaded model over its cache: a step in, logits out. It knows nothing of answers."""

from typing import Any

import torch

from inference.decoding.attention import Cache, Groups, Layout
from inference.decoding.fixed import Fixed, forward
from inference.decoding.ragged import Ragged, serves
from inference.decoding.step import Step


class Runner:
    """A model and its cache. With `fixed`, small steps run in tensors of fixed sizes."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.cache = Cache()
        self.fixed: Fixed | None = None
        self._ragged = serves(model)

    @property
    def ahead(self) -> bool:
        """Whether `run` returns before the device has done what it was told."""
        return bool(self.model.device.type != "cpu")

    def run(self, step: Step) -> torch.Tensor:
        """The logits behind each part that is `kept`: [kept parts, vocabulary].

        They hold until the next step.
        """
        if self.fixed is not None and self.fixed.holds(step):
            return self.fixed.run(step)
        return self._run(step)

    def close(self) -> None:
        """Let go of the model and of all memory."""
        self.model, self.fixed = None, None
        self.cache.layers = {}

    def _run(self, step: Step) -> torch.Tensor:
        tokens = [token for part in step for token in part.tokens]
        places = [place for part in step for place in range(part.start, part.end)]
        slots = [slot for part in step for slot in part.slots()]
        kept, behind = [], 0
        for part in step:
            behind += len(part.tokens)
            if part.kept:
                kept.append(behind - 1)
        # Together, as each way to a GPU takes its time.
        numbers = torch.tensor([*tokens, *places, *slots, *kept], device=self.model.device)
        lengths = [len(tokens)] * 3 + [len(kept)]
        of_tokens, of_places, of_slots, of_kept = numbers.split(lengths)
        kind = Ragged if self._ragged else Groups
        layout: Layout = kind.of(self.cache, of_slots, step)
        return forward(self.model, of_tokens, of_places, layout, of_kept)
