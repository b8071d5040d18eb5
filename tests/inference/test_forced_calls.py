"""A call that is forced by a schema, read piece by piece."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.text import forced_calls
from inference.text.forced_calls import ForcedCall
from inference.types import ChatRequest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('ab"\\{}[] \n🎈', max_size=6),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=3), inside),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(max_size=4), JSON, max_size=4),
    st.sampled_from([None, 2]),
    st.sampled_from(["get_weather", "a-b_c"]),
    st.data(),
)
def test_any_pieces_make_the_same_call(
    arguments: dict[str, Any], indent: int | None, name: str, data: st.DataObject
) -> None:
    text = json.dumps({"name": name, "arguments": arguments}, indent=indent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    forced = ForcedCall()
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    told = "".join(forced.feed(piece) for piece in [*pieces, "\n "])
    assert forced.call is not None
    assert forced.call.name == name
    assert forced.complete
    assert told == forced.arguments
    assert json.loads(told) == arguments


def test_a_cut_call_is_not_complete() -> None:
    forced = ForcedCall()
    assert forced.feed('{"name": "f", "arguments": {"a": "}') == '{"a": "}'
    assert not forced.complete


PLACE = {
    "type": "object",
    "properties": {"at": {"$ref": "#/$defs/point"}, "near": {"type": "array", "items": {}}},
    "required": ["at"],
    "additionalProperties": False,
    "$defs": {
        "point": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    },
}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "find", "parameters": PLACE}},
    {"type": "function", "function": {"name": "wait"}},
]


def functions(choice: Any) -> list[str]:
    request = ChatRequest(tools=TOOLS, tool_choice=choice)
    return [function["name"] for function in forced_calls.wanted(request)]


def test_only_a_choice_forces() -> None:
    assert functions(None) == functions("auto") == []
    assert functions("required") == ["find", "wait"]
    assert functions({"type": "function", "function": {"name": "wait"}}) == ["wait"]


@pytest.mark.parametrize(
    ("call", "valid"),
    [
        ({"name": "find", "arguments": {"at": {"x": 1}}}, True),
        ({"name": "find", "arguments": {"at": {"x": "1"}}}, False),
        ({"name": "find", "arguments": {}}, False),
        ({"name": "wait", "arguments": {"any": "thing"}}, True),
        ({"name": "wait", "arguments": 5}, False),
        ({"name": "go", "arguments": {}}, False),
    ],
)
def test_the_schema_is_that_of_the_calls(call: dict[str, Any], *, valid: bool) -> None:
    schema = forced_calls.schema([tool["function"] for tool in TOOLS])
    jsonschema.Draft202012Validator.check_schema(schema)
    assert jsonschema.Draft202012Validator(schema).is_valid(call) == valid
