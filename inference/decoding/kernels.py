"""The kernel of `paged.Paged` for NVIDIA GPUs, in Triton.

A program reads, for one token, what one key head has in one share of the pages; the query heads
of that key head go together. A second kernel adds the shares up. Short sequences leave most
shares empty, which costs next to nothing, and long ones keep the whole GPU busy.
"""

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from inference.decoding.step import PAGE

if TYPE_CHECKING:
    from inference.decoding.paged import Paged

# Keys that a program looks at together, by the size of a head.
KEYS = {16: 64, 32: 64, 64: 64, 128: 64, 256: 32}
# How many programs keep a GPU busy; with fewer a sequence is cut into so many shares. No number
# between, since each is compiled by itself.
PROGRAMS = 1024
SHARES = 16
# The smallest matrix of the tensor cores.
LEAST = 16
NO_WINDOW = 1 << 30


def attend(
    query: torch.Tensor, held: torch.Tensor, layout: "Paged", scaling: float, window: int | None
) -> torch.Tensor:
    """Attention of query [heads, tokens, width] over the cache; [tokens, heads, width]."""
    heads, tokens, width = query.shape
    kv_heads = held.shape[1] // 2
    shares = 1 if tokens * kv_heads >= PROGRAMS else SHARES
    block = max(LEAST, triton.next_power_of_2(width))
    parts = query.new_empty((tokens, heads, shares, width), dtype=torch.float32)
    masses = query.new_empty((tokens, heads, shares), dtype=torch.float32)
    _share[(tokens, kv_heads, shares)](
        query, held, layout.table, layout.owners, layout.places, parts, masses,
        scaling, window or NO_WINDOW, query.stride(1), query.stride(0), layout.table.stride(0),
        KV=kv_heads, GROUP=heads // kv_heads, WIDTH=width, PAGE=PAGE, SHARES=shares,
        ROWS=max(LEAST, triton.next_power_of_2(heads // kv_heads)), KEYS=KEYS[block], BLOCK=block,
        PRECISION="ieee" if held.dtype == torch.float32 else "tf32",
    )  # fmt: skip
    found = query.new_empty((tokens, heads, width))
    _sum[(tokens, heads)](
        parts, masses, found, HEADS=heads, WIDTH=width, SHARES=shares, BLOCK=block
    )
    return found


@triton.jit
def _share(  # type: ignore[no-untyped-def]
    query, held, table, owners, places, parts, masses,
    scaling, window, per_token, per_head, per_owner,
    KV: tl.constexpr, GROUP: tl.constexpr, WIDTH: tl.constexpr, PAGE: tl.constexpr,
    SHARES: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr, BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    token, head, share = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    end = tl.load(places + token).to(tl.int32) + 1
    begin = tl.maximum(end - window, 0)
    pages = table + tl.load(owners + token) * per_owner
    rows, wide, keys = tl.arange(0, ROWS), tl.arange(0, BLOCK), tl.arange(0, KEYS)
    mine = (rows < GROUP)[:, None] & (wide < WIDTH)[None, :]
    asked = query + token * per_token + (head * GROUP + rows)[:, None] * per_head + wide[None, :]
    q = tl.load(asked, mask=mine, other=0.0)
    # This share's blocks of keys, of those from `begin` to `end`.
    first, last = begin // KEYS, tl.cdiv(end, KEYS)
    each = tl.cdiv(last - first, SHARES)
    start = first + share * each
    stop = tl.minimum(start + each, last)
    most = tl.full([ROWS], -float("inf"), tl.float32)
    mass = tl.zeros([ROWS], tl.float32)
    found = tl.zeros([ROWS, BLOCK], tl.float32)
    for block in range(start, stop):
        place = block * KEYS + keys
        seen = (place >= begin) & (place < end)
        page = tl.load(pages + place // PAGE, mask=seen, other=0).to(tl.int64)
        slot = page * PAGE + place % PAGE
        at = held + slot[:, None] * (2 * KV * WIDTH) + head * WIDTH + wide[None, :]
        there = seen[:, None] & (wide < WIDTH)[None, :]
        k = tl.load(at, mask=there, other=0.0)
        v = tl.load(at + KV * WIDTH, mask=there, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scaling
        scores = tl.where(seen[None, :], scores, -float("inf"))
        higher = tl.maximum(most, tl.max(scores, 1))
        weights = tl.exp(scores - higher[:, None])
        faded = tl.exp(most - higher)
        mass = mass * faded + tl.sum(weights, 1)
        found = found * faded[:, None]
        found += tl.dot(weights.to(v.dtype), v, input_precision=PRECISION)
        most = higher
    # An empty share has no mass: its logarithm is minus infinity, and its part counts nothing.
    out = (token * KV * GROUP + head * GROUP + rows) * SHARES + share
    found = found / tl.where(mass > 0, mass, 1.0)[:, None]
    tl.store(parts + out[:, None] * WIDTH + wide[None, :], found, mask=mine)
    tl.store(
        masses + out, tl.where(mass > 0, most + tl.log(mass), -float("inf")), mask=rows < GROUP
    )


@triton.jit
def _sum(  # type: ignore[no-untyped-def]
    parts, masses, found,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, SHARES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    out = tl.program_id(0) * HEADS + tl.program_id(1)
    shares, wide = tl.arange(0, SHARES), tl.arange(0, BLOCK)
    mass = tl.load(masses + out * SHARES + shares)
    weights = tl.exp(mass - tl.max(mass, 0))
    weights = weights / tl.sum(weights, 0)
    at = parts + (out * SHARES + shares)[:, None] * WIDTH + wide[None, :]
    there = (mass > -float("inf"))[:, None] & (wide < WIDTH)[None, :]
    part = tl.load(at, mask=there, other=0.0)
    total = tl.sum(part * weights[:, None], 0)
    tl.store(found + out * WIDTH + wide, total.to(found.dtype.element_ty), mask=wide < WIDTH)
