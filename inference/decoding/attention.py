"""Attention over a paged cache, for every model whose attention transformers lets one choose.

The tokens of a step are packed into one row, whosever they are. What they can't share is only
attention: there each sequence reads its own pages. How they are read, a `Layout` knows: `Groups`
here does it anywhere, `ragged.Ragged` in one call on a GPU, `paged.Paged` without a copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Protocol

import torch
from transformers import AttentionInterface

from inference.decoding.step import PAGE, Step, pages_for

NAME = "modelpilot_paged"


class Cache:
    """Keys and values of every layer: tensors of [slots, keys then values, head size].

    Made when the first step has shown what shape and device each layer has. One more page than
    was asked for is there, `scratch`, for what nobody will read.
    """

    def __init__(self) -> None:
        self.shapes: dict[int, tuple[int, int, torch.dtype, torch.device]] = {}
        self.layers: dict[int, torch.Tensor] = {}
        self.scratch = 0

    @property
    def bytes_per_token(self) -> int:
        return sum(
            2 * heads * width * kind.itemsize for heads, width, kind, _ in self.shapes.values()
        )

    def allocate(self, pages: int) -> None:
        self.scratch = pages
        self.layers = {
            layer: torch.zeros(((pages + 1) * PAGE, 2 * heads, width), dtype=kind, device=device)
            for layer, (heads, width, kind, device) in self.shapes.items()
        }

    def write(self, layer: int, slots: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """Put the new tokens' keys and values into their slots; returns the layer."""
        held = self.layers.get(layer)
        if held is None:
            # Measuring: the layer's own tokens are all there is.
            self.shapes[layer] = (new.shape[1] // 2, new.shape[2], new.dtype, new.device)
            held = torch.zeros(
                (PAGE * (int(slots.max()) // PAGE + 1), *new.shape[1:]),
                dtype=new.dtype,
                device=new.device,
            )
        return held.index_copy_(0, slots.to(new.device), new)


class Layout(Protocol):
    """Where the tokens of one step go, and what each of them sees."""

    cache: Cache
    slots: torch.Tensor

    def attend(
        self, query: torch.Tensor, held: torch.Tensor, scaling: float, window: int | None
    ) -> torch.Tensor:
        """One layer's attention: query [heads, tokens, width] to [tokens, heads, width].

        `held` is the layer's cache. With a `window` a token sees so many, itself included.
        """


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
    new = torch.cat((key[0], value[0])).transpose(0, 1)
    held = layout.cache.write(module.layer_idx, layout.slots, new)
    if scaling is None:
        scaling = query.shape[3] ** -0.5
    return layout.attend(query[0], held, scaling, sliding_window)[None], None


AttentionInterface.register(NAME, attend)


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

    def attend(
        self, query: torch.Tensor, held: torch.Tensor, scaling: float, window: int | None
    ) -> torch.Tensor:
        heads, _, width = query.shape
        kv_heads = held.shape[1] // 2
        rows, length = self.rows, self.length
        mine = query[:, self.start : self.start + rows * length]
        # All query heads of a key head attend as if they were more tokens: no key is copied for
        # them.
        queries = mine.view(kv_heads, heads // kv_heads, rows, length, width)
        queries = queries.permute(2, 0, 1, 3, 4).reshape(rows, kv_heads, -1, width)
        paged = held.view(-1, PAGE, *held.shape[1:])
        seen = paged.index_select(0, self.pages.to(held.device))
        seen = seen.view(rows, -1, 2 * kv_heads, width)[:, : self.reach].transpose(1, 2)
        found = torch.nn.functional.scaled_dot_product_attention(
            queries,
            seen[:, :kv_heads],
            seen[:, kv_heads:],
            attn_mask=self.mask(queries, window),
            scale=scaling,
        )
        found = found.view(rows, kv_heads, heads // kv_heads, length, width)
        return found.permute(0, 3, 1, 2, 4).reshape(rows * length, heads, width)

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
class Groups:
    """A layout for every device and every type of numbers: a call for each group of sequences."""

    cache: Cache
    slots: torch.Tensor
    groups: list[Group]

    @classmethod
    def of(cls, cache: Cache, slots: torch.Tensor, step: Step) -> "Groups":
        single = list(takewhile(lambda part: len(part.tokens) == 1, step))
        groups = [_group(single, 0, slots.device)] if single else []
        start = len(single)
        for part in step[len(single) :]:
            groups.append(_group([part], start, slots.device))
            start += len(part.tokens)
        return cls(cache, slots, groups)

    def attend(
        self, query: torch.Tensor, held: torch.Tensor, scaling: float, window: int | None
    ) -> torch.Tensor:
        """See Layout."""
        found = [group.attend(query, held, scaling, window) for group in self.groups]
        return found[0] if len(found) == 1 else torch.cat(found)


def _group(parts: Step, start: int, device: torch.device) -> Group:
    ends = [part.end for part in parts]
    most = max(map(pages_for, ends))
    pages = [
        page
        for part, end in zip(parts, ends, strict=True)
        for page in _padded(part.pages[: pages_for(end)], most)
    ]
    return Group(
        start=start,
        rows=len(parts),
        length=len(parts[0].tokens),
        pages=torch.tensor(pages, device=device),
        reach=max(ends),
        ends=ends,
    )


def _padded(pages: Sequence[int], most: int) -> list[int]:
    return [*pages, *[pages[-1]] * (most - len(pages))]
