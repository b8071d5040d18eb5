"""JSON bodies, without what PostgreSQL can't store."""

from typing import Any

import orjson
from django.http import HttpRequest
from ninja.parser import Parser

from modelpilot.errors import ApiError


class StrictParser(Parser):
    """JSON without NUL in its strings."""

    def parse_body(self, request: HttpRequest) -> Any:
        body = orjson.loads(request.body)
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


def has_nul(value: Any) -> bool:
    """Whether a string of a JSON value holds a NUL; the parser bounds how deep it goes."""
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(has_nul(key) or has_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(map(has_nul, value))
