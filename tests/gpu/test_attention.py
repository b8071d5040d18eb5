"""The two ways of attention that only a GPU has, against the one that runs anywhere."""

import random
from typing import Any

import pytest
import torch

from inference.decoding import paged, ragged
from inference.decoding.attention import Cache, Groups
from inference.decoding.paged import Paged
from inference.decoding.step import PAGE, Part, pages_for

# Heads, key heads, head size and window: those of the seed models, and odd ones.
SHAPES = [
    (32, 8, 128, None),  # Qwen3 8B
    (8, 4, 256, None),  # Gemma 3 4B
    (8, 4, 256, 1024),
    (28, 4, 128, None),  # DeepSeek R1 Distill Qwen 7B
    (9, 3, 64, None),  # SmolLM2 135M
    (4, 2, 8, 24),  # the tiny ones
]
# What bfloat16 keeps of a number is 8 bits.
CLOSE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}


@pytest.fixture(params=SHAPES, ids=str)
def shape(request: pytest.FixtureRequest) -> Any:
    return request.param


def steps(lengths: list[tuple[int, int]], pages: int) -> list[Part]:
    """A part for each (start, count), on pages in any order."""
    draw = random.Random(3)
    return [
        Part([1] * count, start, draw.sample(range(pages), pages_for(start + count)), kept=True)
        for start, count in lengths
    ]


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.float() - other.float()).norm() / other.float().norm())


@pytest.mark.parametrize("kind", CLOSE, ids=str)
def test_single_tokens_over_pages(shape: Any, kind: torch.dtype, on_gpu: bool) -> None:
    heads, kv_heads, width, window = shape
    where = "cuda" if on_gpu else "cpu"
    torch.manual_seed(1)
    held = torch.randn(400 * PAGE, 2 * kv_heads, width, device=where).to(kind)
    table = torch.randint(0, 400, (6, 300), dtype=torch.int32, device=where)
    for ends in ([1], [4800], [1, 15, 16, 17, 63, 64, 65, 1025], list(range(100, 140))):
        places = torch.tensor(ends, dtype=torch.int32, device=where) - 1
        owners = torch.arange(len(ends), dtype=torch.int32, device=where) % 6
        query = torch.randn(len(ends), heads, width, device=where).to(kind).transpose(0, 1)
        layout = Paged(Cache(), places, places, owners, table)
        found = layout.attend(query, held, width**-0.5, window)
        expected = paged.plain(query.float(), held.float(), layout, width**-0.5, window)
        assert apart(found, expected) < CLOSE[kind], ends


def test_a_whole_step_in_one_call(shape: Any, on_gpu: bool) -> None:
    heads, kv_heads, width, window = shape
    where = "cuda" if on_gpu else "cpu"
    torch.manual_seed(2)
    held = torch.randn(400 * PAGE, 2 * kv_heads, width, device=where).to(torch.bfloat16)
    layouts = [
        [(0, 1)],
        [(70, 1), (3000, 1), (15, 1)],
        [(10, 1), (2000, 1), (0, 50), (1024, 200), (0, 700)],
        [(0, 2048)],
    ]
    for lengths in layouts:
        step = steps(lengths, 400)
        count = sum(length for _, length in lengths)
        query = torch.randn(count, heads, width, device=where).to(torch.bfloat16).transpose(0, 1)
        slots = torch.zeros(1, device=where)
        expected = Groups.of(Cache(), slots, step).attend(
            query.float(), held.float(), width**-0.5, window
        )
        kind = ragged.Ragged if on_gpu else Groups
        found = kind.of(Cache(), slots, step).attend(query, held, width**-0.5, window)
        assert apart(found, expected) < CLOSE[torch.bfloat16], lengths
