"""Request bodies. Native routes forbid unknown fields, since a typo must not be billed; OpenAI
routes ignore them, since SDKs send extras, but refuse known ones that we would have to ignore.

These are pydantic's own models: ninja's Schema hands validators something else than the body.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from billing.money import micros
from modelpilot.errors import ApiError
from modelpilot.jobs import outbound

MODEL_NAME_LENGTH = 100
SEED = 2**63 - 1
MAX_REPLICAS = 64
MAX_IDLE_SECONDS = 30 * 86_400


def no_bool(value: Any) -> Any:
    """pydantic takes true for 1; a client that sends it for a number has made a mistake."""
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def no_float(value: Any) -> Any:
    """What JSON has beyond 64 bits comes as a float; as an integer it meets its bounds."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def spelled(**schema: Any) -> Any:
    """What a validator of ours asks for, said in JSON Schema, for OpenAPI."""
    return Field(json_schema_extra=schema)


def not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value


def callable_url(url: str) -> str:
    outbound.parse(url)
    return url


Number = Annotated[float, BeforeValidator(no_bool), Field(allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(no_float), BeforeValidator(no_bool)]
ModelName = Annotated[str, Field(min_length=1, max_length=MODEL_NAME_LENGTH)]
NotBlank = Annotated[str, spelled(pattern=r"[^\s\x1c-\x1f\x85]"), AfterValidator(not_blank)]
Seed = Annotated[Whole, Field(ge=0, le=SEED)]
WebhookUrl = Annotated[
    str,
    spelled(format="uri", pattern="^https?://", maxLength=outbound.URL_LENGTH),
    AfterValidator(callable_url),
]
# USD that the client is ready to pay; it is no part of what the engine is asked.
MaxCost = Annotated[Number, Field(ge=0)]


# Strict: JSON says what is a number and what is text, and a client that mixes them up has made a
# mistake. (A form knows text only; see forms.py.)
class Native(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class OpenAI(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


# What most fields say to ask for nothing that we lack.
OFF: tuple[Any, ...] = (False, "none", "auto", "default", "text", "audio", {}, [])


def refuse_unsupported(body: Any, lacking: dict[str, tuple[Any, ...]]) -> Any:
    """ApiError 400 for a field that OpenAI has and we lack, unless it asks for nothing else than
    what we do: null, or one of its values in `lacking`."""
    if isinstance(body, dict):
        for name, harmless in lacking.items():
            value = body.get(name)
            if value is not None and value not in harmless:
                raise ApiError(
                    400,
                    "unsupported_parameter",
                    f"'{name}' is not supported by this server{but(harmless)}. Leave it out.",
                    param=name,
                )
    return body


def but(harmless: tuple[Any, ...]) -> str:
    said = [json.dumps(value) for value in harmless if value and harmless is not OFF]
    return f" but for {' and '.join(said)}" if said else ""


# Chat

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
# What parts of a message's content we lack.
NOT_TEXT = {"image_url": "images", "input_audio": "audio", "file": "files"}
FUNCTION_NAME = r"^[A-Za-z0-9_-]{1,64}$"


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
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


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


class Function(OpenAI):
    name: Annotated[str, Field(pattern=FUNCTION_NAME)]
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


ToolChoice = Literal["none", "auto", "required"] | NamedTool


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
    return [stop] if isinstance(stop, str) else stop


Stop = Annotated[str, Field(min_length=1, max_length=200)]


Tokens = Annotated[Whole, Field(ge=1, le=1_000_000)]
# From the number of a token, which JSON can only have as text.
LogitBias = Annotated[
    dict[Annotated[str, Field(pattern=r"^\d{1,9}$")], Annotated[Number, Field(ge=-100, le=100)]],
    Field(max_length=1000),
]


class TextBody(OpenAI):
    """What a chat and a bare completion have in common."""

    model: ModelName
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
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
        names = [tool.function.name for tool in tools]
        if isinstance(choice, NamedTool) and choice.function.name not in names:
            raise ValueError(f"names no tool of this request; 'tools' has {', '.join(names)}")
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
        choice = self.tool_choice
        # Who may call nothing need not know of tools.
        tools = [] if choice == "none" else [tool.plain() for tool in self.tools or ()]
        chosen = choice.model_dump() if isinstance(choice, NamedTool) else choice
        more = {
            "tools": tools,
            "tool_choice": chosen if tools else None,
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


# Speech

Voice = Annotated[str, Field(min_length=1, max_length=100)]
Speed = Annotated[Number, Field(ge=0.5, le=2.0)]
SpokenText = Annotated[NotBlank, Field(max_length=5000)]


class AudioBody(Native):
    model: ModelName
    text: SpokenText
    voice: Voice | None = None
    speed: Speed = 1.0
    # A WAV file in base64, whose voice is to speak: where the model's card allows it.
    audio_prompt: Annotated[str, Field(max_length=4_000_000)] | None = None
    webhook: WebhookUrl | None = None
    max_cost: MaxCost | None = None

    def request(self) -> dict[str, Any]:
        """As `inference.types.SpeechRequest` takes it."""
        request = {"text": self.text, "voice": self.voice, "speed": self.speed, "format": "wav"}
        return (
            request if self.audio_prompt is None else request | {"audio_prompt": self.audio_prompt}
        )


class SpeechBody(OpenAI):
    model: ModelName
    input: SpokenText
    voice: Voice | None = None
    speed: Speed = 1.0
    webhook: WebhookUrl | None = None
    max_cost: MaxCost | None = None
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"

    @model_validator(mode="before")
    @classmethod
    def only_supported(cls, body: Any) -> Any:
        return refuse_unsupported(body, {"instructions": OFF, "stream_format": OFF})

    def request(self) -> dict[str, Any]:
        """As `inference.types.SpeechRequest` takes it."""
        return {
            "text": self.input,
            "voice": self.voice,
            "speed": self.speed,
            "format": self.response_format,
        }


# Jobs


class ReplayBody(Native):
    max_cost: MaxCost | None = None


# Deployments


# The engine of one of the card's ways, or null: what fits the hardware best.
EngineName = Annotated[str, Field(min_length=1, max_length=100)]


class DeployBody(Native):
    model: ModelName
    engine: EngineName | None = None


class DeploymentChange(Native):
    """What is left out stays as it is; `idle_seconds: null` means the setting's."""

    pinned: bool = False
    replicas: Annotated[Whole, Field(ge=1, le=MAX_REPLICAS)] = 1
    idle_seconds: Annotated[Whole, Field(ge=0, le=MAX_IDLE_SECONDS)] | None = None
    engine: EngineName | None = None


# Billing


def whole_cents(value: float) -> float:
    if round(value * 100) != round(value * 1_000_000) / 10_000:
        raise ValueError("must be of whole cents")
    return value


def whole_micros(value: float) -> float:
    try:
        micros(repr(value))
    except ValueError:
        raise ValueError("must have six decimals at most") from None
    return value


class CheckoutBody(Native):
    # USD; the bounds are billing.purchases' own.
    amount: Annotated[
        Number, Field(ge=5, le=10_000), spelled(multipleOf=0.01), AfterValidator(whole_cents)
    ]

    def micros(self) -> int:
        return round(self.amount * 100) * 10_000


class RedeemBody(Native):
    code: Annotated[str, Field(min_length=1, max_length=60)]


# Budgets

# USD; a budget of nothing stops all that costs something.
Dollars = Annotated[
    Number,
    Field(ge=0, le=1_000_000_000),
    spelled(multipleOf=0.000001),
    AfterValidator(whole_micros),
]


class BudgetBody(Native):
    period: Literal["day", "month"]
    # Null ends the budget.
    cap: Dollars | None
    # Null: of the account.
    key: Annotated[Whole, Field(ge=1, le=SEED)] | None = None
    soft_percent: Annotated[Whole, Field(ge=1, le=100)] | None = None
    soft_limit: Dollars | None = None

    @model_validator(mode="after")
    def one_soft_limit(self) -> "BudgetBody":
        if self.soft_percent is not None and self.soft_limit is not None:
            raise ApiError(
                422,
                "invalid_value",
                "Send 'soft_percent' or 'soft_limit', not both.",
                param="soft_limit",
            )
        return self


class LowBalanceBody(Native):
    # USD; null: no mail.
    threshold: Annotated[Dollars, Field(gt=0)] | None


# Webhooks


class WebhookBody(Native):
    url: WebhookUrl


class WebhookChange(Native):
    enabled: bool
