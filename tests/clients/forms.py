"""Answers in a form, by OpenAI's client for Python: calls of tools, and JSON."""

import json
from typing import Any

from openai import OpenAI
from openai.types.chat import ChatCompletion
from pydantic import BaseModel, ConfigDict

from tests.clients.chat import STORY, ask, stream
from tests.clients.models import Model

WEATHER: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather of a city.",
        "parameters": CITY,
        "strict": True,
    },
}
NAMED = {"type": "function", "function": {"name": "get_weather"}}
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}}
CLOCK: Any = {"type": "function", "function": {"name": "get_time"}}


class Verdict(BaseModel):
    """What an answer must look like."""

    model_config = ConfigDict(extra="forbid")

    sure: bool
    colour: str = "red"


SCHEMA: Any = {
    "type": "json_schema",
    "json_schema": {
        "name": "verdict",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"sure": {"type": "boolean"}, "colour": {"enum": ["red", "blue"]}},
            "required": ["sure", "colour"],
            "additionalProperties": False,
        },
    },
}


def tool_required(client: OpenAI, model: Model) -> None:
    for choice in ("required", NAMED, ALLOWED):
        answer = ask(
            client, model, tools=[TOOL, CLOCK] if choice != "required" else [TOOL],
            tool_choice=choice, parallel_tool_calls=False,
        ).choices[0]  # fmt: skip
        assert answer.finish_reason == "tool_calls"
        assert answer.message.content is None
        [call] = answer.message.tool_calls or []
        assert call.type == "function"
        assert call.function.name == "get_weather"
        assert json.loads(call.function.arguments)["city"] in ("Paris", "Rome")


def tool_streamed(client: OpenAI, model: Model) -> None:
    chunks = stream(
        client, model, tools=[TOOL], tool_choice="required", parallel_tool_calls=False,
        max_completion_tokens=300,
    )  # fmt: skip
    pieces = [p for chunk in chunks for c in chunk.choices for p in c.delta.tool_calls or ()]
    head, *rest = pieces
    assert head.id
    assert head.function is not None
    assert (head.index, head.type, head.function.name) == (0, "function", "get_weather")
    assert all(piece.index == 0 and piece.id is None for piece in rest)
    said = "".join((piece.function and piece.function.arguments) or "" for piece in pieces)
    assert json.loads(said)["city"] in ("Paris", "Rome")
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def tool_by_the_sdks_stream(client: OpenAI, model: Model) -> None:
    body = model.body(messages=WEATHER, tools=[TOOL], tool_choice=NAMED)
    with client.chat.completions.stream(**body) as events:
        done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
        final = events.get_final_completion()
    [event] = done
    assert event.name == "get_weather"
    [call] = final.choices[0].message.tool_calls or []
    assert call.function.parsed_arguments == json.loads(event.arguments)


def tool_answered(client: OpenAI, model: Model) -> None:
    """The SDK's own message goes back, with what the tool said; then without calling."""
    body = model.body(messages=WEATHER, tools=[TOOL], tool_choice=NAMED)
    first = client.chat.completions.create(**body)
    assert isinstance(first, ChatCompletion)
    message = first.choices[0].message
    [call] = message.tool_calls or []
    said = {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 21 degrees."}
    again = {**body, "messages": [*WEATHER, message, said], "tool_choice": "none", "max_tokens": 30}
    second = client.chat.completions.create(**again)
    assert isinstance(second, ChatCompletion)
    assert second.choices[0].message.tool_calls is None
    assert second.choices[0].finish_reason in ("stop", "length")


def json_object(client: OpenAI, model: Model) -> None:
    choice = ask(client, model, response_format={"type": "json_object"}).choices[0]
    text = choice.message.content or ""
    assert text.lstrip().startswith("{")
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(text), dict)


def json_schema(client: OpenAI, model: Model) -> None:
    choice = ask(client, model, response_format=SCHEMA).choices[0]
    assert choice.finish_reason == "stop"
    Verdict.model_validate_json(choice.message.content or "")
    chunks = stream(client, model, response_format=SCHEMA)
    text = "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices)
    assert text == choice.message.content


def json_by_the_sdks_parse(client: OpenAI, model: Model) -> None:
    class Sure(BaseModel):
        sure: bool

    body = model.body(messages=STORY)
    parsed = client.chat.completions.parse(**body, response_format=Sure).choices[0].message.parsed
    assert isinstance(parsed, Sure)


ROUTES = {
    "tools": tool_required,
    "tools, streamed": tool_streamed,
    "tools, the SDK's stream()": tool_by_the_sdks_stream,
    "tools, answered": tool_answered,
    "json_object": json_object,
    "json_schema, and streamed": json_schema,
    "json_schema, the SDK's parse()": json_by_the_sdks_parse,
}
