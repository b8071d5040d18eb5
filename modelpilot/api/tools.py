"""The tools that a chat's model may call, and which of them it shall."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from modelpilot.api.schemas import OpenAI

FUNCTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def function_name(name: str) -> str:
    if not FUNCTION_NAME.fullmatch(name):
        raise ValueError("must be 1 to 64 letters, digits, '_' and '-'")
    return name


class Function(OpenAI):
    name: Annotated[str, AfterValidator(function_name)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(OpenAI):
    type: Literal["function"]
    function: Function

    def plain(self) -> dict[str, Any]:
        """As engines take it: a function without parameters takes an empty object."""
        function = self.function.model_dump(exclude_none=True)
        function.setdefault("parameters", {"type": "object", "properties": {}})
        return {"type": "function", "function": function}


class FunctionName(OpenAI):
    name: str


class NamedTool(OpenAI):
    type: Literal["function"]
    function: FunctionName

    def names(self) -> list[str]:
        return [self.function.name]


class AllowedTools(OpenAI):
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=128)]


class AllowedChoice(OpenAI):
    """Some of the request's tools: the model is told of these alone."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools

    def names(self) -> list[str]:
        return [tool.function.name for tool in self.allowed_tools.tools]


def kind_of_choice(choice: Any) -> str | None:
    """Which member of `ToolChoice` it is; None if it is none."""
    kind = choice.get("type") if isinstance(choice, dict) else getattr(choice, "type", "word")
    return kind if kind in ("function", "allowed_tools", "word") else None


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("word")]
    | Annotated[NamedTool, Tag("function")]
    | Annotated[AllowedChoice, Tag("allowed_tools")],
    Discriminator(
        kind_of_choice,
        custom_error_type="tool_choice",
        custom_error_message="must be 'none', 'auto', 'required', or an object that names a "
        "function or the allowed_tools",
    ),
]


def callable_tools(
    tools: list[Tool], choice: ToolChoice | None
) -> tuple[list[dict[str, Any]], str | dict[str, Any] | None]:
    """The tools that may be called, and the choice among them, as engines take them. A model that
    may call nothing need not know of tools."""
    if choice == "none":
        return [], None
    if isinstance(choice, AllowedChoice):
        tools = [tool for tool in tools if tool.function.name in choice.names()]
        return [tool.plain() for tool in tools], choice.allowed_tools.mode
    chosen = choice.model_dump() if isinstance(choice, NamedTool) else choice
    return [tool.plain() for tool in tools], chosen
