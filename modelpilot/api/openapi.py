"""What OpenAPI says of every route beside what ninja finds in its signature."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema

from modelpilot.api.answers.shapes import Error

# pydantic writes down bounds behind a validator of ours under its own names for them.
BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
}
# An address or a body with one is malformed, whatever it asks for (see envelope.py, parser.py).
NO_NUL = r"^[^\x00]*$"
NARROWER = {"pattern", "enum", "const", "format"}
SESSION = {
    "type": "apiKey",
    "in": "cookie",
    "name": settings.SESSION_COOKIE_NAME,
    "description": "Of the site's own pages: what changes something needs X-CSRFToken, too.",
}
REFUSED = "Refused: the message says why, and what to do."
AWAY = "Not at the moment: `Retry-After` says when."


class Described(NinjaAPI):
    """Every operation may be refused, in the one envelope."""

    def get_openapi_schema(self, **where: Any) -> OpenAPISchema:
        schema = super().get_openapi_schema(**where)
        error = Error.model_json_schema(ref_template="#/components/schemas/{model}")
        schema["components"]["schemas"] |= error.pop("$defs") | {"Error": error}
        schema["components"]["securitySchemes"]["Session"] = SESSION
        for operations in schema["paths"].values():
            for operation in operations.values():
                operation["responses"] |= {"4XX": refusal(REFUSED), "503": refusal(AWAY)}
                operation["security"] = [*operation.get("security", ()), {"Session": []}]
                for text in texts(asked(operation, schema["components"]["schemas"])):
                    text["pattern"] = NO_NUL
        for part in parts(schema):
            for name in BOUNDS.keys() & part.keys():
                part[BOUNDS[name]] = part.pop(name)
        return schema


def asked(operation: dict[str, Any], schemas: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every schema of what an operation is sent, those that it refers to included."""
    waiting = [operation.get("parameters", []), operation.get("requestBody", {})]
    known: set[str] = set()
    while waiting:
        for part in parts(waiting.pop()):
            yield part
            name = str(part.get("$ref", "")).rpartition("/")[2]
            if name in schemas and name not in known:
                known.add(name)
                waiting.append(schemas[name])


def texts(schemas: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Those among these that any text meets."""
    for part in schemas:
        if part.get("type") == "string" and not part.keys() & NARROWER:
            yield part


def refusal(description: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {"description": description, "content": content}


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of a JSON value."""
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from parts(item)
    elif isinstance(value, list):
        for item in value:
            yield from parts(item)


def sends(*media_types: str, status: int = 200) -> dict[str, Any]:
    """For `openapi_extra`: what a route may send beside JSON."""
    content = {name: {"schema": SENT.get(name, BINARY)} for name in media_types}
    return {"responses": {status: {"content": content}}}


BINARY = {"type": "string", "format": "binary"}
# Of a stream a schema would describe each event.
SENT: dict[str, dict[str, Any]] = {
    "text/event-stream": {},
    "text/csv": {"type": "string"},
    "text/plain": {"type": "string"},
}
