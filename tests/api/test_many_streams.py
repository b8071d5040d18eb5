"""Thirty-two streams at once on one pod of a real model, each with its own right text."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.api.caller import Caller

MODEL = "smollm2-135m"
STREAMS = 32


def asked(number: int) -> str:
    """What only this stream may say: a grammar leaves the model no choice."""
    return f"stream number {number} says {number * 7919}"


def spoken(caller: Caller, number: int) -> str:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"said": {"const": asked(number)}},
        "required": ["said"],
        "additionalProperties": False,
    }
    with caller.stream(
        f"Say {number}.",
        MODEL,
        temperature=0,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "said", "schema": schema, "strict": True},
        },
    ) as lines:
        return lines.text()


def test_each_has_its_own_text(alice: Caller, capsys: pytest.CaptureFixture[str]) -> None:
    spoken(alice, 0)
    started = time.monotonic()
    alone = spoken(alice, 1)
    one = time.monotonic() - started
    assert json.loads(alone) == {"said": asked(1)}
    started = time.monotonic()
    with ThreadPoolExecutor(STREAMS) as threads:
        texts = list(threads.map(lambda number: spoken(alice, number), range(1, STREAMS + 1)))
    all_of_them = time.monotonic() - started
    for number, text in enumerate(texts, start=1):
        assert json.loads(text) == {"said": asked(number)}
    with capsys.disabled():
        print(f"\none stream {one:.1f} s, {STREAMS} at once {all_of_them:.1f} s")


def test_beside_others_it_says_the_same_as_alone(alice: Caller) -> None:
    questions = [f"Write one sentence about the number {number}." for number in range(8)]

    def answer(question: str) -> str:
        with alice.stream(question, MODEL, temperature=0, max_tokens=16) as lines:
            return lines.text()

    alone = [answer(question) for question in questions[:2]]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(answer, questions))
    assert len(set(together)) == len(questions)
    # Batched sums round differently, so only the beginnings must agree.
    for one, other in zip(alone, together, strict=False):
        assert one.split()[:3] == other.split()[:3]
