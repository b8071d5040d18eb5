"""Chat by OpenAI's client for Python: each function is one way to use the route."""

from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage

from tests.clients.jobs import cost_of, ended
from tests.clients.models import Model

STORY: Any = [{"role": "user", "content": "Tell me a story about a fox."}]


def ask(client: OpenAI, model: Model, **fields: Any) -> ChatCompletion:
    answer = client.chat.completions.create(**model.body(messages=STORY, **fields))
    assert isinstance(answer, ChatCompletion)
    return answer


def stream(client: OpenAI, model: Model, **fields: Any) -> list[ChatCompletionChunk]:
    body = model.body(messages=STORY, **fields)
    return list(client.chat.completions.create(**body, stream=True))


def thoughts_of(message: Any) -> str:
    return str((message.model_extra or {}).get("reasoning_content") or "")


def words_of(message: ChatCompletionMessage) -> str:
    return thoughts_of(message) + (message.content or "")


def whole(client: OpenAI, model: Model) -> None:
    answer = ask(client, model, max_tokens=40)
    [choice] = answer.choices
    assert choice.message.role == "assistant"
    assert choice.finish_reason in ("stop", "length")
    assert words_of(choice.message)
    assert answer.usage is not None
    assert 1 <= answer.usage.completion_tokens <= 40
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert (answer.system_fingerprint or "").startswith("modelpilot-")


def streamed(client: OpenAI, model: Model) -> None:
    alone = ask(client, model, max_tokens=40)
    chunks = stream(client, model, max_tokens=40, stream_options={"include_usage": True})
    *said, last = chunks
    assert said[0].choices[0].delta.role == "assistant"
    deltas = [choice.delta for chunk in said for choice in chunk.choices]
    assert "".join(thoughts_of(delta) for delta in deltas) == thoughts_of(alone.choices[0].message)
    text = "".join(delta.content or "" for delta in deltas)
    assert text == (alone.choices[0].message.content or "")
    assert [c.finish_reason for chunk in said for c in chunk.choices if c.finish_reason] == [
        alone.choices[0].finish_reason
    ]
    assert last.choices == []
    assert last.usage is not None
    assert alone.usage is not None
    assert last.usage.completion_tokens == alone.usage.completion_tokens
    assert all(chunk.choices for chunk in stream(client, model, max_tokens=3)), "unasked usage"


def thoughts(client: OpenAI, model: Model) -> None:
    if model.thinks == "never":
        answer = ask(client, model, reasoning_effort="low", max_tokens=5)
        assert thoughts_of(answer.choices[0].message) == ""
        assert answer.usage is not None
        assert answer.usage.completion_tokens_details is not None
        assert answer.usage.completion_tokens_details.reasoning_tokens == 0
        return
    fields = thinking(client, model)
    answer = ask(client, model, **fields)
    message = answer.choices[0].message
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens
    assert answer.usage.completion_tokens_details.reasoning_tokens < answer.usage.completion_tokens
    chunks = stream(client, model, **fields)
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    said = [bool(thoughts_of(delta)) for delta in deltas if thoughts_of(delta) or delta.content]
    assert said == sorted(said, reverse=True), "a thought came after the answer had begun"
    assert "".join(map(thoughts_of, deltas)) == thoughts_of(message)
    assert "".join(delta.content or "" for delta in deltas) == message.content
    if model.thinks == "may":
        quiet = ask(client, model, reasoning_effort="none", max_tokens=20)
        assert thoughts_of(quiet.choices[0].message) == ""


def thinking(client: OpenAI, model: Model) -> dict[str, Any]:
    """With which seed a model of random weights has a thought, and then an answer."""
    assert model.thoughts is not None
    begin, end = map(str, model.thoughts)
    bias = {end: 6.0} if model.thinks == "always" else {begin: 12.0, end: 12.0}
    for seed in range(40):
        fields = {"seed": seed, "logit_bias": bias, "reasoning_effort": "high", "max_tokens": 60}
        message = ask(client, model, **fields).choices[0].message
        if thoughts_of(message) and message.content:
            return fields
    raise AssertionError("it never thought")


def logprobs(client: OpenAI, model: Model) -> None:
    fields: Any = {"logprobs": True, "top_logprobs": 3, "max_tokens": 60}
    [choice] = ask(client, model, **fields).choices
    told = choice.logprobs.content if choice.logprobs else None
    assert told
    assert all(entry.logprob <= 0 and len(entry.top_logprobs) == 3 for entry in told)
    said = b"".join(bytes(entry.bytes or ()) for entry in told).decode(errors="replace")
    # Half a character at the end is told of, and has no text.
    assert said.strip().startswith((choice.message.content or "").strip().rstrip("\ufffd"))
    streamed = [
        entry
        for chunk in stream(client, model, **fields)
        for c in chunk.choices
        for entry in (c.logprobs.content if c.logprobs else None) or ()
    ]
    assert [entry.token for entry in streamed] == [entry.token for entry in told]


def several(client: OpenAI, model: Model) -> None:
    answer = ask(client, model, n=3, max_tokens=30, temperature=1.5)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({words_of(choice.message) for choice in answer.choices}) == 3
    assert answer.usage is not None
    assert 3 <= answer.usage.completion_tokens <= 90
    chunks = stream(client, model, n=3, max_tokens=30, temperature=1.5)
    for choice in answer.choices:
        deltas = [c.delta for k in chunks for c in k.choices if c.index == choice.index]
        assert "".join(d.content or "" for d in deltas) == (choice.message.content or "")


def logit_bias(client: OpenAI, model: Model) -> None:
    """A token that is all but forced, one that is banned, and one that there is not."""
    a, b = map(str, model.letters)
    forced = words_of(ask(client, model, logit_bias={a: 100}, max_tokens=6).choices[0].message)
    assert set(forced) == {"A"}, forced
    banned = ask(client, model, logit_bias={a: -100, b: 100}, max_tokens=6).choices[0].message
    assert set(words_of(banned)) == {"B"}, banned
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, model, logit_bias={"99999999": 1})
    assert refused.value.param == "logit_bias"


def penalties(client: OpenAI, model: Model) -> None:
    """Of two tokens that are all but forced, only one is said, until that is made dear."""
    both = dict.fromkeys(map(str, model.letters), 100)
    fields: Any = {"logit_bias": both, "temperature": 0, "max_tokens": 30}
    plain = words_of(ask(client, model, **fields).choices[0].message)
    fields |= {"frequency_penalty": 2, "presence_penalty": 2}
    dear = words_of(ask(client, model, **fields).choices[0].message)
    assert set(plain) <= set("AB")
    assert set(dear) == set("AB"), dear


def seeds(client: OpenAI, model: Model) -> None:
    texts = [
        words_of(ask(client, model, seed=seed, temperature=1.5, max_tokens=30).choices[0].message)
        for seed in (7, 7, 8)
    ]
    assert texts[0] == texts[1] != texts[2]


def stops(client: OpenAI, model: Model) -> None:
    """A stop string that must come ends the answer, and is not in it."""
    a, b = map(str, model.letters)
    for stop in ("AB", ["AB", "BA"]):
        choice = ask(
            client, model, stop=stop, temperature=0, logit_bias={a: 97, b: 97},
            frequency_penalty=2, max_tokens=120,
        ).choices[0]  # fmt: skip
        assert "AB" not in (choice.message.content or "")
        if model.thinks != "always":  # thoughts are not stopped
            assert choice.finish_reason == "stop"


def unusual(client: OpenAI, model: Model) -> None:
    """What is odd but right is taken."""
    call = {"name": "get_weather", "arguments": '{"city": "Par'}
    messages: Any = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "Hi, "}] * 2},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "sunny"}]},
    ]
    body = model.body(
        messages=messages, tools=[], tool_choice="auto", stop=None, logit_bias={}, top_p=0,
        parallel_tool_calls=False, user="ann", metadata={"a": "b"}, store=False,
        service_tier="auto", safety_identifier="x", prompt_cache_key="y", modalities=["text"],
        max_completion_tokens=5,
    )  # fmt: skip
    body["max_tokens"] = None
    answer = client.chat.completions.create(**body)
    assert isinstance(answer, ChatCompletion)
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 5


def what_is_no_text(client: OpenAI, model: Model) -> None:
    """A model may say a NUL, which no database stores."""
    answer = ask(client, model, logit_bias={str(model.nul): 100}, max_tokens=3)
    assert set(words_of(answer.choices[0].message)) == {"\ufffd"}


def cancelled(client: OpenAI, model: Model) -> None:
    """Who leaves a stream pays for what came of it."""
    bias = dict.fromkeys(map(str, model.ends), -100)
    body = model.body(messages=STORY, max_tokens=1500, logit_bias=bias)
    with client.chat.completions.create(**body, stream=True) as chunks:
        some = [next(chunks) for _ in range(4)]
    job = ended(client, some[0].id)
    assert job["state"] == "cancelled", job["state"]
    assert 1 <= job["result"]["usage"]["completion_tokens"] < 1500
    assert abs(job["cost"] - cost_of(model, job["result"]["usage"])) < 1.1e-6


def too_long(client: OpenAI, model: Model) -> None:
    before = client.get("/balance", cast_to=dict[str, Any])["balance"]
    long: Any = [{"role": "user", "content": "word " * 2500}]
    with pytest.raises(openai.BadRequestError, match=r"\d+ tokens, .*context is 2048") as refused:
        client.chat.completions.create(model=model.id, messages=long, stream=True)
    assert refused.value.code == "context_length_exceeded"
    assert client.get("/balance", cast_to=dict[str, Any])["balance"] == before


ROUTES = {
    "chat": whole,
    "chat, streamed": streamed,
    "reasoning, and streamed": thoughts,
    "logprobs, and streamed": logprobs,
    "n, and streamed": several,
    "logit_bias": logit_bias,
    "penalties": penalties,
    "seed": seeds,
    "stop": stops,
    "odd but right": unusual,
    "a NUL": what_is_no_text,
    "cancel": cancelled,
    "context_length_exceeded": too_long,
}
