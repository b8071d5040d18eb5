"""What a request wishes of a diffusion model, and what becomes of it.

Each function answers what the model is given, and adds a sentence to `warnings` where that is
not what was asked; what can't be left out or rounded is refused with InvalidRequest.
"""

from inference.catalog import Card
from inference.drawing.diffusion import Mode, Model
from inference.errors import InvalidRequest
from inference.types import ImageRequest, VideoRequest

# Sizes that every pipeline can make are multiples of this.
MULTIPLE = 16
# What is drawn anew of a picture if the request doesn't say: masked parts wholly.
STRENGTHS = {Mode.IMAGE: 0.8, Mode.MASK: 1.0}


def mode(card: Card, model: Model, *, image: bytes | None, mask: bytes | None) -> Mode:
    """What the generation begins with."""
    if image is None and mask is not None:
        raise InvalidRequest("A mask needs the image that it covers.", param="image")
    wished = Mode.TEXT
    if image is not None:
        wished = Mode.IMAGE if mask is None else Mode.MASK
    if model.has(wished):
        return wished
    if wished is Mode.TEXT:
        raise InvalidRequest(f"{card.id} needs an image to begin with.", param="image")
    if wished is Mode.MASK and model.has(Mode.IMAGE):
        raise InvalidRequest(f"{card.id} can't use a mask. Leave it out.", param="mask")
    raise InvalidRequest(f"{card.id} can't begin with an image. Leave it out.", param="image")


def prompt(
    card: Card, model: Model, request: ImageRequest | VideoRequest, warnings: list[str]
) -> str:
    """The prompt, which is read as far as the model can."""
    tokens, reads = model.length(request.prompt)
    if tokens > reads:
        warnings.append(
            f"The prompt has {tokens} tokens, of which {card.id} reads only the first {reads}."
        )
    return request.prompt


def size(card: Card, request: ImageRequest | VideoRequest, warnings: list[str]) -> tuple[int, int]:
    """Width and height in pixels that a pipeline can make; a native size is enlarged later."""
    if native := card.options.get("native_size"):
        return native, native
    width, height = _rounded(request.width), _rounded(request.height)
    if (width, height) != (request.width, request.height):
        warnings.append(
            f"The size is {width}x{height}, as width and height must be multiples of {MULTIPLE}."
        )
    return width, height


def guidance(card: Card, request: ImageRequest | VideoRequest, warnings: list[str]) -> float | None:
    """How closely to follow the prompt; None where the card has no such parameter."""
    known = card.parameters.get("guidance")
    if known is None:
        if request.guidance is not None:
            warnings.append(f"{card.id} has no guidance; it was ignored.")
        return None
    return known.default if request.guidance is None else request.guidance


def negative_prompt(
    card: Card,
    request: ImageRequest | VideoRequest,
    guidance: float | None,
    warnings: list[str],
) -> str | None:
    """What not to show, where the model can know it."""
    if not request.negative_prompt:
        return None
    if not card.options.get("negative_prompt", False):
        warnings.append(f"{card.id} knows no negative prompts; it was ignored.")
        return None
    if guidance is not None and guidance <= 1:
        warnings.append("negative_prompt was ignored: it needs a guidance above 1.")
        return None
    return request.negative_prompt


def strength(
    card: Card, model: Model, mode: Mode, request: ImageRequest, warnings: list[str]
) -> float | None:
    """How much of the image is drawn anew, 0 to 1; None where there is no such choice."""
    if mode is Mode.TEXT or not model.takes(mode, "strength"):
        if request.strength is not None:
            reason = "there is no image" if mode is Mode.TEXT else f"{card.id} has none"
            warnings.append(f"strength was ignored, as {reason}.")
        return None
    if request.strength is None:
        # Enough for one step at least.
        return max(STRENGTHS[mode], 1 / request.steps)
    if int(request.strength * request.steps) < 1:
        raise InvalidRequest(
            f"A strength of {request.strength:g} leaves nothing to draw in {request.steps} "
            "steps: their product must be 1 or more.",
            param="strength",
        )
    return request.strength


def _rounded(side: int) -> int:
    return max(MULTIPLE, round(side / MULTIPLE) * MULTIPLE)
