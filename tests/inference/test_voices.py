"""Voices by name: mixes, aliases, and which are on this machine."""

from pathlib import Path

import numpy as np
import pytest

from inference.catalog import Catalog
from inference.errors import InvalidRequest
from inference.sound import voices


@pytest.mark.parametrize(
    ("asked", "shares"),
    [
        (None, {"af_heart": 1}),
        ("alloy", {"af_alloy": 1}),
        ("af_heart+af_bella", {"af_heart": 0.5, "af_bella": 0.5}),
        ("af_heart(3) + shimmer (1)", {"af_heart": 0.75, "af_bella": 0.25}),
        ("af_heart(0.5)+af_heart(1.5)", {"af_heart": 1}),
        ("af_heart(0)+am_onyx", {"am_onyx": 1}),
    ],
)
def test_what_a_voice_means(cards: Catalog, asked: str | None, shares: dict[str, float]) -> None:
    assert voices.check(cards.cards["kokoro"], asked, 1.0) == shares


@pytest.mark.parametrize(
    ("model", "asked", "says"),
    [
        ("kokoro", "nobody", "'nobody'"),
        ("kokoro", "af_heart+nobody(2)", "'nobody'"),
        ("kokoro", "af_heart+", "''"),
        ("kokoro", "af_heart(2", "'af_heart\\(2'"),
        ("kokoro", "af_heart(-1)+af_bella", "'af_heart\\(-1\\)'"),
        ("kokoro", "af_heart(0)", "above 0"),
        ("piper-joe", "joe+joe", "can't mix"),
    ],
)
def test_what_is_no_voice(cards: Catalog, model: str, asked: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as refusal:
        voices.check(cards.cards[model], asked, 1.0)
    assert refusal.value.param == "voice"


def test_the_pace_has_bounds(cards: Catalog) -> None:
    with pytest.raises(InvalidRequest, match=r"0\.5 to 2\.0") as refusal:
        voices.check(cards.cards["kokoro"], None, 4.0)
    assert refusal.value.param == "speed"


def test_the_voices_here_are_those_of_the_archive(cards: Catalog, tmp_path: Path) -> None:
    listed = voices.listed(cards.cards["kokoro"], tmp_path, tmp_path)
    assert len(listed) == 54
    by_name = {voice.id: voice for voice in listed}
    assert {name for name, voice in by_name.items() if voice.installed} == {
        "jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo",
    }  # fmt: skip
    fable = by_name["bm_fable"]
    assert (fable.language, fable.gender, fable.aliases) == ("en-GB", "male", ["fable"])


def test_the_voices_here_are_those_of_the_folder(cards: Catalog, tmp_path: Path) -> None:
    folder = tmp_path / "kokoro" / "voices"
    folder.mkdir(parents=True)
    np.zeros(256, "<f4").tofile(folder / "af_sky.bin")
    assert voices.installed(cards.cards["kokoro"], tmp_path, tmp_path) == {"af_sky"}


def test_a_voice_without_weights_is_not_here(cards: Catalog, tmp_path: Path) -> None:
    (joe,) = voices.listed(cards.cards["piper-joe"], tmp_path, tmp_path)
    assert joe.installed
    assert (joe.language, joe.gender) == ("en-US", "male")
    gone = cards.cards["chatterbox"]
    assert voices.installed(gone, tmp_path, tmp_path) == set()
