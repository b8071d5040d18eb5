"""Bodies of the routes for text."""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from modelpilot.api.messages import Message, refuse_pictures
from modelpilot.api.schemas import (
    SEED,
    MaxCost,
    ModelName,
    Number,
    OpenAI,
    WebhookUrl,
    Whole,
    refuse_unsupported,
)
from modelpilot.api.tools import Tool, ToolChoice, callable_tools

UNSUPPORTED_IN_CHAT: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "function_call": ("none",),
    "functions": ([],),
    "modalities": (["text"], []),
    "prediction": (),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "verbosity": ("medium",),
    "web_search_options": (),
}
TOKEN = re.compile(r"\d{1,9}")


class StreamOptions(OpenAI):
    include_usage: bool = False


class JsonSchema(OpenAI):
    name: Annotated[str, Field(max_length=100)]
    # BaseModel has a method of the plain name.
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None
    description: str | None = None


class ResponseFormat(OpenAI):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def schema_is_there(self) -> "ResponseFormat":
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("needs 'json_schema' when its type is json_schema")
        return self


def in_list(stop: Any) -> Any:
    if stop is not None and not isinstance(stop, str | list):
        raise ValueError("must be text, or a list of texts")
    return [stop] if isinstance(stop, str) else stop


def token_number(name: str) -> str:
    if not TOKEN.fullmatch(name):
        raise ValueError("must be the number of a token")
    return name


Stop = Annotated[str, Field(min_length=1, max_length=200)]


Tokens = Annotated[Whole, Field(ge=1, le=1_000_000)]
# From the number of a token, which JSON can only have as text.
LogitBias = Annotated[
    dict[Annotated[str, AfterValidator(token_number)], Annotated[Number, Field(ge=-100, le=100)]],
    Field(max_length=1000),
]


class TextBody(OpenAI):
    """What a chat and a bare completion have in common."""

    model: ModelName
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    max_tokens: Tokens | None = None
    stop: Annotated[list[Stop], BeforeValidator(in_list), Field(max_length=4)] | None = None
    seed: Annotated[Whole, Field(ge=-SEED, le=SEED)] | None = None
    n: Annotated[Whole, Field(ge=1, le=4)] | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logit_bias: LogitBias | None = None
    # These change no answer.
    user: str | None = None
    metadata: dict[str, str] | None = None
    # Ours; OpenAI has its own elsewhere.
    webhook: WebhookUrl | None = None
    max_cost: MaxCost | None = None

    @field_validator("stream_options")
    @classmethod
    def stream_is_on(
        cls, options: StreamOptions | None, info: ValidationInfo
    ) -> StreamOptions | None:
        if options and not info.data.get("stream"):
            raise ValueError("needs 'stream' to be true")
        return options

    def request(self) -> dict[str, Any]:
        """As `inference.types.ChatRequest` takes it, but for what to continue."""
        return {
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stop": self.stop or [],
            "seed": self.seed,
            "n": self.n or 1,
            "presence_penalty": self.presence_penalty or 0.0,
            "frequency_penalty": self.frequency_penalty or 0.0,
            **({"logit_bias": self.logit_bias} if self.logit_bias else {}),
        }


class ChatBody(TextBody):
    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]
    max_completion_tokens: Tokens | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: (
        Literal["none", "minimal", "low", "medium", "high", "xhigh", "max", "default"] | None
    ) = None
    logprobs: bool | None = None
    top_logprobs: Annotated[Whole, Field(ge=0, le=20)] | None = None

    @model_validator(mode="before")
    @classmethod
    def only_supported(cls, body: Any) -> Any:
        refuse_pictures(body)
        return refuse_unsupported(body, UNSUPPORTED_IN_CHAT)

    @field_validator("max_completion_tokens")
    @classmethod
    def said_once(cls, most: int | None, info: ValidationInfo) -> int | None:
        other = info.data.get("max_tokens")
        if most is not None and other is not None and most != other:
            raise ValueError("and 'max_tokens' are two names of one limit: send one of them")
        return most

    @field_validator("messages")
    @classmethod
    def answers_have_calls(cls, messages: list[Message]) -> list[Message]:
        known: set[str] = set()
        for number, message in enumerate(messages):
            known.update(call.id for call in message.tool_calls or ())
            if message.role == "tool" and message.tool_call_id not in known:
                raise ValueError(
                    f"has a tool's answer (number {number}) whose 'tool_call_id' belongs to no "
                    "call before it"
                )
        return messages

    @field_validator("tool_choice")
    @classmethod
    def tool_is_there(cls, choice: ToolChoice | None, info: ValidationInfo) -> ToolChoice | None:
        tools = info.data.get("tools") or ()
        if choice in (None, "none", "auto"):
            return choice
        if not tools:
            raise ValueError("needs 'tools'")
        known = [tool.function.name for tool in tools]
        chosen = [] if isinstance(choice, str) else choice.names()
        if unknown := [name for name in chosen if name not in known]:
            raise ValueError(
                f"names '{unknown[0]}', no tool of this request; 'tools' has {', '.join(known)}"
            )
        return choice

    @field_validator("top_logprobs")
    @classmethod
    def logprobs_are_on(cls, top: int | None, info: ValidationInfo) -> int | None:
        if top and not info.data.get("logprobs"):
            raise ValueError("needs 'logprobs' to be true")
        return top

    def request(self) -> dict[str, Any]:
        """As `inference.types.ChatRequest` takes it; what was not asked for is left out."""
        response_format = self.response_format
        tools, choice = callable_tools(self.tools or [], self.tool_choice)
        more = {
            "tools": tools,
            "tool_choice": choice if tools else None,
            "reasoning_effort": None
            if self.reasoning_effort == "default"
            else self.reasoning_effort,
            "logprobs": self.logprobs,
            "top_logprobs": self.top_logprobs,
        }
        request = {
            **super().request(),
            "messages": [message.plain() for message in self.messages],
            "max_tokens": self.max_completion_tokens or self.max_tokens,
            "response_format": None
            if response_format is None
            else response_format.model_dump(by_alias=True, exclude_none=True),
            **{name: value for name, value in more.items() if value},
        }
        if tools and self.parallel_tool_calls is False:
            request["parallel_tool_calls"] = False
        return request


# Bare completions


def one_prompt(prompt: Any) -> Any:
    """OpenAI takes a list of prompts too, and prompts in tokens of its models."""
    if not isinstance(prompt, list):
        return prompt
    if any(isinstance(part, int | list) for part in prompt):
        raise ValueError("must be text: tokens are not supported")
    if len(prompt) > 1:
        raise ValueError("must be one text: send a request for each of several")
    return prompt[0] if prompt else ""


class CompletionBody(TextBody):
    prompt: Annotated[str, BeforeValidator(one_prompt), Field(min_length=1)]
    # As few as OpenAI's.
    max_tokens: Tokens | None = 16
    # Whether the answer begins with the prompt.
    echo: bool | None = None

    # How many of the likeliest tokens to tell at each place; 0 is the one that was said.
    logprobs: Annotated[Whole, Field(ge=0, le=5)] | None = None

    @model_validator(mode="before")
    @classmethod
    def only_supported(cls, body: Any) -> Any:
        return refuse_unsupported(body, {"best_of": (1,), "suffix": ("",)})

    @field_validator("logprobs")
    @classmethod
    def not_of_the_prompt(cls, logprobs: int | None, info: ValidationInfo) -> int | None:
        if logprobs is not None and info.data.get("echo"):
            raise ValueError("can't be had with 'echo': those of a prompt are not known")
        return logprobs

    def request(self) -> dict[str, Any]:
        """As `inference.types.ChatRequest` takes it."""
        request = {**super().request(), "prompt": self.prompt}
        if self.logprobs is not None:
            request |= {"logprobs": True, "top_logprobs": self.logprobs}
        return request
