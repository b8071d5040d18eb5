"""Steps in tensors of fixed sizes, as CUDA graphs need them, against the ordinary ones."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from inference.decoding import attention
from inference.decoding.fixed import SIZES, Fixed
from inference.decoding.runner import Runner
from inference.decoding.step import PAGE, Part, Step, pages_for

ROWS, CONTEXT = 6, 400
Sequence = tuple[list[int], list[int]]


@pytest.fixture(params=["qwen3", "gemma3", "deepseek-llama"])
def model(request: pytest.FixtureRequest, tiny_text: Callable[[str], Path]) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        tiny_text(request.param), dtype=torch.float32, attn_implementation=attention.NAME
    ).eval()


def runner(model: Any, pages: int, fixed: bool) -> Runner:
    made = Runner(model)
    made.run([Part([1, 2], 0, [0], kept=True)])
    made.cache.allocate(pages)
    if fixed:
        made.fixed = Fixed(model, made.cache, ROWS, CONTEXT)
    return made


def schedule(draw: random.Random, vocabulary: int) -> list[Step]:
    """Prompts of many lengths in pieces, and answers beside them, on pages in any order."""
    pages = list(range(ROWS * pages_for(CONTEXT)))
    draw.shuffle(pages)
    sequences: list[Sequence] = [
        (
            [draw.randrange(vocabulary) for _ in range(draw.randrange(2, CONTEXT))],
            [pages.pop() for _ in range(pages_for(CONTEXT))],
        )
        for _ in range(ROWS)
    ]
    read = [0] * ROWS
    steps: list[Step] = []
    while any(read[i] < len(tokens) for i, (tokens, _) in enumerate(sequences)):
        step: list[Part] = []
        limit = SIZES[-1] if draw.random() < 0.9 else 2 * SIZES[-1]
        for number, (tokens, held) in enumerate(sequences):
            count = min(len(tokens) - read[number], draw.choice([1, 1, 3, 17, 60, 150]), limit)
            if count < 1 or draw.random() < 0.3:
                continue
            limit -= count
            part = tokens[read[number] : read[number] + count]
            step.append(Part(part, read[number], held, kept=draw.random() < 0.8))
            read[number] += count
        if step:
            steps.append(sorted(step, key=lambda part: len(part.tokens) > 1))
    return steps


def test_padded_steps_are_the_ordinary_ones_and_touch_nobodys_pages(model: Any) -> None:
    draw = random.Random(8)
    steps = schedule(draw, model.config.vocab_size)
    pages = ROWS * pages_for(CONTEXT)
    plain, padded = runner(model, pages, fixed=False), runner(model, pages, fixed=True)
    assert padded.fixed is not None
    held = sum(padded.fixed.holds(step) for step in steps)
    assert held >= 10
    with torch.inference_mode():
        for step in steps:
            expected, found = plain.run(step), padded.run(step)
            torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
            assert (found.argmax(-1) == expected.argmax(-1)).all()
    for layer, own in plain.cache.layers.items():
        mine, theirs = own[: pages * PAGE], padded.cache.layers[layer][: pages * PAGE]
        torch.testing.assert_close(theirs, mine, atol=1e-3, rtol=1e-3)
        assert not own[pages * PAGE :].any()


def test_a_step_too_large_runs_as_it_is(model: Any) -> None:
    padded = runner(model, 2 * pages_for(CONTEXT), fixed=True)
    assert padded.fixed is not None
    long = Part([1] * (SIZES[-1] + 1), 0, list(range(pages_for(CONTEXT))), kept=True)
    assert not padded.fixed.holds([long])
    many = [Part([1], 0, [0], kept=True)] * (ROWS + 1)
    assert not padded.fixed.holds(many)
    with torch.inference_mode():
        assert len(padded.run([long])) == 1
        assert len(padded.run(many)) == ROWS + 1
