"""Tools by the unmodified openai client: calls that are asked for, whole and streamed."""

import json
from typing import Any

import jsonschema
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.api.caller import Caller
from tests.api.conftest import NewCaller
from tests.api.test_events import Follower, later

MODEL = "smollm2-135m"
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTION = {"name": "get_weather", "description": "Tells the weather.", "parameters": CITY}
WEATHER = {"type": "function", "function": {**FUNCTION, "strict": True}}
CLOCK = {"type": "function", "function": {"name": "get_time", "description": "Tells the time."}}
NAMED = {"type": "function", "function": {"name": "get_weather"}}
QUESTION = {"role": "user", "content": "What is the weather in Paris?"}
# What the echo makes two calls of.
TWO = 'get_weather {"city": "Paris", "when": "now"} get_time {"zone": "CET"}'


def ask(client: OpenAI, **fields: Any) -> ChatCompletion:
    answer = client.chat.completions.create(
        **{
            "model": MODEL,
            "messages": [QUESTION],
            "tools": [WEATHER, CLOCK],
            "tool_choice": NAMED,
            "temperature": 0,
            "max_tokens": 100,
            **fields,
        }
    )
    assert isinstance(answer, ChatCompletion)
    return answer


def test_a_named_tool_is_called_and_its_answer_is_read(alice: Caller) -> None:
    with alice.openai() as client:
        first = ask(client)
        message = first.choices[0].message
        assert first.choices[0].finish_reason == "tool_calls"
        assert (message.content, message.refusal) == (None, None)
        assert message.tool_calls is not None
        (call,) = message.tool_calls
        assert call.type == "function"
        assert call.function.name == "get_weather"
        jsonschema.validate(json.loads(call.function.arguments), CITY)
        said = {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 21 degrees."}
        # The SDK's own message goes back as it is.
        second = ask(client, messages=[QUESTION, message, said], tool_choice="none")
    assert second.choices[0].message.content
    assert second.choices[0].message.tool_calls is None


def test_a_required_call_is_streamed_in_openais_shape(alice: Caller) -> None:
    asked: dict[str, Any] = {
        "model": MODEL,
        "messages": [QUESTION],
        "tools": [WEATHER, CLOCK],
        "tool_choice": "required",
        "max_tokens": 100,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    with alice.openai() as client:
        chunks: list[ChatCompletionChunk] = list(client.chat.completions.create(**asked))
    opening, naming, *rest, last, usage = chunks
    assert opening.choices[0].delta.role == "assistant"
    assert opening.choices[0].delta.content is None
    (head,) = naming.choices[0].delta.tool_calls or []
    assert (head.index, head.type) == (0, "function")
    assert head.id
    assert head.function is not None
    assert head.function.name in ("get_weather", "get_time")
    assert head.function.arguments == ""
    arguments = ""
    for chunk in rest:
        (piece,) = chunk.choices[0].delta.tool_calls or []
        assert (piece.index, piece.id, piece.type) == (0, None, None)
        assert piece.function is not None
        assert piece.function.name is None
        assert piece.function.arguments
        arguments += piece.function.arguments
    assert len(rest) > 2
    assert isinstance(json.loads(arguments), dict)
    assert last.choices[0].finish_reason == "tool_calls"
    assert usage.usage is not None
    assert usage.usage.completion_tokens > len(rest)


def test_the_sdk_puts_a_streamed_call_together(alice: Caller) -> None:
    with (
        alice.openai() as client,
        client.chat.completions.stream(
            model="echo",
            messages=[{"role": "user", "content": TWO}],
            tools=[CLOCK, {"type": "function", "function": {"name": "get_weather"}}],  # type: ignore[list-item]
            max_tokens=50,
        ) as stream,
    ):
        done = [e for e in stream if e.type == "tool_calls.function.arguments.done"]
        final = stream.get_final_completion()
    assert [(event.index, event.name) for event in done] == [(0, "get_weather"), (1, "get_time")]
    message = final.choices[0].message
    assert message.tool_calls is not None
    said = [(c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls]
    assert said == [
        ("get_weather", {"city": "Paris", "when": "now"}),
        ("get_time", {"zone": "CET"}),
    ]
    assert final.choices[0].finish_reason == "tool_calls"


def test_a_stream_says_what_the_whole_answer_does(alice: Caller) -> None:
    asked: dict[str, Any] = {"tools": [WEATHER, CLOCK], "max_tokens": 50, "n": 2}
    words = f"<think>Two of them. </think>{TWO}"
    whole = alice.chat(words, **asked).json()["choices"]
    for choice in whole:
        message = choice["message"]
        assert message["reasoning_content"] == "Two of them. "
        assert message["content"] is None
        assert [call["function"]["name"] for call in message["tool_calls"]] == [
            "get_weather",
            "get_time",
        ]
    with alice.stream(words, **asked) as lines:
        chunks = [ChatCompletionChunk.model_validate(chunk) for chunk in lines.chunks()]
    for index, choice in enumerate(whole):
        deltas = [c.choices[0].delta for c in chunks if c.choices[0].index == index]
        thoughts = [delta.to_dict().get("reasoning_content") or "" for delta in deltas]
        assert "".join(map(str, thoughts)) == "Two of them. "
        arguments = {0: "", 1: ""}
        for delta in deltas:
            for piece in delta.tool_calls or ():
                assert piece.function is not None
                arguments[piece.index] += piece.function.arguments or ""
        for number, call in enumerate(choice["message"]["tool_calls"]):
            assert arguments[number] == call["function"]["arguments"]


def test_a_schema_is_kept_to_beside_a_call(alice: Caller) -> None:
    """A response_format that can't be chosen along with tools is refused, not forgotten."""
    with alice.openai() as client, pytest.raises(Exception, match="tool_choice") as caught:
        ask(client, tool_choice="auto", response_format={"type": "json_object"})
    assert getattr(caught.value, "param", None) == "response_format"


def test_events_bring_each_part_over_many_reconnects(alice: Caller) -> None:
    words = f"<think>a b c d e f g h </think>{TWO}"
    job = later(alice, words, model="echo-slow", tools=[WEATHER, CLOCK], max_tokens=60)
    follower = Parts(alice, job)
    for _ in range(4):
        follower.follow(most=4)
        assert follower.end is None
    follower.follow()
    assert follower.end is not None
    choice = follower.end["result"]["choices"][0]
    calls = choice["tool_calls"]
    assert follower.texts == {
        "reasoning": choice["reasoning"],
        "call.0": calls[0]["function"]["arguments"],
        "call.1": calls[1]["function"]["arguments"],
    }
    assert follower.names == {"call.0": calls[0]["id"], "call.1": calls[1]["id"]}


class Parts:
    """A client that keeps each part of an answer, and its place, over connections."""

    def __init__(self, caller: Caller, job: str) -> None:
        self.connection = Follower(caller, job)
        self.texts: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.end: dict[str, Any] | None = None

    def follow(self, most: int = 10**9) -> None:
        for number, (name, data) in enumerate(self.connection.events(), 1):
            if name == "delta":
                before = self.texts.get(data["part"], "")
                assert data["offset"] <= len(before), "a piece is missing"
                self.texts[data["part"]] = before[: data["offset"]] + data["text"]
                if "call" in data:
                    self.names[data["part"]] = data["call"]["id"]
            if name == "end":
                self.end = data
            if number >= most or name == "end":
                return


def test_a_cancelled_job_keeps_the_parts_it_had(newcomer: NewCaller) -> None:
    dora = newcomer()
    words = "<think>a b </think>get_weather " + "x " * 400
    job = later(dora, words, model="echo-slow", tools=[WEATHER], max_tokens=400)
    follower = Parts(dora, job)
    follower.follow(most=12)
    assert "call.0" in follower.texts
    dora.post(f"jobs/{job}/cancel")
    ended = dora.ended(job)
    assert ended["state"] == "cancelled"
    (choice,) = ended["result"]["choices"]
    assert choice["reasoning"] == "a b "
    assert choice["tool_calls"][0]["function"]["name"] == "get_weather"
    said = choice["tool_calls"][0]["function"]["arguments"].split()
    usage = ended["result"]["usage"]
    assert usage["prompt_tokens"] == len(words.split())
    # Two thoughts, the name, and what came of the arguments.
    assert usage["completion_tokens"] == 2 + 1 + len(said)
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 2}
