"""OpenAI's client against a tiny model of each seed family, on safetensors, through everything."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.api.caller import Caller

FAMILIES = ["tiny-qwen3", "tiny-gemma3", "tiny-deepseek"]
ASK: Any = [{"role": "user", "content": "Say something."}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
SCHEMA: Any = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "schema": {
            "type": "object",
            "properties": {"sure": {"type": "boolean"}, "word": {"enum": ["yes", "no"]}},
            "required": ["sure", "word"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest, bob: Caller) -> str:
    """Its pod is up: a stream's refusals come as such only then."""
    name: str = request.param
    assert bob.chat("warm", name, max_tokens=1).status_code == 200
    return name


@pytest.fixture
def client(alice: Caller) -> Iterator[openai.OpenAI]:
    with alice.openai() as client:
        yield client


def test_a_family_answers_every_way(model: str, client: openai.OpenAI) -> None:
    create = client.chat.completions.create
    whole = create(model=model, messages=ASK, max_tokens=24, seed=1, n=2)
    assert [choice.index for choice in whole.choices] == [0, 1]
    assert whole.usage is not None
    assert 1 <= whole.usage.completion_tokens <= 48
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens

    streamed = list(
        create(model=model, messages=ASK, max_tokens=24, seed=1, stream=True,
               stream_options={"include_usage": True})
    )  # fmt: skip
    assert said(streamed) == words(whole.choices[0].message)
    assert streamed[-1].usage is not None

    continued = client.completions.create(model=model, prompt="Once", max_tokens=4, logprobs=2)
    logprobs = continued.choices[0].logprobs
    assert logprobs is not None
    assert continued.usage is not None
    # The token that ends an answer has no place in it.
    assert len(logprobs.tokens or []) >= continued.usage.completion_tokens - 1
    assert all(logprob <= 0 for logprob in logprobs.token_logprobs or [])


def test_a_family_keeps_to_schemas_and_calls_tools(model: str, client: openai.OpenAI) -> None:
    create = client.chat.completions.create
    # Without thoughts: random weights would never end them.
    common: Any = {"model": model, "messages": ASK, "max_tokens": 300, "reasoning_effort": "none"}
    if model == "tiny-deepseek":  # it always thinks, until its limit
        short = {**common, "max_tokens": 30, "seed": 1}
        thought = create(**short, response_format=SCHEMA).choices[0]
        assert thought.finish_reason == "length"
        assert thought.message.content == ""
        assert thought.message.reasoning_content
        return
    answer = create(**common, response_format=SCHEMA).choices[0]
    assert answer.finish_reason == "stop"
    assert set(json.loads(answer.message.content or "")) == {"sure", "word"}

    call = create(
        **common, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False
    ).choices[0]
    assert call.finish_reason == "tool_calls"
    [tool] = call.message.tool_calls or []
    assert tool.type == "function"
    assert json.loads(tool.function.arguments)["city"] in {"Paris", "Rome"}


def test_a_family_refuses_what_is_too_long(model: str, client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"\d+ tokens.*context is 2048") as refused:
        client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "long " * 500}], stream=True
        )
    assert refused.value.code == "context_length_exceeded"


def words(message: Any) -> str:
    return f"{getattr(message, 'reasoning_content', None) or ''}|{message.content or ''}"


def said(chunks: list[Any]) -> str:
    """What a stream said, thoughts before the answer."""
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    thoughts = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    return f"{thoughts}|{''.join(delta.content or '' for delta in deltas)}"
