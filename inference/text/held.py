"""Which JSON schemas llama.cpp's grammars hold an answer to, tried keyword by keyword.

llama.cpp drops what it can't express without a word to the client, and hangs for ever on a lower
bound above its upper one. So a schema is checked before it gets there.
"""

import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

NOTES = {
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly",
    "$schema", "$id", "$comment", "$defs", "definitions", "discriminator",
    # Only said, not asserted, as JSON Schema has it; llama.cpp holds some of them all the same.
    "format",
}  # fmt: skip
HELD = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems"},
    "string": {"minLength", "maxLength", "pattern"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "number": set[str](),
    "boolean": set[str](),
    "null": set[str](),
}
# One of these says all by itself.
WHOLE = ("$ref", "anyOf", "oneOf", "allOf", "const", "enum")
BOUNDS = (
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
    ("minimum", "maximum"),
    ("exclusiveMinimum", "exclusiveMaximum"),
    ("minimum", "exclusiveMaximum"),
    ("exclusiveMinimum", "maximum"),
)
# llama.cpp unrolls repetitions, and takes no more of them.
MOST_REPETITIONS = 2000
DEEPEST = 100
# Literal characters, classes that name what they allow, groups, alternatives and repetitions.
PATTERN = re.compile(r"\^(?:[\w \-/:,;@#%&=!~<>']|\\[.\-/()\[\]{}+*?|^$]|\[[\w \-.,:;@/+]+\]|"
                     r"\((?!\?)|\)|\||[+*?]|\{\d+(?:,\d*)?\})*\$", re.ASCII)  # fmt: skip


def hangs(schema: Any) -> str | None:
    """What in a schema llama.cpp would never be done with, or could not take, if anything does."""
    return next(_contradictions(schema, "#"), None)


def unheld(schema: Any) -> str | None:
    """The first thing in a schema that an answer might not keep to, if there is one."""
    return next(_unheld(schema, "#"), None)


def _contradictions(schema: Any, place: str, depth: int = 0) -> Iterator[str]:
    if depth > DEEPEST:
        yield f"{place} is nested too deeply"
        return
    if isinstance(schema, list):
        for number, item in enumerate(schema):
            yield from _contradictions(item, f"{place}/{number}", depth + 1)
    if not isinstance(schema, dict):
        return
    for low, high in BOUNDS:
        below, above = schema.get(low), schema.get(high)
        if isinstance(below, int | float) and isinstance(above, int | float) and below > above:
            yield f"{place} has a {low} above its {high}"
    for name in ("minLength", "maxLength", "minItems", "maxItems"):
        bound = schema.get(name)
        if isinstance(bound, int | float) and bound > MOST_REPETITIONS:
            yield f"{place} has a {name} above {MOST_REPETITIONS}"
    for key, value in schema.items():
        yield from _contradictions(value, f"{place}/{key}", depth + 1)


def _unheld(schema: Any, place: str) -> Iterator[str]:
    if not isinstance(schema, dict):
        yield f"{place} is no object"
        return
    for name in ("$defs", "definitions"):
        for key, value in (schema.get(name) or {}).items():
            yield from _unheld(value, f"{place}/{name}/{key}")
    keys = schema.keys() - NOTES
    whole = next((name for name in WHOLE if name in keys), None)
    if whole is not None:
        yield from (f"{place} has '{key}' beside '{whole}'" for key in keys - {whole, "type"})
        yield from _alternatives(schema, whole, place)
        return
    types = schema.get("type", [])
    types = types if isinstance(types, list) else [types]
    held = {"type"}.union(*(HELD.get(name, set()) for name in types or HELD))
    yield from (f"{place} has '{key}'" for key in sorted(keys - held))
    yield from _inside(schema, place)


def _alternatives(schema: dict[str, Any], whole: str, place: str) -> Iterator[str]:
    if whole not in ("anyOf", "oneOf", "allOf"):
        return
    choices = schema[whole]
    if not isinstance(choices, list):
        return
    if whole == "allOf" and len(choices) > 1:
        yield f"{place} has an 'allOf' of several"
    if whole == "oneOf" and not all(_differ(a, b) for a, b in combinations(choices, 2)):
        yield f"{place} has a 'oneOf' of which two could hold at once; take 'anyOf'"
    for number, choice in enumerate(choices):
        yield from _unheld(choice, f"{place}/{whole}/{number}")


def _differ(one: Any, other: Any) -> bool:
    """Whether no value can be of both."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return False
    if "const" in one and "const" in other:
        return bool(one["const"] != other["const"])
    kinds = {str(one.get("type")), str(other.get("type"))}
    if len(kinds) == 2 and kinds <= HELD.keys() and kinds != {"integer", "number"}:
        return True
    shared = set(one.get("required") or ()) & set(other.get("required") or ())
    return any(
        _differ((one.get("properties") or {}).get(key), (other.get("properties") or {}).get(key))
        for key in shared
    )


def _inside(schema: dict[str, Any], place: str) -> Iterator[str]:
    properties = schema.get("properties") or {}
    for name in schema.get("required") or ():
        if name not in properties:
            yield f"{place} requires '{name}', which is not among its properties"
    for name, value in properties.items():
        yield from _unheld(value, f"{place}/properties/{name}")
    for name in ("items", "additionalProperties"):
        value = schema.get(name)
        if value is not None and not isinstance(value, bool):
            yield from _unheld(value, f"{place}/{name}")
    for number, item in enumerate(schema.get("prefixItems") or ()):
        yield from _unheld(item, f"{place}/prefixItems/{number}")
    if not {"items", "prefixItems"} & schema.keys() and {"minItems", "maxItems"} & schema.keys():
        yield f"{place} bounds the number of items without 'items'"
    if "prefixItems" in schema and {"minItems", "maxItems", "items"} & schema.keys():
        yield f"{place} has other bounds beside 'prefixItems'"
    pattern = schema.get("pattern")
    if pattern is not None:
        if {"minLength", "maxLength"} & schema.keys():
            yield f"{place} has a length beside its 'pattern'"
        if not isinstance(pattern, str) or not PATTERN.fullmatch(pattern):
            yield (
                f"{place} has a 'pattern' beyond ^…$ with plain characters, classes like [a-z0-9], "
                "groups and repetitions"
            )
