"""JSON bodies, without what PostgreSQL can't store."""

from typing import Any

import orjson
from django.http import HttpRequest
from ninja.parser import Parser

from modelpilot.errors import ApiError

# Deeper than anybody's tools and schemas; what writes JSON gives up at 250, and stacks soon after.
MOST_LEVELS = 100
# Each may be wrong in its own way, and that costs 15 µs each.
MOST_VALUES = 50_000


class StrictParser(Parser):
    """JSON without NUL in its strings, and of a size that can be looked through at once."""

    def parse_body(self, request: HttpRequest) -> Any:
        body = orjson.loads(request.body)
        # Also of a text's own commas and brackets there are rarely so many.
        if sum(map(request.body.count, (b"[", b"{", b","))) > MOST_LEVELS:
            check_shape(body)
        if b"\\u0000" in request.body and has_nul(body):
            raise ApiError(400, "invalid_json", "The body has a NUL character. Leave it out.")
        return body


def parse_json(request: HttpRequest) -> Any:
    """The body, on a route that reads it by itself; ApiError 400 if it is not JSON."""
    try:
        return StrictParser().parse_body(request)
    except ValueError as error:
        raise ApiError(
            400, "invalid_json", "The body is not valid JSON. Check its syntax."
        ) from error


def check_shape(body: Any) -> None:
    """ApiError 400 where a JSON value has too many values, or too many inside of each other."""
    held, values = [body], 0
    for _ in range(MOST_LEVELS + 1):
        held = [each for each in held if isinstance(each, dict | list)]
        if not held:
            return
        values += sum(map(len, held))
        if values > MOST_VALUES:
            raise ApiError(
                400,
                "invalid_json",
                f"The body has more than {MOST_VALUES:,} values. Send several requests instead.",
            )
        held = [
            item for each in held for item in (each.values() if isinstance(each, dict) else each)
        ]
    raise ApiError(
        400,
        "invalid_json",
        f"The body is nested deeper than {MOST_LEVELS} levels. Make it flatter.",
    )


def has_nul(value: Any) -> bool:
    """Whether a string of a JSON value holds a NUL; it is not deep any more."""
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(has_nul(key) or has_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(map(has_nul, value))
