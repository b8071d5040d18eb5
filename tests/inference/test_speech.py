"""Kokoro and Piper speak, and a speech recogniser listens."""

import io
import wave
from typing import Any

import pytest

from inference.catalog import Catalog
from inference.errors import Cancelled, InvalidRequest
from inference.types import Engine, Event, Progress, Sound, SpeechRequest
from tests.inference.conftest import Loader
from tests.inference.hearing import heard, word_error_rate

GARDEN = "The weather is very nice today and the children are playing in the garden."
TWO = "The sun is up. We go home."


@pytest.fixture(scope="module")
def kokoro(cards: Catalog, start: Loader) -> Engine:
    return start(cards.cards["kokoro"])


@pytest.fixture(scope="module")
def piper(cards: Catalog, start: Loader) -> Engine:
    return start(cards.cards["piper-joe"])


def silent(event: Event) -> None:
    pass


def seconds(engine: Engine, text: str, **fields: Any) -> float:
    result = engine.generate(SpeechRequest(text, **fields), silent)
    return float(result.data["duration_s"])


@pytest.mark.parametrize(("model", "bound"), [("piper", 0.3), ("kokoro", 0.3)])
def test_one_understands_it(
    model: str, bound: float, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    engine: Engine = request.getfixturevalue(model)
    result = engine.generate(SpeechRequest(GARDEN, voice="shimmer"), silent)
    words = heard(result.files[0].content)
    rate = word_error_rate(GARDEN, words)
    with capsys.disabled():
        print(f"\n{model}: word error rate {rate:.2f}, heard {' '.join(words)!r}")
    assert rate <= bound


def test_kokoro_says_who_stands_in(kokoro: Engine) -> None:
    woman = kokoro.generate(SpeechRequest("Hello."), silent)
    man = kokoro.generate(SpeechRequest("Hello.", voice="onyx"), silent)
    here = kokoro.generate(SpeechRequest("Hello.", voice="jf_alpha"), silent)
    assert woman.warnings == [
        "The voice af_heart is not on this machine; jf_gongitsune speaks instead."
    ]
    assert man.warnings == ["The voice am_onyx is not on this machine; jm_kumo speaks instead."]
    assert here.warnings == []
    assert len({r.files[0].content for r in (woman, man, here)}) == 3


@pytest.mark.parametrize("model", ["kokoro", "piper"])
def test_it_speaks_by_the_sentence(model: str, request: pytest.FixtureRequest) -> None:
    engine: Engine = request.getfixturevalue(model)
    events: list[Event] = []
    result = engine.generate(SpeechRequest(TWO), events.append)
    sounds = [event for event in events if isinstance(event, Sound)]
    assert [e.fraction for e in events if isinstance(e, Progress)] == [0.0, 0.5, 1.0]
    assert len(sounds) == 2
    with wave.open(io.BytesIO(result.files[0].content)) as file:
        assert (
            file.readframes(file.getnframes()) == b"".join(sound.content for sound in sounds)[44:]
        )
        assert file.getframerate() == result.data["sample_rate"] == sounds[0].sample_rate
        assert file.getnframes() / file.getframerate() == pytest.approx(
            result.data["duration_s"], abs=0.001
        )


@pytest.mark.parametrize("model", ["kokoro", "piper"])
def test_it_can_be_cancelled_between_sentences(model: str, request: pytest.FixtureRequest) -> None:
    engine: Engine = request.getfixturevalue(model)
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, Sound):
            raise Cancelled

    with pytest.raises(Cancelled):
        engine.generate(SpeechRequest(TWO * 20), emit)
    assert len(events) == 2


@pytest.mark.parametrize("model", ["kokoro", "piper"])
def test_speed_is_the_pace(model: str, request: pytest.FixtureRequest) -> None:
    engine: Engine = request.getfixturevalue(model)
    slow, fast = seconds(engine, GARDEN, speed=0.5), seconds(engine, GARDEN, speed=2.0)
    assert 2.5 < slow / fast < 5.5


@pytest.mark.parametrize("model", ["kokoro", "piper"])
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"voice": "nobody"}, "voice"),
        ({"text": " ?! "}, "text"),
        ({"format": "midi"}, "format"),
        ({"speed": 0.0}, "speed"),
    ],
)
def test_what_it_cannot_do_is_refused(
    model: str, fields: dict[str, Any], param: str, request: pytest.FixtureRequest
) -> None:
    engine: Engine = request.getfixturevalue(model)
    with pytest.raises(InvalidRequest) as refusal:
        engine.generate(SpeechRequest(**{"text": "Hello.", **fields}), silent)
    assert refusal.value.param == param


def test_a_mix_is_a_third_voice(kokoro: Engine) -> None:
    def said(voice: str) -> bytes:
        return kokoro.generate(SpeechRequest("Hello.", voice=voice), silent).files[0].content

    one, other = said("jf_alpha"), said("jm_kumo")
    mix, mostly_one = said("jf_alpha+jm_kumo"), said("jf_alpha(3)+jm_kumo(1)")
    assert len({one, other, mix, mostly_one}) == 4
    assert said("jm_kumo(1) + jf_alpha(1)") == mix
    assert said("jf_alpha(2)+jf_alpha") == one


def test_a_mix_says_who_stands_in(kokoro: Engine) -> None:
    mixed = kokoro.generate(SpeechRequest("Hello.", voice="af_heart+jf_alpha+onyx"), silent)
    assert mixed.warnings == [
        "The voice af_heart is not on this machine; jf_gongitsune speaks instead.",
        "The voice am_onyx is not on this machine; jm_kumo speaks instead.",
    ]
