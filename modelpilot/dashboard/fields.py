"""The fields of a model's form, made from its card: what may be asked, and how far.

A field's `name` is that of the request's body, so that an error finds its field.
"""

from dataclasses import dataclass, field
from math import isqrt, sqrt
from typing import Literal

from django.conf import settings

from inference.catalog import Card, Range
from inference.sound import voices
from inference.types import Kind

Type = Literal["number", "text", "line", "choice", "picture", "recording", "seed"]

MAX_TEXT = 10_000
MAX_SPOKEN = 5_000
MAX_SEED = 2**63 - 1
# A side that every pipeline can make is a multiple of this.
SIDE_STEP = 16
SHAPES = {"Square": (1, 1), "Landscape": (4, 3), "Portrait": (3, 4), "Wide": (16, 9)}

WORDS = {
    "temperature": ("Temperature", "Higher is more surprising, 0 always takes the likeliest word."),
    "top_p": ("Top P", "Only the likeliest words that have this share together."),
    "width": ("Width", ""),
    "height": ("Height", ""),
    "steps": ("Steps", "More take longer and show more detail."),
    "guidance": ("Guidance", "How closely the prompt is followed."),
    "num_frames": ("Frames", ""),
    "fps": ("Frames per second", ""),
    "speed": ("Speed", "1 is the voice's own pace."),
}
UNITS = {"width": " pixels", "height": " pixels", "max_tokens": " tokens"}
# What stays in sight; all else is folded away.
BASIC = {"width", "height", "voice", "speed", "n", "temperature", "max_tokens", "seed", "language"}


@dataclass(frozen=True, slots=True)
class Choice:
    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Group:
    """Choices under a heading; "" is none."""

    label: str
    choices: list[Choice]


@dataclass(frozen=True, slots=True)
class Field:
    """`default` is what the server takes where the field is left out: it is not sent then."""

    name: str
    label: str
    type: Type
    default: int | float | str | None = None
    min: int | float | None = None
    max: int | float | None = None
    step: int | float | Literal["any"] = "any"
    help: str = ""
    placeholder: str = ""
    groups: list[Group] = field(default_factory=list)

    @property
    def advanced(self) -> bool:
        return self.name not in BASIC

    @property
    def slides(self) -> bool:
        """Whether a slider says more than a number alone."""
        ranged = self.type == "number" and None not in (self.default, self.min, self.max)
        return ranged and self.name not in ("width", "height")

    @property
    def wide(self) -> bool:
        return self.slides or self.type in ("seed", "choice")

    @property
    def about(self) -> str:
        """How far it goes, and what it does."""
        bounds = ""
        if self.type == "number" and self.min is not None and self.max is not None:
            bounds = f"{self.min} to {self.max}{UNITS.get(self.name, '')}."
        return f"{bounds} {self.help}".strip()


@dataclass(frozen=True, slots=True)
class Shape:
    """A size to choose, in pixels."""

    label: str
    width: int
    height: int


def main_field(card: Card) -> Field:
    """What the model works from."""
    match card.kind:
        case Kind.TEXT:
            return Field("messages", "Message", "text", placeholder="Ask something")
        case Kind.AUDIO:
            return Field("input", "Text to speak", "text", max=MAX_SPOKEN)
        case Kind.EMBEDDING:
            return Field(
                "input",
                "Texts, one a line",
                "text",
                placeholder="The first is compared with all others",
            )
        case Kind.TRANSCRIPTION:
            return Field("file", "Recording", "recording")
        case _:
            return Field(
                "prompt", "Prompt", "text", max=MAX_TEXT, placeholder="What shall it show?"
            )


def fields_of(card: Card) -> list[Field]:
    """Everything else that a form of this card asks, in its order."""
    ranged = [
        of_range(name, bounds) for name, bounds in card.parameters.items() if has_room(bounds)
    ]
    match card.kind:
        case Kind.TEXT:
            return [*ranged, *text_fields(card)]
        case Kind.AUDIO:
            return [voice_field(card), *ranged]
        case Kind.IMAGE:
            return [*picture_fields(card), *ranged, COUNT, SEED, FORMAT]
        case Kind.EMBEDDING:
            return []
        case Kind.TRANSCRIPTION:
            return recording_fields(card)
        case _:
            return [*picture_fields(card), *ranged, SEED]


def has_room(bounds: Range) -> bool:
    return bounds.min < bounds.max


def of_range(name: str, bounds: Range) -> Field:
    label, text = WORDS.get(name, (name.replace("_", " ").capitalize(), ""))
    return Field(
        name, label, "number", bounds.default, bounds.min, bounds.max, step_of(name, bounds), text
    )


def step_of(name: str, bounds: Range) -> int | float:
    if name in ("width", "height"):
        return SIDE_STEP
    whole = isinstance(bounds.default, int) and isinstance(bounds.max, int)
    return 1 if whole else 0.05 if bounds.max <= 2 else 0.5


SEED = Field(
    "seed", "Seed", "seed", min=0, max=MAX_SEED, step=1, help="The same seed makes the same again."
)
COUNT = Field("n", "Pictures", "number", default=1, min=1, max=4, step=1)
FORMAT = Field(
    "output_format",
    "File format",
    "choice",
    default="png",
    groups=[Group("", [Choice("png", "PNG"), Choice("jpeg", "JPEG"), Choice("webp", "WebP")])],
)

EFFORTS = [
    Choice("", "As the model does"),
    *(Choice(effort, effort.capitalize()) for effort in ("none", "low", "medium", "high")),
]


def text_fields(card: Card) -> list[Field]:
    penalty = "Above 0 avoids words that were said"
    return [
        Field(
            "max_tokens",
            "Longest answer",
            "number",
            min=1,
            max=card.context,
            step=1,
            placeholder=f"up to {card.context}",
        ),
        SEED,
        Field(
            "reasoning_effort",
            "Thinking",
            "choice",
            default="",
            groups=[Group("", EFFORTS)],
            help="For models that think before they answer.",
        ),
        Field("stop", "Stop at", "line", help="The answer ends before this text."),
        Field("presence_penalty", "Presence penalty", "number", 0, -2, 2, 0.1, f"{penalty}."),
        Field(
            "frequency_penalty", "Frequency penalty", "number", 0, -2, 2, 0.1, f"{penalty} often."
        ),
        Field(
            "response_format",
            "Answer as",
            "choice",
            default="text",
            groups=[Group("", [Choice("text", "Text"), Choice("json_object", "JSON")])],
        ),
    ]


def recording_fields(card: Card) -> list[Field]:
    """What helps a model to hear; one that knows a single language takes none of it."""
    if "language" in card.options:
        return []
    return [
        Field("language", "Language", "line", help="Two letters, such as en. Empty: it finds out."),
        Field("prompt", "Before it", "line", help="What was said before, or names to expect."),
        Field("temperature", "Temperature", "number", 0, 0, 1, 0.05, "0 takes the likeliest word."),
    ]


def picture_fields(card: Card) -> list[Field]:
    """What a picture or film may be made from besides its prompt."""
    found = []
    if takes_picture(card):
        found.append(
            Field("image", "Picture to begin with", "picture", help="PNG, JPEG or WebP; optional.")
        )
        if card.kind is Kind.IMAGE:
            text = "How much of the picture is drawn anew. Left out, the model's own."
            found.append(Field("strength", "Strength", "number", None, 0, 1, 0.05, text))
    if card.options.get("negative_prompt"):
        found.append(Field("negative_prompt", "What not to show", "text", max=MAX_TEXT))
    return found


def takes_picture(card: Card) -> bool:
    """Whether it may begin with one; a card of pictures that says nothing about it may."""
    modes = card.options.get("modes", ["image"] if card.kind is Kind.IMAGE else [])
    return "image" in modes


def voice_field(card: Card) -> Field:
    """The voices that are here by language, then those that another would stand in for."""
    here: dict[str, list[Choice]] = {}
    away: list[Choice] = []
    for voice in voices.listed(card, settings.MODELS, settings.CACHE):
        choice = Choice(voice.id, f"{voice.id}, {voice.gender}" if voice.gender else voice.id)
        if voice.installed:
            here.setdefault(voice.language or "", []).append(choice)
        else:
            away.append(choice)
    groups = [Group(language, choices) for language, choices in here.items()]
    if away:
        groups.append(Group("Not on this machine: another speaks", away))
    return Field("voice", "Voice", "choice", default=card.default_voice, groups=groups)


def shapes(card: Card) -> list[Shape]:
    """Sizes of about the default's area, in the usual shapes, within the card's bounds."""
    width, height = card.parameters.get("width"), card.parameters.get("height")
    if width is None or height is None:
        return []
    area = isqrt(int(width.default * height.default)) ** 2
    return [
        Shape(
            label,
            side(sqrt(area * across / down), width),
            side(sqrt(area * down / across), height),
        )
        for label, (across, down) in SHAPES.items()
    ]


def side(length: float, bounds: Range) -> int:
    rounded = round(length / SIDE_STEP) * SIDE_STEP
    return int(min(max(rounded, bounds.min), bounds.max))
