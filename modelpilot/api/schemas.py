"""Request bodies. Native routes forbid unknown fields, since a typo must not be billed; OpenAI
routes ignore them, since SDKs send extras, but refuse known ones that we would have to ignore.

These are pydantic's own models: ninja's Schema hands validators something else than the body.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

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
Seed = Annotated[Whole, Field(ge=0, le=SEED)]
WebhookUrl = Annotated[str, AfterValidator(callable_url)]
# USD that the client is ready to pay; it is no part of what the engine is asked.
MaxCost = Annotated[Number, Field(ge=0)]


class Native(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OpenAI(BaseModel):
    model_config = ConfigDict(extra="ignore")


# What a field may say to ask for nothing that we lack.
OFF: tuple[Any, ...] = (None, False, "none", "auto", "default", "text", "audio", {}, [])


def refuse_unsupported(body: Any, names: tuple[str, ...]) -> Any:
    """ApiError 400 for a field that OpenAI has and we lack, unless it is off."""
    if isinstance(body, dict):
        for name in names:
            if body.get(name) not in OFF:
                raise ApiError(
                    400,
                    "unsupported_parameter",
                    f"'{name}' is not supported by this server. Leave it out.",
                    param=name,
                )
    return body


# Chat

UNSUPPORTED_IN_CHAT = (
    "audio",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "modalities",
    "prediction",
    "reasoning_effort",
    "service_tier",
    "store",
    "tool_choice",
    "tools",
    "top_logprobs",
    "verbosity",
    "web_search_options",
)


class TextPart(OpenAI):
    type: Literal["text"]
    text: str


def in_parts(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class Message(OpenAI):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[list[TextPart], BeforeValidator(in_parts)]
    name: Annotated[str, Field(max_length=100)] | None = None

    def plain(self) -> dict[str, str]:
        """As engines take it: parts joined, and the newer name of `system` translated."""
        content = "\n".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": content}


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
    user: str | None = None
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
        }


class ChatBody(TextBody):
    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]
    max_completion_tokens: Tokens | None = None
    response_format: ResponseFormat | None = None

    @model_validator(mode="before")
    @classmethod
    def only_supported(cls, body: Any) -> Any:
        return refuse_unsupported(body, UNSUPPORTED_IN_CHAT)

    def request(self) -> dict[str, Any]:
        """As `inference.types.ChatRequest` takes it."""
        response_format = self.response_format
        return {
            **super().request(),
            "messages": [message.plain() for message in self.messages],
            "max_tokens": self.max_completion_tokens or self.max_tokens,
            "response_format": None
            if response_format is None
            else response_format.model_dump(by_alias=True, exclude_none=True),
        }


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

    @model_validator(mode="before")
    @classmethod
    def only_supported(cls, body: Any) -> Any:
        if isinstance(body, dict) and body.get("logprobs") == 0:
            # Not off: it asks for those of the tokens that were said.
            body = {**body, "logprobs": 1}
        if isinstance(body, dict) and body.get("best_of") == 1:
            body = {**body, "best_of": None}
        return refuse_unsupported(body, ("best_of", "logit_bias", "logprobs", "suffix"))

    def request(self) -> dict[str, Any]:
        """As `inference.types.ChatRequest` takes it."""
        return {**super().request(), "prompt": self.prompt}


# Speech

Voice = Annotated[str, Field(min_length=1, max_length=100)]
Speed = Annotated[Number, Field(ge=0.5, le=2.0)]
SpokenText = Annotated[str, Field(max_length=5000), AfterValidator(not_blank)]


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
        return refuse_unsupported(body, ("instructions", "stream_format"))

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


# Quotes


class QuoteBody(Native):
    # As in the address: `chat/completions`, with or without the part before.
    route: Annotated[str, Field(min_length=1, max_length=60)]
    body: dict[str, Any]


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


class CheckoutBody(Native):
    # USD; the bounds are billing.purchases' own.
    amount: Annotated[Number, Field(ge=5, le=10_000), AfterValidator(whole_cents)]

    def micros(self) -> int:
        return round(self.amount * 100) * 10_000


class RedeemBody(Native):
    code: Annotated[str, Field(min_length=1, max_length=60)]


# Webhooks


class WebhookBody(Native):
    url: WebhookUrl


class WebhookChange(Native):
    enabled: bool
