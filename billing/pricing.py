"""What a request costs: pure arithmetic on integers, for the hold and for the settlement alike.

A price has parts, and a request's measures say how much of each it is. The most that it can cost
is the cost of its largest possible measures, so it can never come to more than was quoted.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Self

from billing.money import micros, usd

# What each part is the price of.
UNITS = {
    "request": "request",
    "input_tokens": "1M input tokens",
    "cached_input_tokens": "1M cached input tokens",
    "output_tokens": "1M output tokens",
    "megapixels": "megapixel",
    "steps": "step",
    "video_seconds": "second of film",
    "characters": "1K characters",
    "audio_minutes": "minute of audio",
}
# More would not fit into a column once it is multiplied: nothing costs a million dollars.
LARGEST = micros("1000000")


@dataclass(frozen=True, slots=True)
class Price:
    """Micro-dollars by UNITS; what is 0 is not charged for.

    `request` is due for each of the `n` answers. `cached_input_tokens` None: they cost what other
    input does. Megapixels and steps are surcharges: they count above `base_pixels` and
    `base_steps`, for each of the `n` pictures.
    """

    request: int = 0
    input_tokens: int = 0
    cached_input_tokens: int | None = None
    output_tokens: int = 0
    megapixels: int = 0
    steps: int = 0
    video_seconds: int = 0
    characters: int = 0
    audio_minutes: int = 0
    base_pixels: int = 0
    base_steps: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError, so that no such price is ever reckoned with."""
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and not 0 <= value <= LARGEST:
                raise ValueError(f"{name} must be from 0 to {usd(LARGEST):.0f} USD.")
        if self.cached_input_tokens is not None and self.cached_input_tokens > self.input_tokens:
            # The quote reckons that nothing is cached.
            raise ValueError("cached_input_tokens must not cost more than input_tokens.")

    @classmethod
    def from_json(cls, parts: Mapping[str, int]) -> Self:
        """From what `as_json` gave; raises ValueError for parts that don't exist."""
        unknown = parts.keys() - set(cls.__slots__)
        if unknown:
            raise ValueError(f"{min(unknown)} is no part of a price: {', '.join(UNITS)}.")
        return cls(**parts)

    def as_json(self) -> dict[str, int]:
        """The parts that are there, in micro-dollars; what a job keeps."""
        named = {name: getattr(self, name) for name in self.__slots__}
        # Cached input may be free where other input is not.
        return {
            name: value
            for name, value in named.items()
            if value or (name == "cached_input_tokens" and value is not None)
        }

    def parts(self) -> dict[str, float]:
        """In USD by the names of UNITS, as the API shows them; a free model has a request of 0."""
        named = {name: usd(value) for name, value in self.as_json().items() if name in UNITS}
        return named or {"request": 0.0}

    def __str__(self) -> str:
        """For people: `$0.001`, or `$0.05/1M input tokens + $0.20/1M output tokens`."""
        parts = self.parts()
        if parts.keys() == {"request"}:
            return f"${amount(parts['request'])}"
        return " + ".join(f"${amount(value)}/{UNITS[name]}" for name, value in parts.items())


def amount(value: float) -> str:
    """USD with cents, and further digits where there are any."""
    whole, _, digits = f"{value:.6f}".partition(".")
    return f"{whole}.{digits.rstrip('0'):0<2}"


def parse(parts: Mapping[str, str | Decimal]) -> dict[str, int]:
    """Micro-dollars of parts in USD, as an operator writes them; raises ValueError."""
    try:
        named = {name: micros(Decimal(value)) for name, value in parts.items()}
    except InvalidOperation:
        raise ValueError("a price is an amount in USD, such as 0.002.") from None
    return Price.from_json(named).as_json()


@dataclass(frozen=True, slots=True)
class Measures:
    """How much a request is of what prices count.

    `requests` is its `n`. Input tokens are those that were read anew; cached ones come beside
    them. `pixels` (of one picture or frame) and `steps` are of each of the `n`.
    """

    requests: int = 1
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    pixels: int = 0
    steps: int = 0
    video_seconds: Fraction = Fraction(0)
    characters: int = 0
    audio_seconds: Fraction = Fraction(0)


def cost(price: Price, of: Measures) -> int:
    """Micro-dollars, rounded up once."""
    cached = price.input_tokens if price.cached_input_tokens is None else price.cached_input_tokens
    each = price.request + price.steps * max(0, of.steps - price.base_steps)
    return of.requests * each + math.ceil(
        Fraction(
            price.input_tokens * of.input_tokens
            + cached * of.cached_input_tokens
            + price.output_tokens * of.output_tokens
            + price.megapixels * of.requests * max(0, of.pixels - price.base_pixels),
            1_000_000,
        )
        + price.video_seconds * of.video_seconds
        + Fraction(price.characters * of.characters, 1000)
        + price.audio_minutes * of.audio_seconds / 60
    )
