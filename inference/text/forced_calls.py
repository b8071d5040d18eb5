"""Tool calls that a request insists on: the whole answer is held to `{"name", "arguments"}`.

That needs only what every constrained decoder has, a JSON schema, whatever the model's own way of
calling tools. What comes is one call.
"""

import json
import re
import secrets
from dataclasses import dataclass, field
from typing import Any

from inference.types import Call, ChatRequest

HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?=\S)')
DEFINITIONS = "$defs"


def wanted(request: ChatRequest) -> list[dict[str, Any]]:
    """The functions of which one must be called; none if the model may choose to call nothing."""
    functions: list[dict[str, Any]] = [tool["function"] for tool in request.tools]
    if isinstance(request.tool_choice, dict):
        name = request.tool_choice["function"]["name"]
        return [function for function in functions if function["name"] == name]
    return functions if request.tool_choice == "required" else []


def schema(functions: list[dict[str, Any]]) -> dict[str, Any]:
    """The JSON schema of a call of one of these."""
    calls = [_call(number, function["name"]) for number, function in enumerate(functions)]
    parameters = {
        f"arguments{number}": _moved(function.get("parameters") or {}, number)
        for number, function in enumerate(functions)
    }
    return {**(calls[0] if len(calls) == 1 else {"anyOf": calls}), DEFINITIONS: parameters}


def _call(number: int, name: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "name": {"const": name},
            "arguments": {"$ref": f"#/{DEFINITIONS}/arguments{number}"},
        },
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _moved(parameters: dict[str, Any], number: int) -> dict[str, Any]:
    """The schema of a function's arguments as a part of ours: references begin at its root."""

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            key: f"#/{DEFINITIONS}/arguments{number}{item[1:]}"
            if key == "$ref" and isinstance(item, str) and item.startswith("#")
            else moved(item)
            for key, item in value.items()
        }

    return {"type": "object", **moved(parameters)}


@dataclass(slots=True)
class ForcedCall:
    """Reads a call while it is written, in pieces of any size."""

    call: Call | None = None
    arguments: str = ""
    complete: bool = False
    _unread: str = ""
    _depth: int = 0
    _quoted: bool = False
    _escaped: bool = False
    _id: str = field(default_factory=lambda: f"call_{secrets.token_hex(12)}")

    def feed(self, text: str) -> str:
        """What `text` adds to the arguments; `call` is known from the first of them on."""
        self._unread += text
        if self.call is None:
            head = HEAD.match(self._unread)
            if head is None:
                return ""
            self.call = Call(self._id, json.loads(head[1]))
            self._unread = self._unread[head.end() :]
        new = self._unread[: self._end(self._unread)]
        self._unread = ""
        self.arguments += new
        return new

    def _end(self, text: str) -> int:
        """How much of `text` belongs to the arguments, which end with their outermost brace."""
        if self.complete:
            return 0
        for place, character in enumerate(text):
            if self._escaped:
                self._escaped = False
            elif character == "\\":
                self._escaped = self._quoted
            elif character == '"':
                self._quoted = not self._quoted
            elif not self._quoted and character in "{[":
                self._depth += 1
            elif not self._quoted and character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self.complete = True
                    return place + 1
        return len(text)
