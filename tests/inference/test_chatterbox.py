"""The adapter of Chatterbox, on a stand-in for its library.

Its weights (1 GB and more) can't be made small, so this is the one engine whose library is
not the real one here: a class with the same methods, which says what it was asked.
"""

import base64
import io
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest

from inference import engines, weights
from inference.catalog import Card, Catalog
from inference.errors import Cancelled, EngineUnavailable, InvalidRequest, WeightsNotFound
from inference.sound import audio
from inference.types import Device, Engine, Event, Sound, SpeechRequest
from inference.weights import Weights


class ChatterboxTTS:
    """With the methods of chatterbox-light 1.0.2."""

    made: ClassVar[list["ChatterboxTTS"]] = []

    def __init__(self, folder: Path, device: str) -> None:
        self.folder, self.device = folder, device
        self.sr = 24_000
        self.conds: float | None = None
        self.said: list[tuple[str, float | None, dict[str, Any]]] = []
        self.made.append(self)

    @classmethod
    def from_local(cls, ckpt_dir: Path, device: str) -> "ChatterboxTTS":
        return cls(ckpt_dir, device)

    def prepare_conditionals(self, wav_fpath: str, exaggeration: float = 0.5) -> None:
        with wave.open(wav_fpath) as file:
            self.conds = file.getnframes() / file.getframerate()

    def generate(self, text: str, audio_prompt_path: str | None = None, **manner: Any) -> Any:
        assert self.conds is not None
        self.said.append((text, self.conds, manner))
        return np.full((1, 12_000), 0.25, np.float32)


def recording(seconds: float) -> bytes:
    return audio.encode(bytes(2 * int(16_000 * seconds)), 16_000, "wav")


def cloned(seconds: float) -> str:
    return base64.b64encode(recording(seconds)).decode()


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module = ModuleType("chatterbox.tts")
    module.ChatterboxTTS = ChatterboxTTS  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "chatterbox.tts", module)
    monkeypatch.setitem(sys.modules, "perth", None)
    monkeypatch.setitem(engines.NEEDS, "speech_chatterbox", {})
    ChatterboxTTS.made.clear()
    yield
    sys.modules.pop("inference.speech_chatterbox", None)


def start(card: Card, folder: Path) -> Engine:
    voice = folder / "chatterbox-voice.wav"
    voice.write_bytes(recording(10))
    (folder / "chatterbox").mkdir(exist_ok=True)
    found = Weights({"model": folder / "chatterbox", "voice": voice})
    return engines.load(card, found, Device("cuda", 1))


@pytest.fixture
def card(cards: Catalog) -> Card:
    return cards.cards["chatterbox"]


@pytest.fixture
def open_card(card: Card) -> Card:
    """As an operator may set it."""
    return card.model_copy(update={"options": {**card.options, "cloning": True}})


def silent(event: Event) -> None:
    pass


@pytest.mark.usefixtures("library")
def test_it_speaks_by_the_sentence(card: Card, tmp_path: Path) -> None:
    engine = start(card, tmp_path)
    events: list[Event] = []
    result = engine.generate(
        SpeechRequest("One is here. Two is there.", voice="nova"), events.append
    )
    (model,) = ChatterboxTTS.made
    manner = {"exaggeration": 0.5, "cfg_weight": 0.5, "temperature": 0.8}
    assert model.said == [("One is here.", 10, manner), ("Two is there.", 10, manner)]
    assert (model.folder, model.device) == (tmp_path / "chatterbox", "cuda:1")
    assert len([event for event in events if isinstance(event, Sound)]) == 2
    assert result.data == {"sample_rate": 24_000, "duration_s": 1.25}
    with wave.open(io.BytesIO(result.files[0].content)) as file:
        assert file.getnframes() == 30_000


@pytest.mark.usefixtures("library")
def test_speed_is_the_pace(card: Card, tmp_path: Path) -> None:
    engine = start(card, tmp_path)
    slow = engine.generate(SpeechRequest("One.", speed=0.5), silent).data["duration_s"]
    assert slow == pytest.approx(1.0, abs=0.05)


@pytest.mark.usefixtures("library")
def test_it_can_be_cancelled_between_sentences(card: Card, tmp_path: Path) -> None:
    engine = start(card, tmp_path)

    def emit(event: Event) -> None:
        if isinstance(event, Sound):
            raise Cancelled

    with pytest.raises(Cancelled):
        engine.generate(SpeechRequest("One is here. Two is there."), emit)
    assert len(ChatterboxTTS.made[0].said) == 1


@pytest.mark.usefixtures("library")
def test_it_clones_nobody_unless_the_card_says_so(card: Card, tmp_path: Path) -> None:
    engine = start(card, tmp_path)
    with pytest.raises(InvalidRequest, match="clones no voices") as refusal:
        engine.generate(SpeechRequest("One.", audio_prompt=cloned(3)), silent)
    assert refusal.value.param == "audio_prompt"
    assert ChatterboxTTS.made[0].said == []


@pytest.mark.usefixtures("library")
def test_a_cloned_voice_is_forgotten(open_card: Card, tmp_path: Path) -> None:
    engine = start(open_card, tmp_path)
    result = engine.generate(SpeechRequest("One.", audio_prompt=cloned(3)), silent)
    engine.generate(SpeechRequest("Two."), silent)
    assert [seconds for _, seconds, _ in ChatterboxTTS.made[0].said] == [3, 10]
    assert result.warnings == ["This voice is cloned, and its sound carries no watermark."]


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("prompt", ["?", "aGVsbG8=", cloned(0.5), cloned(61)])
def test_a_bad_recording_is_refused(open_card: Card, tmp_path: Path, prompt: str) -> None:
    engine = start(open_card, tmp_path)
    with pytest.raises(InvalidRequest) as refusal:
        engine.generate(SpeechRequest("One.", audio_prompt=prompt), silent)
    assert refusal.value.param == "audio_prompt"
    assert ChatterboxTTS.made[0].conds == 10


@pytest.mark.usefixtures("library")
def test_it_is_watermarked_where_that_is_installed(
    open_card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PerthImplicitWatermarker:
        def apply_watermark(self, wav: Any, sample_rate: int) -> Any:
            return wav * 2

    perth = ModuleType("perth")
    perth.PerthImplicitWatermarker = PerthImplicitWatermarker  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "perth", perth)
    result = start(open_card, tmp_path).generate(
        SpeechRequest("One.", audio_prompt=cloned(3)), silent
    )
    assert result.warnings == []
    samples = np.frombuffer(result.files[0].content[44:], "<i2")
    assert samples.max() == 16_383


def test_it_says_what_it_needs(card: Card, tmp_path: Path) -> None:
    assert engines.installed(card) == (
        "The engine speech_chatterbox needs a package: pip install chatterbox-light."
    )
    with pytest.raises(WeightsNotFound, match=r"chatterbox-voice\.wav"):
        weights.find(card, tmp_path, tmp_path)


def test_a_torchaudio_of_another_build_is_told(
    card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
            if name == "chatterbox":
                raise OSError("libc10_cuda.so: cannot open shared object file")

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    monkeypatch.setitem(engines.NEEDS, "speech_chatterbox", {})
    with pytest.raises(EngineUnavailable, match=r"libc10_cuda.*download\.pytorch\.org"):
        start(card, tmp_path)
