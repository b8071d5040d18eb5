"""What an answer must look like: calls of tools, JSON, or either, as xgrammar takes it."""

import json
from typing import Any

from inference.errors import InvalidRequest
from inference.text.dialect import BEGIN, Syntax, written
from inference.types import ChatRequest

Form = dict[str, Any]


def form_of(request: ChatRequest, syntax: Syntax) -> tuple[Form | None, str]:
    """The form (see `Grammars.compile`), and the field that asks for it; None: anything goes.

    Raises InvalidRequest for a tool_choice that names none of the tools.
    """
    schema = _schema(request.response_format or {})
    choice = request.tool_choice
    if not request.tools or choice == "none":
        return schema, "response_format"
    tags = [_tag(function, syntax) for function in _chosen(request)]
    one = isinstance(choice, dict) or not request.parallel_tool_calls
    if choice == "required" or isinstance(choice, dict):
        return _tagged(_calls(tags, one=one)), "tools"
    if schema is not None:
        return _tagged({"type": "or", "elements": [_calls(tags, one=one), _json(schema)]}), "tools"
    strict = any(tool["function"].get("strict") for tool in request.tools)
    # Llama's calls have no marker: what begins like one may be an answer.
    if (strict or one) and syntax != "llama":
        return _tagged(_free(tags, BEGIN[syntax], one=one)), "tools"
    return None, ""


def _schema(wanted: dict[str, Any]) -> Form | None:
    match wanted.get("type"):
        case "json_object":
            return {"type": "object"}
        case "json_schema":
            schema: Form = wanted["json_schema"].get("schema", {})
            return schema
    return None


def _chosen(request: ChatRequest) -> list[dict[str, Any]]:
    choice = request.tool_choice
    name = choice["function"]["name"] if isinstance(choice, dict) else None
    functions = [tool["function"] for tool in request.tools]
    chosen = [one for one in functions if name is None or one["name"] == name]
    if not chosen:
        raise InvalidRequest(
            f"tool_choice names {name!r}, which is none of the tools.", param="tool_choice"
        )
    return chosen


def _tag(function: dict[str, Any], syntax: Syntax) -> Form:
    begin, end = written(syntax, function["name"])
    schema = function.get("parameters") or {"type": "object"}
    return {"type": "tag", "begin": begin, "content": _json(schema), "end": end}


def _json(schema: Form) -> Form:
    return {"type": "json_schema", "json_schema": schema, "max_whitespace_cnt": 1}


def _calls(tags: list[Form], *, one: bool) -> Form:
    """Calls, and nothing else."""
    return {
        "type": "tags_with_separator",
        "tags": tags,
        "separator": "\n",
        "at_least_one": True,
        "stop_after_first": one,
    }


def _free(tags: list[Form], trigger: str, *, one: bool) -> Form:
    """Any text; but what begins a call is one of these."""
    return {
        "type": "triggered_tags",
        "triggers": [trigger],
        "tags": tags,
        "at_least_one": False,
        "stop_after_first": one,
    }


def _tagged(form: Form) -> Form:
    # A copy by JSON: xgrammar's own models would keep parts of the request.
    copy: Form = json.loads(json.dumps({"type": "structural_tag", "format": form}))
    return {"structural_tag": copy}
