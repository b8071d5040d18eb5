"""A model that several GPUs share; with one GPU there is nothing to test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from inference import engines
from inference.catalog import Card, Catalog
from inference.errors import EngineLost
from inference.types import Device
from inference.weights import Weights
from tests.inference.test_text_families import FAMILIES, ask, silent
from tests.inference.test_text_families import card as family_card

MEMORY_MB = 6000


@pytest.fixture
def load(on_gpu: bool, cards: Catalog, tiny: Callable[[str, str], Path]) -> Callable[..., Any]:
    """The engine of a family, on so many devices."""
    if on_gpu and torch.cuda.device_count() < 2:
        pytest.skip("There is one GPU here, and this is about several.")

    def made(family: str, devices: int, **options: Any) -> Any:
        options = {"dtype": "float32", "processes": devices, **options}
        card: Card = family_card(cards, family, options=options)
        device = Device("cuda", 0, 4, MEMORY_MB, devices) if on_gpu else Device(threads=2)
        return engines.load(card, Weights({"model": tiny("text", family)}), device)

    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_two_gpus_write_what_one_writes(family: str, load: Callable[..., Any]) -> None:
    requests = [ask(prompt, logprobs=True) for prompt in ("Hello", "Once upon a time " * 20)]
    answers = []
    for devices in (1, 2):
        engine = load(family, devices)
        answers.append([engine.generate(request, silent).data for request in requests])
        engine.close()
    for alone, shared in zip(*answers, strict=True):
        assert shared["choices"][0]["text"] == alone["choices"][0]["text"]


def test_in_bfloat16_it_answers_too(load: Callable[..., Any]) -> None:
    engine = load("qwen3", 2, dtype="bfloat16")
    assert engine.generate(ask(), silent).data["usage"]["completion_tokens"] > 0
    engine.close()


def test_who_is_left_does_not_wait_for_the_dead(load: Callable[..., Any]) -> None:
    engine = load("qwen3", 2)
    (other,) = psutil.Process().children()
    other.kill()
    with pytest.raises(EngineLost):
        engine.generate(ask(), silent)
    engine.close()
