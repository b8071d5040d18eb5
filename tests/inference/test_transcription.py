"""Speech is written down: by PocketSphinx as it is, by Whisper with random weights."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from inference import engines
from inference.catalog import Catalog
from inference.errors import Cancelled, InvalidRequest
from inference.sound import audio, recordings
from inference.types import (
    Delta,
    Device,
    Engine,
    Event,
    Progress,
    Result,
    SpeechRequest,
    TranscriptionRequest,
)
from inference.weights import Weights
from tests.inference.conftest import Loader
from tests.inference.hearing import word_error_rate

FIRST = "The weather is very nice today."
SECOND = "The children are playing in the garden."
# As in tests/inference/test_speech.py: Piper draws its intonation at random.
WORST = 0.35


@pytest.fixture(scope="module")
def pocketsphinx(cards: Catalog, start: Loader) -> Engine:
    return start(cards.cards["pocketsphinx"])


@pytest.fixture(scope="module")
def spoken(cards: Catalog, start: Loader) -> bytes:
    """The two sentences by Piper, with a second of silence between them: 16 kHz PCM."""
    piper = start(cards.cards["piper-joe"])
    said = [
        recordings.decode(piper.generate(SpeechRequest(text), silent).files[0].content, 60)
        for text in (FIRST, SECOND)
    ]
    return bytes(np.concatenate([said[0], np.zeros(16_000, np.int16), said[1]]).tobytes())


@pytest.fixture(scope="module")
def whisper(cards: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from tests.inference import tiny_whisper

    folder = tiny_whisper.make(tmp_path_factory.mktemp("whisper"))
    card = cards.cards["whisper-large-v3-turbo"].model_copy(update={"max_seconds": 100})
    engine = engines.load(card, Weights({"model": folder}), Device(threads=1))
    yield engine
    engine.close()


def silent(event: Event) -> None:
    pass


@dataclasses.dataclass
class Heard:
    result: Result
    deltas: list[str]
    progress: list[float]


def heard(engine: Engine, pcm: bytes, form: str = "wav", **fields: Any) -> Heard:
    found = Heard(Result({}), [], [])

    def listen(event: Event) -> None:
        if isinstance(event, Delta):
            found.deltas.append(event.text)
        if isinstance(event, Progress):
            found.progress.append(event.fraction)

    request = TranscriptionRequest(audio.encode(pcm, recordings.RATE, form), **fields)
    found.result = engine.generate(request, listen)
    return found


def check_form(found: Heard, seconds: float) -> None:
    """What holds of every transcription."""
    data = found.result.data
    assert data["text"] == "".join(found.deltas)
    assert data["text"] == "".join(segment["text"] for segment in data["segments"])
    assert data["duration_s"] == pytest.approx(seconds, abs=0.1)
    assert data["usage"]["type"] == "duration"
    assert seconds <= data["usage"]["seconds"] < seconds + 1
    assert found.progress == sorted(found.progress)
    assert 0 <= found.progress[0] <= found.progress[-1] <= 1
    end = 0.0
    for number, segment in enumerate(data["segments"]):
        assert segment["id"] == number
        assert end <= segment["start"] <= segment["end"] <= seconds + 0.1
        assert segment["avg_logprob"] <= 0
        assert segment["compression_ratio"] > 0
        end = segment["start"]


def test_what_a_voice_said_is_understood(pocketsphinx: Engine, spoken: bytes) -> None:
    found = heard(pocketsphinx, spoken, "flac", words=True, language="en")
    check_form(found, len(spoken) / 32_000)
    data = found.result.data
    assert word_error_rate(f"{FIRST} {SECOND}", data["text"].split()) <= WORST
    assert data["language"] == "english"
    assert len(data["segments"]) >= 2
    assert [word["word"] for word in data["words"]] == data["text"].split()
    times = [time for word in data["words"] for time in (word["start"], word["end"])]
    assert times == sorted(times)
    # The silence between the two is where it was.
    pauses = np.diff(times)[1::2]
    assert pauses.max() > 0.8


def test_one_recording_leaves_nothing_for_the_next(pocketsphinx: Engine, spoken: bytes) -> None:
    first = heard(pocketsphinx, spoken).result.data
    backwards = np.frombuffer(spoken, "<i2")[::-1].tobytes()
    assert heard(pocketsphinx, backwards).result.data != first
    heard(pocketsphinx, noise(3))
    assert heard(pocketsphinx, spoken).result.data == first


def test_silence_is_an_empty_text(pocketsphinx: Engine) -> None:
    for samples in (1, 480, 16_000):
        data = heard(pocketsphinx, bytes(2 * samples)).result.data
        assert (data["text"], data["segments"], data["words"]) == ("", [], [])
        assert data["usage"]["seconds"] == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"language": "de"}, "language"),
        ({"prompt": "A letter."}, "prompt"),
        ({"temperature": 0.5}, "temperature"),
    ],
)
def test_what_pocketsphinx_lacks_is_refused(
    pocketsphinx: Engine, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        heard(pocketsphinx, bytes(32_000), **fields)
    assert refused.value.param == param


def test_it_stops_within_a_piece_of_speech(pocketsphinx: Engine, spoken: bytes) -> None:
    heard_of = 0

    def cancel(event: Event) -> None:
        nonlocal heard_of
        heard_of += 1
        if heard_of == 3:
            raise Cancelled

    request = TranscriptionRequest(audio.encode(spoken, recordings.RATE, "wav"))
    with pytest.raises(Cancelled):
        pocketsphinx.generate(request, cancel)
    # And the next one is not harmed by it.
    assert heard(pocketsphinx, spoken).result.data["text"]


# Whisper: what random weights hear is noise, but it has the form of the real one's.


def noise(seconds: float) -> bytes:
    samples = np.random.default_rng(5).normal(0, 3000, int(seconds * recordings.RATE))
    return samples.astype("<i2").tobytes()


def test_whisper_goes_on_after_thirty_seconds(whisper: Engine) -> None:
    found = heard(whisper, noise(75), language="de")
    check_form(found, 75)
    data = found.result.data
    assert data["language"] == "german"
    assert len({segment["seek"] for segment in data["segments"]}) >= 3
    assert data["segments"][-1]["end"] > 60
    assert all(segment["tokens"] for segment in data["segments"])
    assert "<|" not in data["text"]
    again = heard(whisper, noise(75), language="de").result.data
    assert again == data


def test_whisper_finds_the_language(whisper: Engine) -> None:
    found = heard(whisper, noise(3))
    check_form(found, 3)
    assert found.result.data["language"] in ("english", "german", "french")


def test_whisper_is_asked_what_the_request_asks(whisper: Engine) -> None:
    def segments(**fields: Any) -> str:
        return str(heard(whisper, noise(20), **fields).result.data["segments"])

    plain = segments(language="en")
    assert segments(language="en") == plain
    others = [
        segments(language="fr"),
        segments(language="en", prompt="A b c. " * 99),
        segments(language="en", temperature=1.0),
        segments(language="en", temperature=1.0),
    ]
    assert len({plain, *others}) == 5


def test_whisper_stops_at_the_next_token(whisper: Engine) -> None:
    heard_of = 0

    def cancel(event: Event) -> None:
        nonlocal heard_of
        heard_of += 1
        if heard_of == 5:
            raise Cancelled

    with pytest.raises(Cancelled):
        whisper.generate(TranscriptionRequest(audio.encode(noise(5), 16_000, "wav")), cancel)
    assert heard_of == 5


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"language": "xx"}, "language"), ({"words": True}, "timestamp_granularities")],
)
def test_what_whisper_lacks_is_refused(whisper: Engine, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        heard(whisper, noise(1), **fields)
    assert refused.value.param == param


def test_whisper_refuses_what_is_too_long(whisper: Engine) -> None:
    with pytest.raises(InvalidRequest, match="longer than 100 seconds"):
        heard(whisper, bytes(32_000 * 101), "flac")
