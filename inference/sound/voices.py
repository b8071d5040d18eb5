"""Voices by their names: which a request means, what is known of each, which are here.

The web process imports this, so it opens no engine and no table of numbers.
"""

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from inference import weights
from inference.catalog import Card
from inference.errors import InferenceError, InvalidRequest

# `af_heart`, or a part of a mix with its share: `af_heart(2)`.
PART = re.compile(r"(?P<name>[^()]*?)\s*(?:\(\s*(?P<share>\d{1,3}(?:\.\d{1,3})?)\s*\))?")


@dataclass(frozen=True, slots=True)
class Voice:
    """One voice of a card; `language` is what it reads, `installed` whether it is here."""

    id: str
    language: str | None
    gender: str | None
    installed: bool
    aliases: list[str]


def check(
    card: Card, voice: str | None, speed: float, audio_prompt: str | None = None
) -> dict[str, float]:
    """The card's voices that `voice` means, and their shares, which add up to 1.

    `voice` is a name, an alias, None for the card's default, or a mix of several:
    `a+b`, `a(2)+b(1)`. Cloning (`audio_prompt`) is for cards that allow it. Raises
    InvalidRequest, naming what is wrong.
    """
    if audio_prompt is not None and card.options.get("cloning") is not True:
        raise InvalidRequest(
            f"{card.id} clones no voices on this server. Leave 'audio_prompt' out.",
            param="audio_prompt",
        )
    pace = card.parameters["speed"]
    if not pace.min <= speed <= pace.max:
        raise InvalidRequest(f"speed must be {pace.min} to {pace.max}.", param="speed")
    parts = [_part(card, text) for text in (voice or card.default_voice or "").split("+")]
    if len(parts) > 1 and not card.options.get("mixing"):
        raise InvalidRequest(f"{card.id} can't mix voices. Name one.", param="voice")
    whole = sum(share for _, share in parts)
    if not whole:
        raise InvalidRequest("A mix needs a share above 0.", param="voice")
    shares: dict[str, float] = {}
    for name, share in parts:
        shares[name] = shares.get(name, 0.0) + share / whole
    return {name: share for name, share in shares.items() if share}


def _part(card: Card, text: str) -> tuple[str, float]:
    match = PART.fullmatch(text.strip())
    name = match["name"] if match else text.strip()
    name = card.voice_aliases.get(name, name)
    if name not in card.voices:
        known = ", ".join([*card.voices, *card.voice_aliases])
        raise InvalidRequest(
            f"{card.id} has no voice {name!r}. Choose one of {known}.", param="voice"
        )
    return name, float(match["share"] or 1) if match else 1.0


def listed(card: Card, models: Path, cache: Path) -> list[Voice]:
    """Every voice of a card. `options.languages` and `.genders` are by name or by letter."""
    here = installed(card, models, cache)
    languages, genders = card.options.get("languages", {}), card.options.get("genders", {})
    return [
        Voice(
            id=name,
            language=languages.get(name) or languages.get(name[0]),
            gender=genders.get(name) or genders.get(name[1:2]),
            installed=name in here,
            aliases=[alias for alias, meant in card.voice_aliases.items() if meant == name],
        )
        for name in card.voices
    ]


def installed(card: Card, models: Path, cache: Path) -> set[str]:
    """The card's voices whose weights are on this machine."""
    try:
        found = weights.find(card, models, cache).paths
    except InferenceError:
        return set()
    if "voices" not in found:
        return set(card.voices)
    path = found["voices"]
    if path.is_dir():
        return {file.stem for file in path.glob("*.bin")}
    # An .npz is a zip archive of a file for each voice.
    with zipfile.ZipFile(path) as archive:
        return {Path(name).stem for name in archive.namelist()}
