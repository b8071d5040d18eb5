"""Attention of a whole step in one call, by PyTorch's flash attention for NVIDIA GPUs."""

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

from inference.decoding.attention import Cache
from inference.decoding.step import PAGE, Step, pages_for

# The first generation of GPUs for which it is compiled, and what it takes: these numbers, and heads
# of so many of them at most, in eights.
AMPERE = (8, 0)
KINDS = (torch.bfloat16, torch.float16)
WIDEST, EIGHTH = 256, 8


def serves(model: Any) -> bool:
    """Whether a model, where it lies and in its numbers, can have it."""
    config = model.config.get_text_config()
    heads: int = config.num_attention_heads
    width: int = getattr(config, "head_dim", None) or config.hidden_size // heads
    return (
        model.device.type == "cuda"
        and model.dtype in KINDS
        and width <= WIDEST
        and width % EIGHTH == 0
        and torch.cuda.get_device_capability(model.device) >= AMPERE
    )


@dataclass(slots=True)
class Ragged:
    """Sequences of any lengths behind each other, with copies of the pages that they see.

    `tokens` and `pages_at` are where each sequence's tokens and pages begin, counted in tokens,
    and where the last one's end; `ends` how many tokens of its pages each one sees.
    """

    cache: Cache
    slots: torch.Tensor
    pages: torch.Tensor
    tokens: torch.Tensor
    pages_at: torch.Tensor
    ends: torch.Tensor
    longest: int
    reach: int

    @classmethod
    def of(cls, cache: Cache, slots: torch.Tensor, step: Step) -> "Ragged":
        ends = [part.end for part in step]
        lengths = [len(part.tokens) for part in step]
        pages = [
            page
            for part, end in zip(step, ends, strict=True)
            for page in part.pages[: pages_for(end)]
        ]
        tokens = [0, *accumulate(lengths)]
        pages_at = [0, *accumulate(pages_for(end) * PAGE for end in ends)]
        numbers = torch.tensor([*tokens, *pages_at, *ends], dtype=torch.int32, device=slots.device)
        of_tokens, of_pages, of_ends = numbers.split([len(tokens), len(pages_at), len(ends)])
        return cls(
            cache, slots, torch.tensor(pages, device=slots.device), of_tokens.clone(),
            of_pages.clone(), of_ends.clone(), max(lengths), max(ends),
        )  # fmt: skip

    def attend(
        self, query: torch.Tensor, held: torch.Tensor, scaling: float, window: int | None
    ) -> torch.Tensor:
        """See Layout."""
        kv_heads, width = held.shape[1] // 2, held.shape[2]
        seen = held.view(-1, PAGE, *held.shape[1:]).index_select(0, self.pages.to(held.device))
        seen = seen.view(-1, 2 * kv_heads, width)
        bounds = (-1, -1) if window is None else (window - 1, 0)
        found: torch.Tensor = torch.ops.aten._flash_attention_forward(
            query.transpose(0, 1),
            seen[:, :kv_heads],
            seen[:, kv_heads:],
            self.tokens.to(held.device),
            self.pages_at.to(held.device),
            self.longest,
            self.reach,
            0.0,
            True,
            False,
            scale=scaling,
            window_size_left=bounds[0],
            window_size_right=bounds[1],
            seqused_k=self.ends.to(held.device),
        )[0]
        return found
