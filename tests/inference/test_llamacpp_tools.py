"""Tools on the real SmolLM2: its own calls, and those that a request insists on."""

import json
from typing import Any

import jsonschema
import pytest

from inference.catalog import Catalog
from inference.errors import InvalidRequest
from inference.types import ChatRequest, Delta, Engine, Event, Read, Result
from tests.inference.conftest import Loader

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "unit": {"$ref": "#/$defs/unit"},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
    "$defs": {"unit": {"enum": ["celsius", "fahrenheit"]}},
}
CLOCK = {
    "type": "object",
    "properties": {"zone": {"type": "string", "maxLength": 20}},
    "required": ["zone"],
    "additionalProperties": False,
}


def tool(name: str, parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    function = {"name": name, "description": f"Tells the {name[4:]}.", "parameters": parameters}
    return {"type": "function", "function": {**function, **more}}


TOOLS = [tool("get_weather", WEATHER), tool("get_time", CLOCK)]
SCHEMAS = {"get_weather": WEATHER, "get_time": CLOCK}
QUESTION = {"role": "user", "content": "What is the weather in Paris?"}


@pytest.fixture(scope="module")
def smollm(cards: Catalog, start: Loader) -> Engine:
    return start(cards.cards["smollm2-135m"].model_copy(update={"slots": 4}))


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def ask(*messages: dict[str, Any], **fields: Any) -> ChatRequest:
    fields = {"temperature": 0.0, "max_tokens": 150, "tools": TOOLS, **fields}
    return ChatRequest(list(messages or [QUESTION]), **fields)


def silent(event: Event) -> None:
    pass


def called(result: Result, index: int = 0) -> tuple[str, Any]:
    """The name and the arguments of an answer's only call."""
    choice = result.data["choices"][index]
    assert choice["finish_reason"] == "tool_calls", choice
    assert choice["text"] == ""
    (call,) = choice["tool_calls"]
    return call["function"]["name"], json.loads(call["function"]["arguments"])


@pytest.mark.parametrize("choice", ["required", named("get_time")])
def test_a_forced_call_is_valid(smollm: Engine, choice: Any) -> None:
    request = ask(tool_choice=choice, temperature=1.0, n=2, seed=3)
    result = smollm.generate(request, silent)
    for index in (0, 1):
        name, arguments = called(result, index)
        jsonschema.validate(arguments, SCHEMAS[name])
        if isinstance(choice, dict):
            assert name == choice["function"]["name"]


def test_its_pieces_are_the_call(smollm: Engine) -> None:
    events: list[Event] = []
    result = smollm.generate(ask(tool_choice="required"), events.append)
    (call,) = result.data["choices"][0]["tool_calls"]
    pieces = [event for event in events if isinstance(event, Delta)]
    assert {piece.part for piece in pieces} == {"call.0"}
    assert len(pieces) > 5
    assert {piece.call.id for piece in pieces if piece.call} == {call["id"]}
    assert "".join(piece.text for piece in pieces) == call["function"]["arguments"]
    # The last braces are tokens too, but bring nothing.
    assert sum(p.tokens for p in pieces) <= result.data["usage"]["completion_tokens"]
    assert sum(p.tokens for p in pieces) > result.data["usage"]["completion_tokens"] - 8
    (read,) = [event for event in events if isinstance(event, Read)]
    assert read.tokens == result.data["usage"]["prompt_tokens"]


def test_a_call_that_is_cut_is_no_tool_call(smollm: Engine) -> None:
    result = smollm.generate(ask(tool_choice="required", max_tokens=20), silent)
    assert result.data["choices"][0]["finish_reason"] == "length"


def turn(city: str, number: int) -> list[dict[str, Any]]:
    arguments = json.dumps({"city": city, "unit": "celsius"})
    function = {"name": "get_weather", "arguments": arguments}
    call = {"id": f"c{number}", "type": "function", "function": function}
    return [
        {"role": "user", "content": f"What is the weather in {city}?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]


def test_it_calls_by_itself_once_it_has_seen_how(smollm: Engine) -> None:
    cities = ["Rome", "Oslo", "Berlin", "Madrid"]
    before = [message for number, city in enumerate(cities) for message in turn(city, number)]
    events: list[Event] = []
    request = ask(*before, {"role": "user", "content": "What is the weather in London?"})
    result = smollm.generate(request, events.append)
    assert called(result) == ("get_weather", {"city": "London", "unit": "celsius"})
    pieces = [event for event in events if isinstance(event, Delta)]
    assert {piece.part for piece in pieces} == {"call.0"}
    assert json.loads("".join(piece.text for piece in pieces))["city"] == "London"


def test_it_reads_what_a_tool_answered(smollm: Engine) -> None:
    answer = {"role": "tool", "tool_call_id": "c0", "content": "Sunny, 21 degrees."}
    plain = ask(*turn("Paris", 0), answer, max_tokens=30, tools=[])
    result = smollm.generate(plain, silent)
    assert result.data["choices"][0]["text"]
    # That it stands in the prompt: with more of it the prompt is longer.
    longer = ask(*turn("Paris", 0), {**answer, "content": "Sunny. " * 20}, max_tokens=1, tools=[])
    prompts = [smollm.generate(r, silent).data["usage"]["prompt_tokens"] for r in (plain, longer)]
    assert prompts[1] > prompts[0] + 20


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"logprobs": True}, "logprobs", "logprobs beside tools"),
        ({"response_format": {"type": "json_object"}}, "response_format", "tool_choice"),
        (
            {"tools": [tool("f", {"type": "string", "minLength": 3, "maxLength": 2})]},
            "tools",
            "above its maxLength",
        ),
        ({"tools": [tool("f", {"type": "number", "minimum": 1}, strict=True)]}, "tools", "strict"),
        (
            {"tools": [tool("f", {"type": "nonsense"})], "tool_choice": "required"},
            "tools",
            "nonsense",
        ),
        (
            {
                "tools": [tool("f", {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}})],
                "tool_choice": "required",
            },
            "tools",
            "",
        ),
    ],
)
def test_what_it_can_not_do_is_refused(
    smollm: Engine, fields: dict[str, Any], param: str, said: str
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        smollm.generate(ask(**fields), silent)
    assert refusal.value.param == param
    assert said in refusal.value.message


def test_a_model_that_knows_no_tools_says_so(cards: Catalog, start: Loader) -> None:
    card = cards.cards["smollm2-135m"].model_copy(update={"options": {"tools": False}, "slots": 1})
    with pytest.raises(InvalidRequest) as refusal:
        start(card).generate(ask(), silent)
    assert refusal.value.param == "tools"
