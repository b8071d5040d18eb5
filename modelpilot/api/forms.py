"""Bodies that come as a form with files, or as JSON: the OpenAI SDKs send pictures either way."""

import base64
import hashlib
from typing import Any, TypeVar

import orjson
from django.http import HttpRequest
from pydantic import BaseModel, ValidationError

from modelpilot.api.findings import invalid
from modelpilot.api.parser import parse_json
from modelpilot.errors import ApiError

Body = TypeVar("Body", bound=BaseModel)


def read_form(
    request: HttpRequest, model: type[Body], lists: tuple[str, ...] = ()
) -> tuple[Body, bytes]:
    """The checked body, and a digest that is the same whenever the client sends it again.

    A form's boundary is another each time, so its bytes would not do. Files become base64. The
    fields in `lists` may come several times in a form. Raises ApiError 400 or 422.
    """
    known = {field.alias or name for name, field in model.model_fields.items()}
    as_form = is_form(request)
    fields = form(request, lists, known) if as_form else parse_json(request)
    try:
        # All that a form has is text.
        body = model.model_validate(fields, strict=not as_form)
    except ValidationError as error:
        # As ninja numbers them: the source and the body's name first.
        errors: list[Any] = [{**e, "loc": ("body", "body", *e["loc"])} for e in error.errors()]
        raise invalid(errors, fields) from error
    return body, hashlib.sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).digest()


def is_form(request: HttpRequest) -> bool:
    return request.content_type in ("multipart/form-data", "application/x-www-form-urlencoded")


def form(request: HttpRequest, lists: tuple[str, ...], known: set[str]) -> dict[str, Any]:
    """A form's fields and files by name; `image[]`, as SDKs write a list, is `image`. What nobody
    knows may come as often as it likes."""
    fields: dict[str, Any] = {}
    for name, values in request.POST.lists():
        if name.removesuffix("[]") in lists:
            fields.setdefault(name.removesuffix("[]"), []).extend(values)
        else:
            add(fields, name, values, known)
    for name, files in request.FILES.lists():
        add(fields, name, [base64.b64encode(file.read()).decode() for file in files], known)
    return fields


def add(fields: dict[str, Any], name: str, values: list[str], known: set[str]) -> None:
    plain = name.removesuffix("[]")
    if plain in known and (len(values) > 1 or plain in fields):
        raise ApiError(
            400,
            "unsupported_parameter",
            f"'{plain}' came more than once, and one is all that is supported. Send one.",
            param=plain,
        )
    if values and "\x00" in values[0]:
        raise ApiError(400, "invalid_form", f"'{plain}' has a NUL character. Leave it out.")
    fields[plain] = values[0] if values else ""


def described(model: type[BaseModel], *files: str) -> dict[str, Any]:
    """The body for OpenAPI, as a form in which `files` are files, or as JSON."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    as_form = {**schema, "properties": dict(schema["properties"])}
    for name in files:
        as_form["properties"][name] = {"type": "string", "format": "binary", "title": name.title()}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": as_form},
                "application/json": {"schema": schema},
            },
        }
    }
