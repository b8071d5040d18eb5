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
    model_validator,
)

from billing.money import micros
from inference.catalog import MOST_DEVICES
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


# On how many devices each pod sits: of one of the card's ways, or null as well.
DeviceCount = Annotated[Whole, Field(ge=1, le=MOST_DEVICES)]


class DeployBody(Native):
    model: ModelName
    engine: EngineName | None = None
    devices: DeviceCount | None = None


class DeploymentChange(Native):
    """What is left out stays as it is; `idle_seconds: null` means the setting's."""

    pinned: bool = False
    replicas: Annotated[Whole, Field(ge=1, le=MAX_REPLICAS)] = 1
    idle_seconds: Annotated[Whole, Field(ge=0, le=MAX_IDLE_SECONDS)] | None = None
    engine: EngineName | None = None
    devices: DeviceCount | None = None


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
