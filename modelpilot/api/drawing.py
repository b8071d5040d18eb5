"""Bodies that ask for pictures and films, and what the model's card makes of them."""

import base64
import binascii
import re
import secrets
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field

from inference.drawing import pictures
from inference.errors import InvalidRequest
from inference.types import Kind
from modelpilot.api.schemas import (
    MaxCost,
    ModelName,
    Native,
    NotBlank,
    Number,
    OpenAI,
    Seed,
    WebhookUrl,
    Whole,
)
from modelpilot.errors import ApiError
from modelpilot.fleet.catalog import cards

PROMPT_LENGTH = 10_000
# What pydantic refuses by itself; the model's card knows the real bounds, and says them.
LARGEST = 2**31 - 1
# What says how to answer and what to pay, not what to draw.
ABOUT_THE_ANSWER = {"model", "webhook", "max_cost", "response_format", "size", "user"}
# A seed that nobody chose: short enough to be read out.
RANDOM_SEEDS = 2**32
SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")


def decoded(text: str) -> bytes:
    """The bytes of a picture in base64 or in a data URL; ValueError says what is wrong."""
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        content = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise ValueError("must be a picture in base64 or a data: URL") from None
    check_picture(content)
    return content


def check_picture(content: bytes) -> None:
    """ValueError if the header is not that of a picture that we would open."""
    try:
        pictures.check(content)
    except InvalidRequest as error:
        raise ValueError(error.message.removeprefix("image ")) from error


def canonical(text: str) -> str:
    return base64.b64encode(decoded(text)).decode()


Prompt = Annotated[NotBlank, Field(max_length=PROMPT_LENGTH)]
Negative = Annotated[str, Field(max_length=PROMPT_LENGTH)]
Size = Annotated[Whole, Field(ge=1, le=LARGEST)]
Guidance = Annotated[Number, Field(ge=0, le=100)]
Strength = Annotated[Number, Field(gt=0, le=1)]
Count = Annotated[Whole, Field(ge=1, le=4)]
Picture = Annotated[str, AfterValidator(canonical)]


class Asked(BaseModel):
    """What every body says that asks for pictures or films."""

    model: ModelName
    prompt: Prompt
    negative_prompt: Negative | None = None
    steps: Size | None = None
    guidance: Guidance | None = None
    seed: Seed | None = None
    webhook: WebhookUrl | None = None
    max_cost: MaxCost | None = None

    def given(self) -> dict[str, Any]:
        """What was said about the work, by the names of `inference.types`."""
        return self.model_dump(exclude=ABOUT_THE_ANSWER, exclude_none=True, by_alias=True)


class DrawingBody(Asked, Native):
    """As the original has them."""

    width: Size | None = None
    height: Size | None = None
    # The picture to begin with, in base64 or as a data: URL.
    image: Picture | None = None

    def request(self) -> dict[str, Any]:
        """As the kind's request in `inference.types` takes it; ApiError 422 out of bounds."""
        return settled(self.model, self.given())


class OpenAIDrawingBody(Asked, OpenAI):
    """As OpenAI's clients ask; fields that only we have come as `extra_body`."""

    size: Annotated[str, Field(max_length=20)] | None = None
    user: str | None = None

    def given(self) -> dict[str, Any]:
        return {**super().given(), **dimensions(self.size)}


def settled(model: str, asked: dict[str, Any]) -> dict[str, Any]:
    """The request with the card's defaults filled in, and a seed, so that it can be repeated.

    ApiError 422 for what is out of the card's bounds. A model that is not there, or of another
    kind, is refused in a moment by who places the order.
    """
    card = cards().find(model)
    if card is None or card.kind not in (Kind.IMAGE, Kind.VIDEO):
        return asked
    request = {"seed": secrets.randbelow(RANDOM_SEEDS), **asked}
    for name, bounds in card.parameters.items():
        value = request.setdefault(name, bounds.default)
        if not bounds.min <= value <= bounds.max:
            raise ApiError(
                422,
                "invalid_value",
                f"'{name}' must be from {bounds.min} to {bounds.max} for {card.id}, "
                f"and you sent {value}.",
                param=name,
            )
    return request


def dimensions(size: str | None) -> dict[str, int]:
    """`{"width", "height"}` of OpenAI's `size`, such as 1024x768; nothing of "auto"."""
    if size is None or size == "auto":
        return {}
    match = SIZE.fullmatch(size)
    if match is None:
        raise ApiError(
            422,
            "invalid_value",
            "'size' must be 'auto' or a width and a height in pixels, such as 1024x1024.",
            param="size",
        )
    return {"width": int(match[1]), "height": int(match[2])}


def check_pair(body: Any) -> None:
    """ValueError for what means nothing without a picture to begin with."""
    for name in ("strength", "mask"):
        if getattr(body, name) is not None and body.image is None:
            raise ValueError(f"has '{name}', which needs an 'image' to begin with")
