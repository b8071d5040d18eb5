"""Thoughts apart from the answer, and how likely its words were, by the openai client."""

import math
from typing import Any

import pytest

from tests.api.caller import Caller, error_of

WORDS = "<think>let me see </think>one two three"


def test_thoughts_are_apart_and_counted(alice: Caller) -> None:
    with alice.openai() as client:
        answer = client.chat.completions.create(
            model="echo", messages=[{"role": "user", "content": WORDS}], max_tokens=6
        )
    message = answer.choices[0].message
    assert message.content == "one two three "
    assert message.to_dict()["reasoning_content"] == "let me see "
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 6
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 3


def test_thoughts_are_streamed_before_the_answer(alice: Caller) -> None:
    with alice.stream(
        WORDS, "echo-slow", max_tokens=6, stream_options={"include_usage": True}
    ) as lines:
        *chunks, last = lines.chunks()
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": None}
    said = [next(iter(delta)) for delta in deltas[1:-1]]
    first = said.index("content")
    assert set(said[:first]) == {"reasoning_content"}
    assert set(said[first:]) == {"content"}
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "let me see "
    assert "".join(delta.get("content") or "" for delta in deltas) == "one two three "
    assert last["usage"]["completion_tokens_details"] == {"reasoning_tokens": 3}


def test_no_effort_means_no_thoughts(alice: Caller) -> None:
    answer = alice.chat(WORDS, reasoning_effort="none", max_tokens=3).json()
    message = answer["choices"][0]["message"]
    assert message["content"] == "one two three "
    assert "reasoning_content" not in message
    assert answer["usage"]["completion_tokens_details"] == {"reasoning_tokens": 0}


def test_it_tells_how_likely_its_words_were(alice: Caller) -> None:
    asked: dict[str, Any] = {
        "model": "smollm2-135m",
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 2,
    }
    with alice.openai() as client:
        (choice,) = client.chat.completions.create(**asked).choices
        chunks = list(client.chat.completions.create(**asked, stream=True))
    assert choice.logprobs is not None
    told = choice.logprobs.content or []
    assert "".join(entry.token for entry in told) == choice.message.content
    for entry in told:
        assert entry.logprob <= 0
        assert bytes(entry.bytes or ()).decode() == entry.token
        assert sum(math.exp(other.logprob) for other in entry.top_logprobs) <= 1.001
        assert len(entry.top_logprobs) == 2
    streamed = [
        entry
        for chunk in chunks
        if chunk.choices[0].logprobs
        for entry in chunk.choices[0].logprobs.content or ()
    ]
    assert [entry.token for entry in streamed] == [entry.token for entry in told]


def test_logprobs_belong_to_each_answer(alice: Caller) -> None:
    with alice.stream("one two", max_tokens=4, n=2, logprobs=True) as lines:
        choices = [choice for chunk in lines.chunks() for choice in chunk["choices"]]
    for index in (0, 1):
        told = [
            entry["token"]
            for choice in choices
            if choice["index"] == index and choice["logprobs"]
            for entry in choice["logprobs"]["content"]
        ]
        assert told == ["one ", "two ", "one ", "two "]


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "nonsense"}, "nonsense"),
        ({"type": "number", "minimum": 3}, "'minimum'"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "maxLength"),
    ],
)
def test_a_schema_that_can_not_be_kept_to_is_400(
    alice: Caller, schema: dict[str, Any], said: str
) -> None:
    before = alice.available()
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    response = alice.chat("Hi", "smollm2-135m", response_format=form)
    error = error_of(response, 400, "invalid_value")
    assert error["param"] == "response_format"
    assert said in error["message"]
    assert alice.available() == before


def test_an_answer_ends_where_the_context_does(alice: Caller) -> None:
    answer = alice.chat("Tell me a story.", "smollm2-short", max_tokens=5000, temperature=0).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    # llama.cpp makes a context in steps of 256 tokens.
    assert answer["usage"]["total_tokens"] == 256


def test_what_was_read_before_is_cached(alice: Caller) -> None:
    words = "Count to ten, and then back to one again, slowly."
    for _ in range(2):
        with alice.openai() as client:
            answer = client.chat.completions.create(
                model="smollm2-135m",
                messages=[{"role": "user", "content": words}],
                max_tokens=1,
            )
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert (answer.usage.prompt_tokens_details.cached_tokens or 0) > 10
