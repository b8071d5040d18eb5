"""The messages of a chat, as they are sent."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from modelpilot.api.schemas import OpenAI
from modelpilot.errors import ApiError

# What parts of a message's content we lack.
NOT_TEXT = {"image_url": "images", "input_audio": "audio", "file": "files"}


class TextPart(OpenAI):
    type: Literal["text"]
    text: str


class RefusalPart(OpenAI):
    type: Literal["refusal"]
    refusal: str

    @property
    def text(self) -> str:
        return self.refusal


def in_parts(content: Any) -> Any:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if content is not None and not isinstance(content, list):
        raise ValueError("must be text, or a list of parts")
    return content


class FunctionCall(OpenAI):
    name: Annotated[str, Field(max_length=100)]
    # JSON, but written by a model: it may be wrong.
    arguments: str


class ToolCall(OpenAI):
    id: Annotated[str, Field(min_length=1, max_length=100)]
    type: Literal["function"] = "function"
    function: FunctionCall


Part = Annotated[TextPart | RefusalPart, Field(discriminator="type")]


class Message(OpenAI):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[list[Part], BeforeValidator(in_parts)] | None = None
    name: Annotated[str, Field(max_length=100)] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=128)] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def says_something(self) -> "Message":
        if self.tool_calls and self.role != "assistant":
            raise ValueError("has 'tool_calls', which only an assistant's message has")
        if self.role == "tool" and self.tool_call_id is None:
            raise ValueError("needs 'tool_call_id' when its role is tool")
        if self.content is None and not (self.tool_calls or self.refusal):
            raise ValueError("needs 'content'")
        return self

    def plain(self) -> dict[str, Any]:
        """As engines take it: parts joined, and the newer name of `system` translated."""
        said = self.refusal if self.content is None else "\n".join(p.text for p in self.content)
        more = {
            "name": self.name,
            "reasoning_content": self.reasoning_content,
            "tool_calls": [call.model_dump() for call in self.tool_calls or ()],
            "tool_call_id": self.tool_call_id,
        }
        return {
            "role": "system" if self.role == "developer" else self.role,
            "content": said,
            **{name: value for name, value in more.items() if value},
        }


def refuse_pictures(body: Any) -> None:
    """ApiError 400 for content that is no text, naming where it is."""
    messages = body.get("messages") if isinstance(body, dict) else None
    for number, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        for place, part in enumerate(content if isinstance(content, list) else ()):
            kind = part.get("type") if isinstance(part, dict) else None
            if isinstance(kind, str) and kind in NOT_TEXT:
                raise ApiError(
                    400,
                    "unsupported_content",
                    f"The model takes no {NOT_TEXT[kind]}, only text. Leave out the part of type "
                    f"'{kind}'.",
                    param=f"messages.{number}.content.{place}",
                )
