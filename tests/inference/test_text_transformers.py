"""SmolLM2 on transformers: the real model as safetensors, in this process, on the CPU."""

import json
import math
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from inference import engines, weights
from inference.catalog import Card, Catalog
from inference.errors import Cancelled, ContextLengthExceeded, InferenceError, InvalidRequest
from inference.types import ChatRequest, Delta, Device, Event, Read, Result

FRANCE = "What is the capital of France?"
STORY = "Tell me a story about a fox and the number {}."
CITY = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "people": {"type": "integer", "minimum": 0, "maximum": 99999999},
    },
    "required": ["city", "people"],
    "additionalProperties": False,
}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module")
def card(cards: Catalog) -> Card:
    way = cards.cards["smollm2-135m"].way("text_transformers", "cpu")
    # In float32 an answer does not depend on who else is in the batch; see docs/text.md.
    return way.model_copy(
        update={"options": {**way.options, "dtype": "float32"}, "memory_mb": 4000}
    )


@pytest.fixture(scope="module")
def smollm(card: Card, pytestconfig: pytest.Config) -> Iterator[Any]:
    # Converting takes half a minute, so what is converted outlives the session.
    assert pytestconfig.cache is not None
    cache = pytestconfig.cache.mkdir("smollm2")
    found = weights.fetch(card, Path(), cache, lambda fraction: None)
    engine = engines.load(card, found, Device(threads=1))
    yield engine
    engine.close()


def ask(prompt: str = FRANCE, **fields: Any) -> ChatRequest:
    fields = {"max_tokens": 24, "temperature": 0.0, **fields}
    return ChatRequest(messages=[{"role": "user", "content": prompt}], **fields)


def silent(event: Event) -> None:
    pass


def texts(result: Result) -> list[str]:
    return [choice["text"] for choice in result.data["choices"]]


def endless(engine: Any) -> dict[str, Any]:
    """Fields of an answer that does not come to an end by itself."""
    return {"max_tokens": 1400, "logit_bias": {str(end): -100 for end in engine._ends}}


def at_once(engine: Any, requests: list[ChatRequest]) -> list[Result]:
    results: dict[int, Result] = {}

    def run(number: int) -> None:
        results[number] = engine.generate(requests[number], silent)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [results[number] for number in range(len(requests))]


def test_it_knows_the_capital_of_france(smollm: Any) -> None:
    events: list[Event] = []
    result = smollm.generate(ask(), events.append)
    assert texts(result) == ["The capital of France is Paris."]
    assert result.data["choices"][0]["finish_reason"] == "stop"
    reads = [event for event in events if isinstance(event, Read)]
    assert [read.tokens for read in reads] == [result.data["usage"]["prompt_tokens"]]
    deltas = [event for event in events if isinstance(event, Delta)]
    assert "".join(delta.text for delta in deltas) == texts(result)[0]
    assert sum(delta.tokens for delta in deltas) == result.data["usage"]["completion_tokens"]
    assert len(deltas) > 5


def test_many_at_once_say_what_each_says_alone(smollm: Any) -> None:
    requests = [ask(STORY.format(number), max_tokens=12) for number in range(8)]
    together = [text.split() for result in at_once(smollm, requests) for text in texts(result)]
    alone = [text.split() for one in requests for text in texts(smollm.generate(one, silent))]
    same = sum(
        many == one
        for answer, lone in zip(together, alone, strict=True)
        for many, one in zip_longest(answer, lone)
    )
    assert same >= 0.99 * sum(map(len, alone))


def test_a_seed_repeats_an_answer_and_n_takes_the_next_seeds(smollm: Any) -> None:
    joke = "Tell me a joke about a dog."
    both = texts(smollm.generate(ask(joke, temperature=1.0, seed=7, n=2), silent))
    alone = [
        texts(smollm.generate(ask(joke, temperature=1.0, seed=seed), silent))[0] for seed in (7, 8)
    ]
    assert both == alone
    assert both[0] != both[1]


def test_it_stops_at_a_stop_string_and_never_shows_it(smollm: Any) -> None:
    heard: list[Event] = []
    result = smollm.generate(ask(stop=["", " France"]), heard.append)
    assert texts(result) == ["The capital of"]
    assert result.data["choices"][0]["finish_reason"] == "stop"
    assert "".join(e.text for e in heard if isinstance(e, Delta)) == "The capital of"


def test_max_tokens_is_the_length(smollm: Any) -> None:
    result = smollm.generate(ask(max_tokens=5), silent)
    assert result.data["choices"][0]["finish_reason"] == "length"
    assert result.data["usage"]["completion_tokens"] == 5


def test_a_bare_prompt_is_continued(smollm: Any) -> None:
    request = ChatRequest(prompt="One, two, three,", max_tokens=4, temperature=0.0)
    result = smollm.generate(request, silent)
    assert "four" in texts(result)[0]
    assert result.data["usage"]["prompt_tokens"] < 10


def test_a_bias_bans_a_token(smollm: Any) -> None:
    plain = smollm.generate(ask(logprobs=True, max_tokens=1), silent)
    first = plain.data["choices"][0]["logprobs"]["content"][0]["token"]
    token = smollm._vocabulary.encode(first, bare=False)[0]
    banned = ask(logit_bias={str(token): -100}, max_tokens=1)
    assert texts(smollm.generate(banned, silent)) != [first]
    with pytest.raises(InvalidRequest, match="0 to 49151") as refusal:
        smollm.generate(ask(logit_bias={"99999": 1}), silent)
    assert refusal.value.param == "logit_bias"


def test_top_p_of_nothing_leaves_the_likeliest(smollm: Any) -> None:
    result = smollm.generate(ask(temperature=2.0, top_p=0.0, seed=1), silent)
    assert texts(result) == ["The capital of France is Paris."]


def test_penalties_end_repetition(smollm: Any) -> None:
    def most_said(**fields: Any) -> int:
        request = ChatRequest(prompt="fox " * 20, max_tokens=16, temperature=0.0, **fields)
        told = smollm.generate(replace(request, logprobs=True), silent)
        content = told.data["choices"][0]["logprobs"]["content"]
        return Counter(entry["token"] for entry in content).most_common(1)[0][1]

    assert most_said() >= 4
    assert most_said(frequency_penalty=2.0, presence_penalty=2.0) <= 2


def test_logprobs_are_those_of_a_distribution(smollm: Any) -> None:
    result = smollm.generate(ask(logprobs=True, top_logprobs=5), silent)
    content = result.data["choices"][0]["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content) == texts(result)[0]
    assert bytes(b for entry in content for b in entry["bytes"]).decode() == texts(result)[0]
    for entry in content:
        top = entry["top_logprobs"]
        assert len(top) == 5
        # Greedy: the chosen one is the likeliest.
        assert (top[0]["token"], top[0]["logprob"]) == (entry["token"], entry["logprob"])
        assert sum(math.exp(one["logprob"]) for one in top) <= 1 + 1e-5


def test_json_follows_its_schema(smollm: Any) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": CITY}}
    requests = [
        ask("Describe Paris.", max_tokens=100, temperature=1.0, seed=n, response_format=form)
        for n in range(8)
    ]
    for result in at_once(smollm, requests):
        jsonschema.validate(json.loads(texts(result)[0]), CITY)


def test_json_object_is_an_object(smollm: Any) -> None:
    form = {"type": "json_object"}
    request = ask("Name and age?", max_tokens=200, frequency_penalty=1.0, response_format=form)
    assert isinstance(json.loads(texts(smollm.generate(request, silent))[0]), dict)


def test_a_wrong_schema_is_refused(smollm: Any) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}
    with pytest.raises(InvalidRequest, match="nonsense") as refusal:
        smollm.generate(ask(response_format=form), silent)
    assert refusal.value.param == "response_format"


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_weather"}}]
)
def test_a_call_can_be_forced(smollm: Any, choice: Any) -> None:
    heard: list[Event] = []
    request = ask("The weather in Paris?", tools=[WEATHER], tool_choice=choice, max_tokens=60)
    chosen = smollm.generate(request, heard.append).data["choices"][0]
    assert (chosen["text"], chosen["finish_reason"]) == ("", "tool_calls")
    call = chosen["tool_calls"][0]
    assert (call["type"], call["function"]["name"]) == ("function", "get_weather")
    jsonschema.validate(
        json.loads(call["function"]["arguments"]), WEATHER["function"]["parameters"]
    )
    pieces = [e for e in heard if isinstance(e, Delta) and e.part == "call.0"]
    assert pieces[0].call is not None
    assert pieces[0].call.id == call["id"]
    assert "".join(piece.text for piece in pieces) == call["function"]["arguments"]


def test_a_prompt_too_long_is_refused_with_both_numbers(smollm: Any) -> None:
    with pytest.raises(ContextLengthExceeded, match=r"has 30\d\d tokens.* context is 2048 tokens"):
        smollm.generate(ask("word " * 3000), silent)


def test_a_picture_is_refused(smollm: Any) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with pytest.raises(InvalidRequest, match="image_url") as refusal:
        smollm.generate(ChatRequest([{"role": "user", "content": [picture]}]), silent)
    assert refusal.value.param == "messages"


def test_what_prompts_share_is_read_once(smollm: Any) -> None:
    long = "Here is a document. " + "The quick brown fox jumps over the lazy dog. " * 30

    def first_token(question: str) -> tuple[float, int]:
        started, cached = time.monotonic(), []
        result = smollm.generate(
            ask(long + question, max_tokens=1),
            lambda e: cached.append(e.cached) if isinstance(e, Read) else None,
        )
        details = result.data["usage"]["prompt_tokens_details"]
        assert cached == [details["cached_tokens"]]
        return time.monotonic() - started, cached[0]

    cold_s, nothing = first_token("What is it?")
    warm_s, known = first_token("Who jumps?")
    assert nothing <= 32  # the system message
    assert known > 280
    assert warm_s < cold_s / 2


def test_cancelled_answers_give_their_pages_back_at_once(smollm: Any) -> None:
    pages = smollm.loop.pages
    seen: list[int] = []

    def cancel(event: Event) -> None:
        if isinstance(event, Delta):
            seen.append(pages.available)
            raise Cancelled

    with pytest.raises(Cancelled):
        smollm.generate(ask("word " * 600, n=3, **endless(smollm)), cancel)
    assert seen[0] < pages.count
    assert pages.available == pages.count


def test_when_31_of_32_are_cancelled_the_last_speeds_up(smollm: Any) -> None:
    stop = threading.Event()
    begun: set[int] = set()
    crowded: list[float] = []
    alone: list[float] = []

    def other(number: int) -> None:
        def emit(event: Event) -> None:
            begun.add(number)
            if stop.is_set():
                raise Cancelled

        with pytest.raises(Cancelled):
            smollm.generate(ask(STORY.format(number), **endless(smollm)), emit)

    threads = [threading.Thread(target=other, args=(number,)) for number in range(31)]

    def emit(event: Event) -> None:
        if not isinstance(event, Delta) or len(begun) < 31:
            return
        if len(crowded) < 6:
            crowded.append(time.monotonic())
            return
        stop.set()
        if not any(thread.is_alive() for thread in threads):
            alone.append(time.monotonic())
            if len(alone) == 8:
                raise Cancelled

    for thread in threads:
        thread.start()
    try:
        with pytest.raises(Cancelled):
            smollm.generate(ask(STORY.format("x"), **endless(smollm)), emit)
    finally:
        stop.set()
    for thread in threads:
        thread.join(60)
    # What had been written before the others were gone may still come at once.
    assert alone[-1] - alone[2] < 0.75 * (crowded[-1] - crowded[0])
    assert smollm.loop.pages.available == smollm.loop.pages.count


def test_a_broken_step_fails_its_request_and_the_next_one_is_answered(smollm: Any) -> None:
    def break_once(*_: Any) -> None:
        hook.remove()
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    hook = smollm.loop.runner.model.register_forward_pre_hook(break_once)
    with pytest.raises(InferenceError, match="illegal memory access") as failure:
        smollm.generate(ask(), silent)
    assert failure.value.retryable
    assert texts(smollm.generate(ask(), silent)) == ["The capital of France is Paris."]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_worker_is_replaced(smollm: Any) -> None:
    def die(*_: Any) -> None:
        hook.remove()
        raise SystemExit

    hook = smollm.loop.runner.model.register_forward_pre_hook(die)
    with pytest.raises(InferenceError) as failure:
        smollm.generate(ask(), silent)
    assert failure.value.retryable
    assert texts(smollm.generate(ask(), silent)) == ["The capital of France is Paris."]
