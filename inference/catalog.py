"""The catalog: one card per model, read from TOML. The web process imports this, so no engine."""

import tomllib
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from inference.errors import CatalogError
from inference.types import Kind

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

BUILT_IN = Path(__file__).with_name("catalog.toml")
# No machine has more GPUs, and a model's heads are not divided further.
MOST_DEVICES = 16
# What a price may have parts for, beside the request itself; billing/pricing.py reckons with them.
PARTS = {
    "text": ("input_tokens", "cached_input_tokens", "output_tokens"),
    "embedding": ("input_tokens",),
    "image": ("megapixels", "steps"),
    "audio": ("characters",),
    "transcription": ("audio_minutes",),
    "video": ("megapixels", "steps", "video_seconds"),
}
# What every request for a picture or film says, so a card must have bounds for it.
DRAWN = {
    Kind.IMAGE: ("width", "height", "steps"),
    Kind.VIDEO: ("width", "height", "steps", "num_frames", "fps"),
}


def _written_as_text(value: object) -> object:
    # A TOML float is binary: 0.1 would already be wrong before it became a Decimal.
    if isinstance(value, float):
        raise ValueError(f'write the amount in quotes: "{value}"')
    return value


def _in_parts(price: object) -> object:
    return price if isinstance(price, dict) else {"request": price}


# USD, down to a millionth.
Amount = Annotated[Decimal, BeforeValidator(_written_as_text), Field(ge=0, decimal_places=6)]


class Source(BaseModel):
    """Where one file (or folder) of a model's weights is looked for, in order.

    `include` are patterns of the files that a download from the hub brings, `*` also
    standing for `/`; without any it brings all that can be weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: list[str] = Field(min_length=1)
    include: list[str] = []
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    optional: bool = False

    @model_validator(mode="after")
    def _parts_have_a_checksum(self) -> "Source":
        if self.sha256 is None and any(" + " in source for source in self.sources):
            raise ValueError("a file joined from parts needs its sha256")
        return self


class Footprint(BaseModel):
    """What a diffusion model needs of a GPU, in GB: weights in bfloat16, and room to work.

    `core_gb` is the transformer or U-Net, `encoder_gb` all text encoders together,
    `vae_gb` the autoencoder, `activation_gb` what one generation adds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    core_gb: float = Field(gt=0)
    encoder_gb: float = Field(ge=0)
    vae_gb: float = Field(ge=0)
    activation_gb: float = Field(gt=0)


class Variant(BaseModel):
    """Another way to run a card's model; what it doesn't say is as the card says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    device: Literal["cpu", "cuda"]
    devices: int = Field(default=1, ge=1, le=MOST_DEVICES)
    memory_mb: int = Field(gt=0)
    files: dict[str, Source] = {}
    footprint: Footprint | None = None
    slots: int = Field(default=1, ge=1)
    load_seconds: float = Field(default=10, ge=0)
    run_seconds: float = Field(default=10, ge=0)
    options: dict[str, Any] = {}


class Range(BaseModel):
    """What a request may ask of one parameter, and what it gets if it asks nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min: int | float
    max: int | float
    default: int | float

    @model_validator(mode="after")
    def _in_order(self) -> "Range":
        if not self.min <= self.default <= self.max:
            raise ValueError("min, default and max must be in that order")
        return self


class Card(BaseModel):
    """One model: what it is, what it costs, what it needs and what it can do.

    `memory_mb` in MB, of each of its `devices`, `context` in tokens (of an embedding model: of one
    input), `max_seconds` the longest recording that it writes down, `deadline_s`, `load_seconds`,
    `run_seconds` and `idle_seconds` in seconds, `price` in USD by its parts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$")
    kind: Kind
    engine: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    name: str
    description: str = ""
    licence: str
    files: dict[str, Source] = {}
    device: Literal["cpu", "cuda"] = "cpu"
    devices: int = Field(default=1, ge=1, le=MOST_DEVICES)
    memory_mb: int = Field(gt=0)
    footprint: Footprint | None = None
    price: Annotated[dict[str, Amount], BeforeValidator(_in_parts), Field(min_length=1)]
    slots: int = Field(default=1, ge=1)
    context: int | None = Field(default=None, ge=1)
    max_seconds: int | None = Field(default=None, ge=1)
    deadline_s: int = Field(default=600, ge=1)
    load_seconds: float = Field(default=10, ge=0)
    run_seconds: float = Field(default=10, ge=0)
    idle_seconds: int | None = Field(default=None, ge=0)
    parameters: dict[str, Range] = {}
    default_voice: str | None = None
    voices: list[str] = []
    voice_aliases: dict[str, str] = {}
    options: dict[str, Any] = {}
    variants: list[Variant] = []

    @property
    def ways(self) -> "list[Card]":
        """Each way to run this model, as a card without variants; its own way comes first."""
        own = self.model_copy(update={"variants": []})
        return [own, *(own.model_copy(update=_said(variant)) for variant in self.variants)]

    def way(self, engine: str, device: str, devices: int = 1) -> "Card":
        """The way with this engine on so many devices of this kind, else its own way."""
        wanted = (engine, device, devices)
        same = [way for way in self.ways if way.placing == wanted]
        return (same or self.ways)[0]

    @property
    def placing(self) -> tuple[str, str, int]:
        """What tells one way from another: the engine, and the kind and number of its devices."""
        return self.engine, self.device, self.devices

    @property
    def short_name(self) -> str:
        """The id without its tag: `gemma3` of `gemma3:4b`."""
        return self.id.partition(":")[0]

    @model_validator(mode="after")
    def _price_has_parts_of_its_kind(self) -> "Card":
        possible = ("request", *PARTS[self.kind])
        for part in self.price:
            if part not in possible:
                raise ValueError(
                    f"price.{part} is no part of this kind's price; there are {', '.join(possible)}"
                )
        return self

    @model_validator(mode="after")
    def _drawing_has_its_ranges(self) -> "Card":
        missing = [name for name in DRAWN.get(self.kind, ()) if name not in self.parameters]
        if missing:
            raise ValueError(f"a model of this kind needs parameters.{missing[0]}")
        return self

    @model_validator(mode="after")
    def _ways_differ(self) -> "Card":
        placings = [way.placing for way in self.ways]
        if len(set(placings)) < len(placings):
            raise ValueError("two of its variants have the same engine and devices")
        return self

    @model_validator(mode="after")
    def _only_gpus_are_joined(self) -> "Card":
        if any(way.devices > 1 and way.device != "cuda" for way in self.ways):
            raise ValueError('devices: several are for device = "cuda"; a machine has one CPU')
        return self

    @model_validator(mode="after")
    def _reading_has_its_bound(self) -> "Card":
        if self.kind in (Kind.TEXT, Kind.EMBEDDING) and self.context is None:
            article = "a" if self.kind is Kind.TEXT else "an"
            raise ValueError(f"{article} {self.kind} model needs its context, in tokens")
        if self.kind is Kind.TRANSCRIPTION and self.max_seconds is None:
            raise ValueError("a transcription model needs max_seconds, of a recording")
        return self


def _said(variant: Variant) -> dict[str, Any]:
    """The fields that a variant names."""
    return {name: getattr(variant, name) for name in variant.model_fields_set}


@dataclass(frozen=True, slots=True)
class Catalog:
    """All cards by id, in the order of the files."""

    cards: dict[str, Card]

    def find(self, name: str) -> Card | None:
        """The card called `name`: its exact id, else the only one with that short name."""
        if name in self.cards:
            return self.cards[name]
        matches = [card for card in self.cards.values() if card.short_name == name]
        return matches[0] if len(matches) == 1 else None


def load(paths: list[Path]) -> Catalog:
    """The built-in cards and those of `paths`; a later card replaces an earlier one of its id.

    Raises CatalogError, naming the file, the card and the field.
    """
    cards: dict[str, Card] = {}
    for path in [BUILT_IN, *paths]:
        for name, fields in _tables(path).items():
            cards[name] = _card(path, name, fields)
    return Catalog(cards)


def _tables(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CatalogError(f"{path}: {error}") from error


def _card(path: Path, name: str, fields: object) -> Card:
    if not isinstance(fields, dict):
        raise CatalogError(f"{path}: {name} stands outside a card: start one with [{name}]")
    try:
        return Card(**{"id": name, **fields})
    except ValidationError as error:
        mistakes = "; ".join(_mistake(details) for details in error.errors())
        raise CatalogError(f"{path}, card {name}: {mistakes}") from error


def _mistake(details: "ErrorDetails") -> str:
    field = ".".join(str(part) for part in details["loc"]) or "the card as a whole"
    return f"{field}: {details['msg'].removeprefix('Value error, ')}"
