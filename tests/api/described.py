"""The answers of all these tests, held against what OpenAPI says of their routes."""

import functools
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import requests

Schema = dict[str, Any]
PREFIX = "/api/v1"


def check(response: requests.Response) -> None:
    """AssertionError for a status, a media type or a field that the route does not tell of."""
    asked = response.request
    parts = urlsplit(str(asked.url))
    described = description(f"{parts.scheme}://{parts.netloc}")
    path = PREFIX + parts.path if parts.path.startswith("/v1/") else parts.path
    for pattern, operations in described.patterns:
        operation = operations.get(str(asked.method).lower())
        if operation is not None and pattern.fullmatch(path):
            hold(response, operation, described)
            return


class Description:
    """OpenAPI of one product, with a pattern for each of its paths."""

    def __init__(self, schema: Schema) -> None:
        self.components = {"components": schema["components"]}
        # An older version, before an upgrade, tells nothing of answers.
        tells = "Error" in schema["components"]["schemas"]
        # The most literal ones first: /webhooks/secret before /webhooks/{webhook_id}.
        paths = sorted(schema["paths"].items(), key=lambda item: item[0].count("{"))
        self.patterns = [(pattern_of(path), operations) for path, operations in paths if tells]
        self.validators: dict[int, Any] = {}

    def validator(self, schema: Schema) -> Any:
        """Made once for each part of the description."""
        if id(schema) not in self.validators:
            whole = {**schema, **self.components}
            self.validators[id(schema)] = jsonschema.Draft202012Validator(whole)
        return self.validators[id(schema)]


def pattern_of(path: str) -> re.Pattern[str]:
    """`{model}` may hold a slash, and what else is a parameter may not."""
    parts = re.split(r"({\w+})", path)
    named = {"{model}": ".+"}
    return re.compile("".join(
        named.get(part, "[^/]+") if part.startswith("{") else re.escape(part) for part in parts
    ))  # fmt: skip


@functools.cache
def description(base_url: str) -> Description:
    return Description(requests.get(f"{base_url}{PREFIX}/openapi.json", timeout=90).json())


def hold(response: requests.Response, operation: Schema, described: Description) -> None:
    status = str(response.status_code)
    answers = operation["responses"]
    about = f"{response.request.method} {response.request.path_url}"
    answer = answers.get(status) or answers.get(f"{status[0]}XX")
    # A 500 is what a test brings about on purpose, and no route's promise.
    if answer is None and status[0] == "5":
        return
    assert answer is not None, f"{about}: nobody tells of {status}"
    kind = response.headers.get("Content-Type", "").partition(";")[0]
    contents = answer.get("content", {})
    assert kind in contents or not contents, f"{about}: nobody tells of {kind}"
    if kind == "application/json" and kind in contents:
        errors = list(found(described.validator(contents[kind]["schema"]), response.json()))
        assert not errors, f"{about}: {errors}"


def found(validator: Any, body: Any) -> Iterator[str]:
    for error in validator.iter_errors(body):
        yield f"{error.json_path}: {error.message[:300]}"
