"""What pydantic finds wrong in a request, in our words."""

from collections.abc import Callable
from typing import Any

from modelpilot.errors import ApiError

CODES = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter"}

# By the type of the finding, of what it tells beside.
WORDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "missing": lambda _: "is required",
    "extra_forbidden": lambda _: "is not a parameter of this route; check its spelling",
    "greater_than_equal": lambda told: f"must be at least {plain(told['ge'])}",
    "greater_than": lambda told: f"must be greater than {plain(told['gt'])}",
    "less_than_equal": lambda told: f"must be at most {plain(told['le'])}",
    "less_than": lambda told: f"must be less than {plain(told['lt'])}",
    "string_too_short": lambda told: f"must have at least {many(told['min_length'], 'character')}",
    "string_too_long": lambda told: f"must have at most {many(told['max_length'], 'character')}",
    "too_short": lambda told: f"must have at least {many(told['min_length'], 'item')}",
    "too_long": lambda told: f"must have at most {many(told['max_length'], 'item')}",
    "string_pattern_mismatch": lambda told: f"must match {told['pattern']}",
    "literal_error": lambda told: f"must be {told['expected']}",
    "enum": lambda told: f"must be {told['expected']}",
    "union_tag_invalid": lambda told: f"must have one of these types: {told['expected_tags']}",
    "union_tag_not_found": lambda told: f"needs {told['discriminator']}",
    "string_type": lambda _: "must be text",
    "list_type": lambda _: "must be a list",
    "dict_type": lambda _: "must be an object",
    "model_type": lambda _: "must be an object",
    "model_attributes_type": lambda _: "must be an object",
    "bool_type": lambda _: "must be true or false",
    "bool_parsing": lambda _: "must be true or false",
    "int_type": lambda _: "must be a whole number",
    "int_parsing": lambda _: "must be a whole number",
    "int_parsing_size": lambda _: "must be a smaller number",
    "int_from_float": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "float_parsing": lambda _: "must be a number",
    "finite_number": lambda _: "must be a finite number",
    "value_error": lambda told: str(told["error"]),
}


def invalid(errors: list[dict[str, Any]], body: Any = None) -> ApiError:
    """The first finding, naming the field of `body` and what it must be."""
    first = errors[0]
    # ninja puts the source first, and a body's own name: ("body", "body", "messages", 0).
    source, *rest = first["loc"]
    param = place(rest[1:], body) if source == "body" else ".".join(map(str, rest))
    words = WORDS.get(first["type"])
    said = words(first.get("ctx") or {}) if words else first["msg"].removeprefix("Input ")
    message = f"'{param}' {said}." if param else f"The body {said}."
    return ApiError(422, CODES.get(first["type"], "invalid_value"), message, param=param or None)


def place(path: list[Any], body: Any) -> str:
    """Where it is in the body, without what pydantic adds of its own: names of a union's types."""
    found: list[str] = []
    at = body
    for number, step in enumerate(path):
        if holds(at, step):
            at = at[step]
        elif not (isinstance(at, dict) and number == len(path) - 1 and str(step).isidentifier()):
            continue
        found.append(str(step))
    return ".".join(found)


def holds(value: Any, step: Any) -> bool:
    if isinstance(value, list):
        return isinstance(step, int) and step < len(value)
    return isinstance(value, dict) and step in value


def plain(number: Any) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)


def many(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
