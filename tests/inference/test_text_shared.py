"""Tiny models that two processes share (tensor parallelism), on the CPU."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest

from inference import engines
from inference.catalog import Card, Catalog
from inference.decoding.step import Part, packed, unpacked
from inference.errors import Cancelled, EngineLost, InferenceError
from inference.types import Delta, Device, Event, Read, Result
from inference.weights import Weights
from tests.inference.test_text_families import FAMILIES, FORM, SHAPE, ask, card, silent
from tests.inference.test_text_transformers import at_once
from tests.leftovers import eventually

BOTH = {"dtype": "float32", "processes": 2}
PROMPTS = ["Hello there", "Once upon a time " * 20, "a", "Who are you? " * 9]


def load(card: Card, folder: Path) -> Any:
    return engines.load(card, Weights({"model": folder}), Device(threads=2))


def others() -> list[psutil.Process]:
    """The processes that have other shares than this one."""
    return [
        process
        for process in psutil.Process().children()
        if "inference.decoding.rank" in process.cmdline()
    ]


def tokens(result: Result) -> list[list[str]]:
    return [
        [entry["token"] for entry in choice["logprobs"]["content"]]
        for choice in result.data["choices"]
    ]


def test_a_step_arrives_as_it_was_sent() -> None:
    step = [Part([7], 31, [4, 9], kept=True), Part([1, 2, 3], 15, [3, 5, 8], kept=False)]
    first, second = unpacked(packed(step))
    assert (list(first.tokens), first.start, list(first.pages), first.kept) == (
        [7],
        31,
        [4, 9],
        True,
    )
    # Only the pages that it reads.
    assert list(second.pages) == [3, 5]
    assert second.slots() == step[1].slots()
    assert unpacked(packed([])) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_two_processes_write_what_one_writes(
    family: str, cards: Catalog, tiny_text: Callable[[str], Path]
) -> None:
    requests = [ask(prompt, logprobs=True) for prompt in PROMPTS]
    engine = load(card(cards, family), tiny_text(family))
    alone = [tokens(engine.generate(request, silent)) for request in requests]
    engine.close()
    engine = load(card(cards, family, options=BOTH), tiny_text(family))
    try:
        (other,) = others()
        heads = engine.loop.runner._runner.cache.layers[0].shape[1]
        assert [tokens(engine.generate(request, silent)) for request in requests] == alone
        assert [tokens(result) for result in at_once(engine, requests)] == alone
        assert heads == 2, "the keys and values of one of two heads"
    finally:
        engine.close()
    assert not other.is_running()


def test_heads_that_cannot_be_shared_out_are_refused(
    cards: Catalog, tiny_text: Callable[[str], Path]
) -> None:
    three = card(cards, "qwen3", options={**BOTH, "processes": 3})
    with pytest.raises(InferenceError) as refusal:
        load(three, tiny_text("qwen3"))
    assert refusal.value.message == (
        "qwen3-8b has 2 key heads in each layer, and 3 processes can't share these out evenly. "
        "Choose a number of devices that divides them."
    )
    assert others() == []


def test_they_hold_as_many_pages_as_fits_in_each(
    cards: Catalog, tiny_text: Callable[[str], Path]
) -> None:
    folder = tiny_text("qwen3")
    with pytest.raises(InferenceError, match="MB of its memory for its cache"):
        load(card(cards, "qwen3", options=BOTH, memory_mb=300), folder)
    eventually(lambda: not others())


def test_when_one_is_killed_all_requests_fail_and_may_be_tried_again(
    cards: Catalog, tiny_text: Callable[[str], Path]
) -> None:
    both = card(cards, "qwen3", options=BOTH)
    engine = load(both, tiny_text("qwen3"))
    (other,) = others()
    ends = {str(end): -100.0 for end in engine._ends}
    written = threading.Semaphore(0)

    def kill() -> None:
        for _ in range(9):
            written.acquire()
        other.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    for _ in range(2):
        with pytest.raises(EngineLost) as failure:
            engine.generate(
                ask(max_tokens=900, logit_bias=ends, n=3), lambda event: written.release()
            )
        assert failure.value.retryable
    killer.join()
    engine.close()
    assert others() == []

    # Another may come in its place; and now nobody works.
    engine = load(both, tiny_text("qwen3"))
    assert engine.generate(ask(), silent).data["usage"]["completion_tokens"] > 0
    (other,) = others()
    other.kill()
    eventually(lambda: not other.is_running())
    with pytest.raises(EngineLost, match="Process 2 of 2 of the model has ended with status -9"):
        engine.generate(ask(), silent)
    engine.close()


KILLED = """
import sys, time
from pathlib import Path
from inference.catalog import Card
from tests.inference import test_text_shared as tests
engine = tests.load(Card.model_validate_json(sys.argv[1]), Path(sys.argv[2]))
print(tests.others()[0].pid, flush=True)
time.sleep(600)
"""


def test_none_outlives_the_first(cards: Catalog, tiny_text: Callable[[str], Path]) -> None:
    both = card(cards, "qwen3", options=BOTH)
    first = subprocess.Popen(
        [sys.executable, "-c", KILLED, both.model_dump_json(), tiny_text("qwen3")],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
    )
    assert first.stdout is not None
    other = psutil.Process(int(first.stdout.readline()))
    first.kill()
    first.communicate()
    eventually(lambda: not other.is_running())


# One engine for all that follow: a process can have a share of one model only.


@pytest.fixture(scope="module")
def shared(cards: Catalog, tiny_text: Callable[[str], Path]) -> Iterator[Any]:
    """The tiny Qwen3 on two processes."""
    engine = load(card(cards, "qwen3", options=BOTH), tiny_text("qwen3"))
    yield engine
    engine.close()


def test_answers_stream_and_seeds_repeat_them(shared: Any) -> None:
    events: list[Event] = []
    request = ask(temperature=1.0, seed=3, n=2)
    result = shared.generate(request, events.append)
    assert sum(isinstance(event, Read) for event in events) == 1
    for index, choice in enumerate(result.data["choices"]):
        deltas = [e for e in events if isinstance(e, Delta) and e.index == index]
        assert len(deltas) > 5
        assert "".join(e.text for e in deltas if e.part == "content") == choice["text"]
    assert shared.generate(request, silent).data["choices"] == result.data["choices"]


def test_a_schema_is_kept_to(shared: Any) -> None:
    request = ask(
        response_format=FORM, max_tokens=300, reasoning_effort="none", temperature=1.0, seed=1
    )
    for result in at_once(shared, [request] * 3):
        jsonschema.validate(json.loads(result.data["choices"][0]["text"]), SHAPE)


def test_what_prompts_share_is_read_once(shared: Any) -> None:
    long = "The quick brown fox jumps over the lazy dog. " * 6
    first = shared.generate(ask(long + "Where?", logprobs=True), silent)
    again = shared.generate(ask(long + "Where?", logprobs=True), silent)
    assert again.data["usage"]["prompt_tokens_details"]["cached_tokens"] > 200
    assert tokens(again) == tokens(first)


def test_a_cancelled_answer_frees_its_pages(shared: Any) -> None:
    pages, seen = shared.loop.pages, []

    def cancel(event: Event) -> None:
        if isinstance(event, Delta):
            seen.append(pages.available)
            raise Cancelled

    with pytest.raises(Cancelled):
        shared.generate(ask("word " * 100, n=3), cancel)
    assert seen[0] < pages.count
    assert pages.available == pages.count
