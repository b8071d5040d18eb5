"""Attention over a paged cache, for every model whose attention transformers lets one choose.

The tokens of a step are packed into one row, whosever they are. What they can't share is only
attention: there each sequence reads its own pages.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface

NAME = "modelpilot_paged"


@dataclass(slots=True)
class Group:
    """Rows of a step that attend in one call: `rows` sequences of `length` new tokens each.

    Their tokens are the step's `start` to `start + rows * length`. `pages` are rows times the pages
    of the longest, `reach` the tokens that the longest sees in them. `ends` are the positions
    just behind each row's last token.
    """

    start: int
    rows: int
    length: int
    pages: torch.Tensor
    reach: int
    ends: list[int]
    masks: dict[tuple[Any, ...], torch.Tensor | None] = field(default_factory=dict)

    def mask(self, queries: torch.Tensor, window: int | None) -> torch.Tensor | None:
        """What each token may see, as numbers to add: [rows, 1, tokens of a key head, reach].

        None: all of them see everything.
        """
        per_head = queries.shape[2]
        key = (per_head, window, queries.device, queries.dtype)
        if key not in self.masks:
            self.masks[key] = self._mask(per_head, window, queries)
        return self.masks[key]

    def _mask(self, per_head: int, window: int | None, like: torch.Tensor) -> torch.Tensor | None:
        even = all(end == self.reach for end in self.ends)
        if self.length == 1 and even and (window is None or self.reach <= window):
            return None
        ends = torch.tensor(self.ends)[:, None]
        places = ends - self.length + torch.arange(self.length)  # of the tokens: rows, length
        seen = torch.arange(self.reach)
        hidden = seen > places[..., None]
        if window is not None:
            hidden |= seen <= places[..., None] - window
        mask = torch.zeros(hidden.shape, dtype=like.dtype)
        mask.masked_fill_(hidden, torch.finfo(like.dtype).min)
        # The query heads of one key head stand behind each other.
        mask = mask.repeat(1, per_head // self.length, 1)
        return mask[:, None].to(like.device)


@dataclass(slots=True)
class Layout:
    """Where the tokens of one step go: `slots` of the cache, a number for each token."""

    cache: "Cache"
    slots: torch.Tensor
    groups: Sequence[Group]


class Cache:
    """Keys and values of every layer: tensors of [pages * size, keys then values, head size].

    Made when the first step has shown what shape and device each layer has.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.shapes: dict[int, tuple[int, int, torch.dtype, torch.device]] = {}
        self.layers: dict[int, torch.Tensor] = {}

    @property
    def bytes_per_token(self) -> int:
        return sum(
            2 * heads * width * kind.itemsize for heads, width, kind, _ in self.shapes.values()
        )

    def allocate(self, pages: int) -> None:
        self.layers = {
            layer: torch.zeros((pages * self.size, 2 * heads, width), dtype=kind, device=device)
            for layer, (heads, width, kind, device) in self.shapes.items()
        }

    def write(self, layer: int, slots: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """Put the new tokens' keys and values into their slots; returns the layer."""
        held = self.layers.get(layer)
        if held is None:
            # Measuring: the layer's own tokens are all there is.
            self.shapes[layer] = (new.shape[1] // 2, new.shape[2], new.dtype, new.device)
            held = torch.zeros(
                (self.size * (int(slots.max()) // self.size + 1), *new.shape[1:]),
                dtype=new.dtype,
                device=new.device,
            )
        return held.index_copy_(0, slots.to(new.device), new)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    layout: Layout,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """One layer's attention: [1, heads, tokens, width] to [1, tokens, heads, width]."""
    if rest.get("softcap") is not None or rest.get("s_aux") is not None:
        raise NotImplementedError("This model's attention caps or sinks its scores.")
    heads, kv_heads = query.shape[1], key.shape[1]
    new = torch.cat((key[0], value[0])).transpose(0, 1)
    held = layout.cache.write(module.layer_idx, layout.slots, new)
    paged = held.view(-1, layout.cache.size, *held.shape[1:])
    outputs = [
        _attend(query[0], paged, group, kv_heads, scaling, sliding_window)
        for group in layout.groups
    ]
    output = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return output.view(1, -1, heads, query.shape[3]), None


def _attend(
    query: torch.Tensor,
    paged: torch.Tensor,
    group: Group,
    kv_heads: int,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    heads, _, width = query.shape
    rows, length = group.rows, group.length
    mine = query[:, group.start : group.start + rows * length]
    # All query heads of a key head attend as if they were more tokens: no key is copied for them.
    queries = mine.view(kv_heads, heads // kv_heads, rows, length, width)
    queries = queries.permute(2, 0, 1, 3, 4).reshape(rows, kv_heads, -1, width)
    seen = paged.index_select(0, group.pages.to(paged.device))
    seen = seen.view(rows, -1, 2 * kv_heads, width)[:, : group.reach].transpose(1, 2)
    found = torch.nn.functional.scaled_dot_product_attention(
        queries,
        seen[:, :kv_heads],
        seen[:, kv_heads:],
        attn_mask=group.mask(queries, window),
        scale=scaling,
    )
    found = found.view(rows, kv_heads, heads // kv_heads, length, width)
    return found.permute(0, 3, 1, 2, 4).reshape(rows * length, heads, width)


AttentionInterface.register(NAME, attend)
