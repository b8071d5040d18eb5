"""What an answer can't be held to is found before llama.cpp drops it, or hangs on it."""

from typing import Any

import pytest

from benchmarks.schemas import SCHEMAS
from inference.text import held

WORD = {"type": "string"}
DEFINED = {
    "type": "object",
    "properties": {"a": {"$ref": "#/$defs/a", "description": "a note"}, "b": {}},
    "required": ["a"],
    "$defs": {"a": {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 4}},
}
SHAPES = [
    {"properties": {"kind": {"const": kind}}, "required": ["kind"], "type": "object"}
    for kind in ("circle", "square")
]


@pytest.mark.parametrize(
    "schema",
    [
        *SCHEMAS.values(),
        DEFINED,
        {},
        {"type": ["integer", "null"], "title": "Age", "minimum": 0},
        {"oneOf": SHAPES, "discriminator": {"propertyName": "kind"}},
        {"oneOf": [WORD, {"type": "null"}]},
        {"allOf": [DEFINED]},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "array", "prefixItems": [WORD, {"type": "integer"}]},
        {"type": "string", "format": "email"},
        {"type": "string", "pattern": r"^(a|b)[0-9]{2,}\.x?$"},
        {"type": "string", "enum": ["a", "b"]},
    ],
)
def test_what_can_be_held_passes(schema: dict[str, Any]) -> None:
    assert held.hangs(schema) is None
    assert held.unheld(schema) is None


@pytest.mark.parametrize(
    ("schema", "found"),
    [
        ({"type": "number", "minimum": 5}, "'minimum'"),
        ({"type": "integer", "multipleOf": 5}, "'multipleOf'"),
        ({"type": "array", "items": WORD, "uniqueItems": True}, "'uniqueItems'"),
        ({"type": "array", "minItems": 2}, "without 'items'"),
        ({"not": WORD}, "'not'"),
        ({"type": "object", "minProperties": 2}, "'minProperties'"),
        ({"type": "object", "patternProperties": {"^a$": WORD}}, "'patternProperties'"),
        ({"type": "object", "properties": {"a": {}}, "required": ["b"]}, "requires 'b'"),
        ({"type": "object", "properties": {"a": {"not": {}}}}, "#/properties/a has 'not'"),
        ({"type": "string", "pattern": "abc"}, "pattern"),
        ({"type": "string", "pattern": r"^\d+$"}, "pattern"),
        ({"type": "string", "pattern": "^(?=a)b$"}, "pattern"),
        ({"type": "string", "pattern": "^[^a].$"}, "pattern"),
        ({"type": "string", "pattern": "^a+$", "maxLength": 3}, "length"),
        ({"anyOf": [WORD], "minLength": 3}, "'minLength' beside 'anyOf'"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
        ({"oneOf": [SHAPES[0], SHAPES[0]]}, "oneOf"),
        ({"allOf": [DEFINED, DEFINED]}, "allOf"),
        ({"type": "array", "items": {"type": "object", "properties": {"a": True}}}, "no object"),
        ({"$defs": {"a": {"not": {}}}, "$ref": "#/$defs/a"}, "#/$defs/a has 'not'"),
    ],
)
def test_what_would_be_dropped_is_found(schema: dict[str, Any], found: str) -> None:
    assert found in (held.unheld(schema) or "")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "minLength": 3, "maxLength": 2},
        {"type": "object", "properties": {"a": {"type": "array", "minItems": 3, "maxItems": 2}}},
        {"anyOf": [{"type": "integer", "minimum": 3, "maximum": 2}]},
        {"type": "integer", "exclusiveMinimum": 3, "maximum": 2},
        {"type": "string", "maxLength": 2001},
    ],
)
def test_what_would_hang_is_found(schema: dict[str, Any]) -> None:
    assert held.hangs(schema)


def test_a_deep_schema_is_found() -> None:
    schema: dict[str, Any] = {}
    for _ in range(500):
        schema = {"type": "array", "items": schema}
    assert "deep" in (held.hangs(schema) or "")
