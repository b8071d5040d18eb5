"""SmolLM2 on llama.cpp: the real model, in this process."""

import json
import threading
import time
from typing import Any

import jsonschema
import pytest

from benchmarks.schemas import mistakes
from inference.catalog import Catalog
from inference.errors import Cancelled, ContextLengthExceeded, InvalidRequest
from inference.types import ChatRequest, Delta, Emit, Engine, Event, Progress, Read, Result
from tests.inference.conftest import Loader

FRANCE = "What is the capital of France?"
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "people": {"type": "integer"}},
    "required": ["city", "people"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def smollm(cards: Catalog, start: Loader) -> Engine:
    return start(cards.cards["smollm2-135m"])


def ask(prompt: str = FRANCE, **fields: Any) -> ChatRequest:
    fields = {"max_tokens": 24, "temperature": 0.0, **fields}
    return ChatRequest(messages=[{"role": "user", "content": prompt}], **fields)


def schema(content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": content}}


def silent(event: Event) -> None:
    pass


def texts(result: Result) -> list[str]:
    return [choice["text"] for choice in result.data["choices"]]


def cancel_after(count: int) -> Emit:
    """An emit that cancels at the `count`th piece of text."""
    heard: list[Event] = []

    def emit(event: Event) -> None:
        heard.append(event)
        if sum(isinstance(e, Delta) for e in heard) >= count:
            raise Cancelled

    return emit


def test_it_knows_the_capital_of_france(smollm: Engine) -> None:
    result = smollm.generate(ask(), silent)
    assert texts(result) == ["The capital of France is Paris."]
    assert result.data["choices"][0]["finish_reason"] == "stop"


def test_it_counts_tokens(smollm: Engine) -> None:
    first = smollm.generate(ask("Count these tokens.", max_tokens=5), silent)
    usage = first.data["usage"]
    assert first.data["choices"][0]["finish_reason"] == "length"
    assert usage["completion_tokens"] == 5
    assert usage["total_tokens"] == usage["prompt_tokens"] + 5
    again = smollm.generate(ask("Count these tokens.", max_tokens=5), silent)
    assert again.data["usage"]["prompt_tokens_details"]["cached_tokens"] > 10


def test_the_pieces_are_the_answer(smollm: Engine) -> None:
    events: list[Event] = []
    result = smollm.generate(ask(n=2, temperature=1.0), events.append)
    for index, text in enumerate(texts(result)):
        pieces = [e.text for e in events if isinstance(e, Delta) and e.index == index]
        assert len(pieces) > 1
        assert "".join(pieces) == text


def test_temperature_0_always_says_the_same(smollm: Engine) -> None:
    story = ask("Tell me a story about a fox.")
    assert len({texts(smollm.generate(story, silent))[0] for _ in range(3)}) == 1


def test_a_seed_repeats_an_answer_and_n_takes_the_next_seeds(smollm: Engine) -> None:
    joke = "Tell me a joke about a dog."
    both = texts(smollm.generate(ask(joke, temperature=1.0, seed=7, n=2), silent))
    alone = [
        texts(smollm.generate(ask(joke, temperature=1.0, seed=seed), silent))[0] for seed in (7, 8)
    ]
    assert both == alone
    assert both[0] != both[1]


def test_it_stops_at_a_stop_string(smollm: Engine) -> None:
    result = smollm.generate(ask(stop=["", " France"]), silent)
    assert texts(result) == ["The capital of"]
    assert result.data["choices"][0]["finish_reason"] == "stop"


def test_json_follows_its_schema(smollm: Engine) -> None:
    request = ask("Describe Paris.", max_tokens=100, response_format=schema(CITY))
    jsonschema.validate(json.loads(texts(smollm.generate(request, silent))[0]), CITY)


def test_json_object_is_an_object(smollm: Engine) -> None:
    request = ask("Describe Paris.", max_tokens=300, response_format={"type": "json_object"})
    assert isinstance(json.loads(texts(smollm.generate(request, silent))[0]), dict)


def test_what_a_grammar_can_not_hold_is_refused(smollm: Engine) -> None:
    for content in ({"type": "number", "minimum": 5}, {"minLength": 3, "maxLength": 2}):
        with pytest.raises(InvalidRequest, match="can't be held") as refusal:
            smollm.generate(ask(response_format=schema(content)), silent)
        assert refusal.value.param == "response_format"


def test_ten_of_ten_keep_to_their_schema(smollm: Engine) -> None:
    assert mistakes(smollm, 10) == []


def test_text_is_a_format_too(smollm: Engine) -> None:
    plain = ask(response_format={"type": "text"})
    assert texts(smollm.generate(plain, silent)) == ["The capital of France is Paris."]


def test_a_wrong_schema_is_refused(smollm: Engine) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        smollm.generate(ask(response_format=schema({"type": "nonsense"})), silent)
    assert refusal.value.param == "response_format"
    assert "nonsense" in refusal.value.message
    assert "parser" not in refusal.value.message


def test_it_tells_how_likely_its_words_were(smollm: Engine) -> None:
    events: list[Event] = []
    result = smollm.generate(ask(logprobs=True, top_logprobs=3), events.append)
    (choice,) = result.data["choices"]
    told = choice["logprobs"]["content"]
    assert "".join(entry["token"] for entry in told) == choice["text"]
    assert told == [entry for e in events if isinstance(e, Delta) for entry in e.logprobs]
    for entry in told:
        assert entry.keys() == {"token", "logprob", "bytes", "top_logprobs"}
        assert len(entry["top_logprobs"]) == 3
        # Greedy: the likeliest was said.
        assert entry["logprob"] == max(other["logprob"] for other in entry["top_logprobs"])
    bare = smollm.generate(ask(logprobs=True), silent).data["choices"][0]["logprobs"]
    assert [entry["top_logprobs"] for entry in bare["content"]] == [[]] * len(told)


def test_each_token_is_counted_as_it_comes(smollm: Engine) -> None:
    events: list[Event] = []
    # Eleven pieces of a balloon's bytes make one character each.
    result = smollm.generate(ask("Say: 🎈🎈🎈", n=2), events.append)
    said = [event for event in events if isinstance(event, Delta)]
    # The end of an answer is a token without a piece.
    ends = [choice["finish_reason"] for choice in result.data["choices"]].count("stop")
    counted = sum(delta.tokens for delta in said)
    assert counted + ends == result.data["usage"]["completion_tokens"]
    (read,) = [event for event in events if isinstance(event, Read)]
    usage = result.data["usage"]
    assert read.tokens == usage["prompt_tokens"]
    assert read.cached == usage["prompt_tokens_details"]["cached_tokens"]
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 0}


def test_a_biased_token_is_never_said(smollm: Engine) -> None:
    # " Paris" in SmolLM2's vocabulary.
    result = smollm.generate(ask(logit_bias={"7042": -100.0}), silent)
    assert "Paris" not in texts(result)[0]


def test_a_bias_of_a_token_that_there_is_not_is_refused(smollm: Engine) -> None:
    smollm.generate(ask(logit_bias={"49151": 1.0}, max_tokens=1), silent)
    with pytest.raises(InvalidRequest, match="0 to 49151") as refusal:
        smollm.generate(ask(logit_bias={"49152": 1.0}), silent)
    assert refusal.value.param == "logit_bias"


def test_top_p_of_nothing_leaves_the_likeliest(smollm: Engine) -> None:
    result = smollm.generate(ask(temperature=2.0, top_p=0.0, seed=1), silent)
    assert texts(result) == ["The capital of France is Paris."]


def test_what_an_assistant_said_is_answered_and_not_gone_on_with(smollm: Engine) -> None:
    said = [{"role": "user", "content": FRANCE}, {"role": "assistant", "content": "The capital of"}]
    [text] = texts(smollm.generate(ChatRequest(said, max_tokens=12, temperature=0.0), silent))
    assert not text.startswith(" France")


@pytest.mark.parametrize("arguments", ["", '{"city": "Par', "Paris"])
def test_a_call_that_was_cut_off_can_be_said(smollm: Engine, arguments: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": FRANCE},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "Paris"},
    ]
    assert smollm.generate(ChatRequest(messages, max_tokens=4), silent).data["choices"]


def test_an_effort_is_taken_by_a_model_that_does_not_think(smollm: Engine) -> None:
    for effort in ("none", "high"):
        result = smollm.generate(ask(reasoning_effort=effort), silent)
        assert texts(result) == ["The capital of France is Paris."]
        assert "reasoning" not in result.data["choices"][0]


def test_a_picture_is_refused(smollm: Engine) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    request = ChatRequest([{"role": "user", "content": [picture]}])
    with pytest.raises(InvalidRequest) as refusal:
        smollm.generate(request, silent)
    assert refusal.value.param == "messages"


def test_a_prompt_too_long_is_refused_with_both_numbers(smollm: Engine) -> None:
    with pytest.raises(ContextLengthExceeded, match=r"has 30\d\d tokens.* context is 2048 tokens"):
        smollm.generate(ask("word " * 3000), silent)


def test_developer_messages_are_system_messages(smollm: Engine) -> None:
    def tokens(role: str) -> Any:
        messages = [{"role": role, "content": "Be brief."}, {"role": "user", "content": "Hi"}]
        return smollm.generate(ChatRequest(messages, max_tokens=1), silent).data["usage"]

    assert tokens("developer")["prompt_tokens"] == tokens("system")["prompt_tokens"]


def test_32_at_once_each_get_their_own(smollm: Engine) -> None:
    """A grammar allows each request one number only: a mix-up would show."""
    answers: dict[int, Any] = {}

    def work(number: int) -> None:
        only = {"type": "object", "properties": {"n": {"const": number}}, "required": ["n"]}
        request = ask(f"Say {number}.", max_tokens=40, response_format=schema(only))
        answers[number] = json.loads(texts(smollm.generate(request, silent))[0])

    threads = [threading.Thread(target=work, args=(100 + i,)) for i in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: {"n": number} for number in range(100, 132)}


def test_cancelling_one_leaves_the_others_alone(smollm: Engine) -> None:
    results: list[Result] = []

    def work(number: int) -> None:
        request = ask(f"Count from {number}.", max_tokens=12, stop=["zzz"])
        results.append(smollm.generate(request, silent))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(31)]
    for thread in threads:
        thread.start()
    with pytest.raises(Cancelled):
        smollm.generate(ask("Tell me a long story.", max_tokens=500, n=1), cancel_after(3))
    for thread in threads:
        thread.join()
    assert len(results) == 31
    assert all(texts(result)[0] for result in results)


@pytest.fixture(scope="module")
def one_slot(cards: Catalog, start: Loader) -> Engine:
    card = cards.cards["smollm2-135m"]
    return start(card.model_copy(update={"slots": 1, "context": 2048}))


def test_cancelling_frees_the_slot_at_once(one_slot: Engine) -> None:
    story = ask("Tell me a very long story.", max_tokens=1500)
    began = time.monotonic()
    with pytest.raises(Cancelled):
        one_slot.generate(story, cancel_after(2))
    assert texts(one_slot.generate(ask(), silent)) == ["The capital of France is Paris."]
    # The story alone would take ten seconds and more.
    assert time.monotonic() - began < 5


def test_cancelling_while_it_reads_a_long_prompt(one_slot: Engine) -> None:
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        raise Cancelled

    with pytest.raises(Cancelled):
        one_slot.generate(ask("number " * 1900), emit)
    assert isinstance(events[0], Progress)


def test_an_error_of_the_caller_is_not_swallowed(smollm: Engine) -> None:
    def emit(event: Event) -> None:
        raise ZeroDivisionError("the caller's own")

    with pytest.raises(ZeroDivisionError, match="the caller's own"):
        smollm.generate(ask(), emit)
    assert texts(smollm.generate(ask(), silent)) == ["The capital of France is Paris."]
