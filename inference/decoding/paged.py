"""Attention of single tokens, each by itself, over pages where they lie: nothing is copied.

All tensors of a layout may be of fixed sizes, filled anew for each step, as CUDA graphs need it.
"""

from dataclasses import dataclass

import torch

from inference.decoding.attention import Cache
from inference.decoding.step import PAGE


@dataclass(slots=True)
class Paged:
    """Each token is of the sequence number `owners`, at its place in `places`.

    `table` has the pages of each sequence: [sequences, most pages].
    """

    cache: Cache
    slots: torch.Tensor
    places: torch.Tensor
    owners: torch.Tensor
    table: torch.Tensor

    def attend(
        self, query: torch.Tensor, held: torch.Tensor, scaling: float, window: int | None
    ) -> torch.Tensor:
        """See Layout."""
        if not held.is_cuda:
            return plain(query, held, self, scaling, window)
        # Triton comes with PyTorch for CUDA only.
        from inference.decoding import kernels

        return kernels.attend(query, held, self, scaling, window)


def plain(
    query: torch.Tensor, held: torch.Tensor, layout: Paged, scaling: float, window: int | None
) -> torch.Tensor:
    """The same by PyTorch alone, with copies: for the CPU, and to hold the kernel against."""
    heads, tokens, width = query.shape
    kv_heads = held.shape[1] // 2
    pages = layout.table[layout.owners].long()
    seen = held.view(-1, PAGE, *held.shape[1:])[pages].view(tokens, -1, 2 * kv_heads, width)
    seen = seen.transpose(1, 2)
    numbers = torch.arange(seen.shape[2], device=held.device)
    places = layout.places[:, None]
    visible = numbers <= places
    if window is not None:
        visible &= numbers > places - window
    found = torch.nn.functional.scaled_dot_product_attention(
        query.view(kv_heads, -1, tokens, width).permute(2, 0, 1, 3),
        seen[:, :kv_heads],
        seen[:, kv_heads:],
        attn_mask=visible[:, None, None, :],
        scale=scaling,
    )
    return found.reshape(tokens, heads, width)
