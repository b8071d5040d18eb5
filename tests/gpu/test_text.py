"""Chat models of every seed family on a GPU: tiny ones with random weights, and SmolLM2."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from transformers import AutoModelForCausalLM

from inference import engines, weights
from inference.catalog import Card, Catalog
from inference.decoding.fixed import SIZES
from inference.errors import Cancelled, InferenceError, WeightsNotFound
from inference.types import ChatRequest, Delta, Device, Event, Read, Result
from tests.inference.test_text_families import FAMILIES, FORM, SHAPE

LONG = "abc " * 200  # longer than the largest graph, and than Gemma's window
# How many tokens may differ where sums are taken in another order: in bfloat16 two often tie.
SAME = {"float32": 0.99, "bfloat16": 0.5}


def card(cards: Catalog, family: str, **options: Any) -> Card:
    way = cards.cards[FAMILIES[family]].way("text_transformers", "cuda")
    small = {"context": 2048, "slots": 32, "memory_mb": 4000, "options": options}
    return way.model_copy(update=small)


@pytest.fixture
def started(
    cards: Catalog, tiny: Callable[[str, str], Path], load: Callable[..., Any]
) -> Callable[..., Any]:
    def start(family: str = "qwen3", **options: Any) -> Any:
        return load(card(cards, family, **options), tiny("text", family), memory_mb=4000)

    return start


def ask(prompt: str = "Hello there", **fields: Any) -> ChatRequest:
    return ChatRequest(prompt=prompt, **{"max_tokens": 40, "temperature": 0.0, **fields})


def silent(event: Event) -> None:
    pass


def said(engine: Any, prompt: str, **fields: Any) -> list[tuple[str, float]]:
    """Each token as text, with its log probability."""
    request = ask(prompt, logprobs=True, **fields)
    entries = engine.generate(request, silent).data["choices"][0]["logprobs"]["content"]
    return [(entry["token"], entry["logprob"]) for entry in entries]


def together(engine: Any, requests: list[ChatRequest]) -> list[Result]:
    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(lambda request: engine.generate(request, silent), requests))


def tokens(result: Result) -> list[str]:
    return [entry["token"] for entry in result.data["choices"][0]["logprobs"]["content"]]


def agreement(many: list[list[str]], alone: list[list[str]]) -> float:
    pairs = [
        pair
        for one, other in zip(many, alone, strict=True)
        for pair in zip(one, other, strict=False)
    ]
    return sum(one == other for one, other in pairs) / len(pairs)


@pytest.mark.parametrize("dtype", SAME)
@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "eager"])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_writes_what_transformers_writes(
    family: str, graphs: bool, dtype: str, started: Any, tiny: Any, on_gpu: bool
) -> None:
    engine = started(family, dtype=dtype, graphs=graphs)
    if on_gpu:
        fixed = engine.loop.runner.fixed
        assert (len(fixed._graphs) if fixed else 0) == (len(SIZES) if graphs else 0)
    plain = AutoModelForCausalLM.from_pretrained(
        tiny("text", family), dtype=getattr(torch, dtype)
    ).to(engine.loop.runner.model.device)
    for prompt in ("One day", LONG):
        ids = engine._vocabulary.encode(prompt, bare=True)
        answer = engine.generate(ask(prompt, max_tokens=24, logprobs=True), silent)
        mine = tokens(answer)
        with torch.inference_mode():
            output = plain.generate(
                torch.tensor([ids], device=plain.device), max_new_tokens=24, do_sample=False,
                output_logits=True, return_dict_in_generate=True,
            )  # fmt: skip
        written = output.sequences[0, len(ids) :].tolist()
        entries = answer.data["choices"][0]["logprobs"]["content"]
        expected = [
            float(logits[0].float().log_softmax(-1)[token])
            for token, logits in zip(written, output.logits, strict=True)
        ]
        found = [entry["logprob"] for entry in entries]
        least = 1e-3 if dtype == "float32" else 0.3
        close = [abs(a - b) < least for a, b in zip(found, expected, strict=False)]
        print(f"{family} {dtype} graphs={graphs}: {sum(close)} of {len(close)} are close")
        assert close[0]
        assert sum(close) >= SAME[dtype] * len(mine)


@pytest.mark.parametrize("dtype", SAME)
def test_together_and_alone(dtype: str, started: Any) -> None:
    engine = started(dtype=dtype)
    requests = [ask(f"Tell {number} " * (number + 1), logprobs=True) for number in range(32)]
    many = [tokens(result) for result in together(engine, requests)]
    alone = [tokens(engine.generate(request, silent)) for request in requests]
    same = agreement(many, alone)
    print(f"together and alone, {dtype}: {same:.1%} of {sum(map(len, alone))} tokens are the same")
    assert same >= SAME[dtype]


def test_graphs_and_eager_write_the_same(started: Any) -> None:
    graphs, eager = started(dtype="float32"), started(dtype="float32", graphs=False)
    requests = [ask(f"{number} " * 9 * number, logprobs=True) for number in range(1, 33)]
    found, expected = (
        [tokens(result) for result in together(engine, requests)] for engine in (graphs, eager)
    )
    assert agreement(found, expected) >= SAME["float32"]


def test_it_streams_and_a_cancel_frees_its_pages(started: Any) -> None:
    engine = started()
    pages = engine.loop.pages
    heard: list[Event] = []

    def cancel(event: Event) -> None:
        heard.append(event)
        if sum(isinstance(one, Delta) for one in heard) == 5:
            raise Cancelled

    with pytest.raises(Cancelled):
        engine.generate(ask("word " * 300, max_tokens=500, n=3), cancel)
    assert isinstance(next(e for e in heard if isinstance(e, Read | Delta)), Read)
    assert pages.available == pages.count


def test_others_go_on_when_one_is_cancelled(started: Any) -> None:
    engine = started(dtype="float32")
    alone = tokens(engine.generate(ask("stays", logprobs=True, max_tokens=200), silent))
    begun = threading.Event()

    def leave(event: Event) -> None:
        if isinstance(event, Delta):
            begun.set()
            raise Cancelled

    def leaves(number: int) -> None:
        with pytest.raises(Cancelled):
            engine.generate(ask(f"goes {number}", max_tokens=500), leave)

    with ThreadPoolExecutor(9) as pool:
        staying = pool.submit(engine.generate, ask("stays", logprobs=True, max_tokens=200), silent)
        list(pool.map(leaves, range(8)))
        assert agreement([tokens(staying.result(60))], [alone]) >= SAME["float32"]


def test_what_prompts_share_is_read_once(started: Any) -> None:
    engine = started(dtype="float32")
    shared = "The quick brown fox. " * 40

    def known(prompt: str) -> int:
        data = engine.generate(ask(prompt, max_tokens=1), silent).data
        return int(data["usage"]["prompt_tokens_details"]["cached_tokens"])

    first = said(engine, shared + "one")
    assert known(shared + "two") >= len(shared) - 32
    again = said(engine, shared + "one")
    assert [token for token, _ in again] == [token for token, _ in first]
    assert [logprob for _, logprob in again] == pytest.approx(
        [logprob for _, logprob in first], abs=1e-3
    )


def test_seeds_penalties_and_biases(started: Any) -> None:
    engine = started()
    both = engine.generate(ask(temperature=1.0, top_p=0.9, seed=7, n=2), silent)
    texts = [choice["text"] for choice in both.data["choices"]]
    again = engine.generate(ask(temperature=1.0, top_p=0.9, seed=7, n=2), silent)
    assert [choice["text"] for choice in again.data["choices"]] == texts
    assert texts[0] != texts[1]
    first, _ = said(engine, "Hello", max_tokens=1)[0]
    token = engine._vocabulary.encode(first, bare=True)[0]
    assert said(engine, "Hello", max_tokens=1, logit_bias={str(token): -100})[0][0] != first
    assert said(engine, "Hello", frequency_penalty=2.0, presence_penalty=1.0)


def test_32_json_answers_at_once_follow_their_schema(started: Any) -> None:
    engine = started()
    messages = [{"role": "user", "content": "A pet"}]
    requests = [
        ChatRequest(
            messages=messages, response_format=FORM, max_tokens=300, reasoning_effort="none",
            temperature=1.0, seed=number,
        )
        for number in range(32)
    ]  # fmt: skip
    for result in together(engine, requests):
        jsonschema.validate(json.loads(result.data["choices"][0]["text"]), SHAPE)


def test_a_broken_step_fails_its_request_only(started: Any) -> None:
    engine = started()

    def break_once(*_: Any) -> None:
        hook.remove()
        raise RuntimeError("broken")

    hook = engine.loop.runner.model.register_forward_pre_hook(break_once)
    with pytest.raises(InferenceError, match="broken"):
        engine.generate(ask(LONG), silent)
    assert said(engine, "Hello")


def test_a_full_cache_lets_the_youngest_wait(started: Any) -> None:
    engine = started(dtype="float32")
    requests = [ask(f"{n} " + LONG, max_tokens=60, logprobs=True) for n in range(8)]
    alone = [tokens(engine.generate(request, silent)) for request in requests]
    held = engine.loop.pages.take(engine.loop.pages.available - 5 * 55)
    found = [tokens(result) for result in together(engine, requests)]
    engine.loop.pages.release(held)
    assert agreement(found, alone) >= SAME["float32"]


def test_the_cards_memory_is_kept(
    cards: Catalog, tiny: Any, device: Callable[..., Device], memory: Any, on_gpu: bool
) -> None:
    before = memory()
    free = torch.cuda.mem_get_info()[0] if on_gpu else 0
    folder = tiny("text", "qwen3")
    found = weights.Weights({"model": folder})
    wide = card(cards, "qwen3").model_copy(update={"context": 2048, "slots": 10_000})
    engine: Any = engines.load(wide, found, device(2000))
    together(engine, [ask(LONG * 2, max_tokens=100) for _ in range(64)])
    if on_gpu:
        taken = (free - torch.cuda.mem_get_info()[0]) / 1e6
        print(f"2000 MB: {taken:.0f} MB taken, {engine.loop.room} tokens")
        # A layer is copied in a step, and this model has but two: a third is left for that.
        assert 700 < taken < 2000
    engine.close()
    del engine
    assert memory() - before < 20e6


def test_a_model_that_does_not_fit_says_so(cards: Catalog, tiny: Any, load: Any) -> None:
    wide = card(cards, "qwen3").model_copy(update={"memory_mb": 601})
    with pytest.raises(InferenceError, match="Raise memory_mb or lower context"):
        load(wide, tiny("text", "qwen3"), memory_mb=601)


@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "eager"])
def test_smollm2_knows_the_capital_of_france(
    graphs: bool, cards: Catalog, models: Path, device: Any, tmp_path_factory: Any
) -> None:
    way = cards.cards["smollm2-135m"].way("text_transformers", "cpu")
    way = way.model_copy(
        update={"device": "cuda", "options": {**way.options, "graphs": graphs}, "memory_mb": 4000}
    )
    try:
        found = weights.fetch(
            way, models.resolve(), tmp_path_factory.getbasetemp() / "cache", lambda _: None
        )
    except WeightsNotFound as missing:
        pytest.skip(str(missing))
    engine: Any = engines.load(way, found, device(4000))
    question = [{"role": "user", "content": "What is the capital of France?"}]
    request = ChatRequest(messages=question, max_tokens=24, temperature=0.0)
    try:
        texts = [result.data["choices"][0]["text"] for result in together(engine, [request] * 32)]
    finally:
        engine.close()
    assert texts == ["The capital of France is Paris."] * 32
