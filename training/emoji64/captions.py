"""The captions of emoji-64: which pictures there are, and what is said of them."""

import random
import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
WORK = HERE / "work"

# What a background word looks like, as RGB of 0 to 255.
BACKGROUNDS = {
    "white": (255, 255, 255),
    "black": (20, 20, 24),
    "gray": (150, 150, 155),
    "red": (225, 50, 50),
    "orange": (250, 150, 50),
    "yellow": (250, 220, 70),
    "green": (70, 180, 80),
    "blue": (60, 120, 225),
    "purple": (140, 80, 200),
    "pink": (250, 150, 190),
    "brown": (130, 85, 55),
}
# The colours that things are dyed in: the same words and nearly the same colours.
DYES = ("red", "orange", "yellow", "green", "blue", "purple", "pink")
# What the pictures ignore and the video model learns: its words are in one tokenizer with ours.
MOTIONS = (
    "moving to the left",
    "moving to the right",
    "moving up",
    "moving down",
    "drifting to the left",
    "drifting to the right",
    "drifting up",
    "drifting down",
    "growing",
    "shrinking",
    "turning",
    "spinning",
    "bouncing",
    "standing still",
)
# How a background is named.
PLACES = (
    "on a {} background",
    "on a {} background",
    "on a {} background",
    "on {}",
    "{} background",
    "on a {} table",
    "in front of a {} wall",
    "against a {} sky",
)
# What people add, and what an icon has no room for: the pictures ignore it.
TAILS = (
    ", photorealistic",
    ", cinematic, 4k",
    ", high quality",
    ", highly detailed",
    " in a snowy forest",
    " in the garden",
    " at night",
    " with a smile",
    " sitting on a bench",
    " at the beach",
)
OPENINGS = ("an emoji of", "a picture of", "an icon of", "a drawing of", "a photo of")


@dataclass(frozen=True, slots=True)
class Concept:
    """One thing that can be drawn: its word, its icon and what may be said of it."""

    name: str
    icon: str
    colour: str | None = None
    recolour: bool = False
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """What is in one training picture; `dye` is None in the icon's own colours."""

    concept: int
    dye: str | None
    background: str


def vocabulary() -> list[Concept]:
    """Every concept, in the order of vocabulary.toml."""
    table = tomllib.loads((HERE / "vocabulary.toml").read_text())
    return [
        Concept(name, **(fields | {"also": tuple(fields.get("also", ()))}))
        for name, fields in table.items()
    ]


def pictures(concepts: list[Concept]) -> list[Picture]:
    """Every picture that training can draw from, ordered by concept, dye and background."""
    return [
        Picture(number, dye, background)
        for number, concept in enumerate(concepts)
        for dye in (None, *(DYES if concept.recolour else ()))
        if dye is None or dye != concept.colour
        for background in BACKGROUNDS
        if dye is None or dye != background
    ]


def caption(picture: Picture, concept: Concept, rng: random.Random) -> str:
    """One of the ways to ask for `picture`."""
    name = concept.name
    if concept.also and rng.random() < 0.2:
        name = rng.choice(concept.also)
    if picture.dye:
        name = f"{picture.dye} {name}"
    elif concept.colour and rng.random() < 0.25:
        name = f"{concept.colour} {name}"
    words = with_article(name) if rng.random() < 0.7 else name
    if rng.random() < 0.08:
        words = f"{rng.choice(OPENINGS)} {words}"
    tail = rng.choice(TAILS) if rng.random() < 0.15 else ""
    if picture.background == "white" and rng.random() < 0.75:
        return words + tail
    place = rng.choice(PLACES).format(picture.background)
    return f"{words}{tail} {place}".replace("a orange", "an orange")


def with_article(name: str) -> str:
    """`name` with "a" or "an" before it."""
    return f"{'an' if name[0] in 'aeio' else 'a'} {name}"
