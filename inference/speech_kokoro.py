"""Speech by Kokoro: 82M parameters and many voices, in ONNX, on the CPU."""

import tempfile
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import onnxruntime
from kokoro_onnx import Kokoro
from kokoro_onnx.config import SAMPLE_RATE
from numpy.lib.npyio import NpzFile

from inference.catalog import Card
from inference.errors import InferenceError, WeightsRefused
from inference.sound import audio, speech
from inference.types import Device, Emit, Engine, Result, SpeechRequest
from inference.weights import Weights

# A voice is a style vector for each length of a text in phonemes.
Voice = npt.NDArray[np.float32]
STYLE = 256


def load(card: Card, weights: Weights, device: Device) -> Engine:
    """Load the `model` (ONNX) and its `voices` (a folder of raw tables, or an .npz)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = device.threads
    # Threads that spin while they wait take the cores from everyone else.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        str(weights.path("model")), options, providers=["CPUExecutionProvider"]
    )
    return KokoroSpeech(card, _kokoro(session), _voices(weights.path("voices")))


class KokoroSpeech:
    """The loaded model with the voices that are on this machine."""

    def __init__(self, card: Card, kokoro: Kokoro, voices: dict[str, Voice]) -> None:
        self.slots = card.slots
        self._card = card
        self._kokoro: Kokoro | None = kokoro
        self._voices = voices

    def generate(self, request: SpeechRequest, emit: Emit) -> Result:
        """Speak; see `speech.check` and `speech.speak` for what it emits and raises."""
        if self._kokoro is None:
            raise InferenceError(f"{self._card.id} is closed.")
        kokoro = self._kokoro
        asked = speech.check(self._card, request)
        speakers, warnings = self._speakers(asked)
        voice = self._blend(speakers)
        languages = self._card.options.get("languages", {})
        language = languages.get(next(iter(asked))[0], "en-US").lower()

        def say(sentence: str) -> bytes:
            phonemes = kokoro.tokenizer.phonemize(sentence, language)
            if not kokoro.tokenizer.known(phonemes).strip(" .,!?;:—…\"'()“”"):
                # Nothing but marks: the model would make a noise of it.
                return b""
            samples, _ = kokoro.create(phonemes, voice, speed=request.speed, is_phonemes=True)
            return audio.to_pcm(samples)

        return speech.speak(request, say, SAMPLE_RATE, emit, warnings)

    def close(self) -> None:
        """Free the model's memory."""
        self._kokoro = None

    def _speakers(self, asked: dict[str, float]) -> tuple[dict[str, float], list[str]]:
        """Who speaks for the voices `asked`, with their shares, and a warning for each stand-in."""
        speakers: dict[str, float] = {}
        warnings = []
        for name, share in asked.items():
            speaker = self._speaker(name)
            speakers[speaker] = speakers.get(speaker, 0.0) + share
            if speaker != name:
                warnings.append(
                    f"The voice {name} is not on this machine; {speaker} speaks instead."
                )
        return speakers, warnings

    def _speaker(self, asked: str) -> str:
        """The voice `asked`, or the one that stands in for it on this machine."""
        stand_in = self._card.options.get("stand_ins", {}).get(asked[1:2])
        here = [name for name in (asked, stand_in) if name in self._voices]
        return here[0] if here else next(iter(self._voices))

    def _blend(self, speakers: dict[str, float]) -> Voice:
        """The weighted average of the tables: a voice between these voices."""
        rows = min(len(self._voices[name]) for name in speakers)
        tables = [share * self._voices[name][:rows] for name, share in speakers.items()]
        return cast(Voice, np.sum(tables, axis=0, dtype=np.float32))


def _kokoro(session: onnxruntime.InferenceSession) -> Kokoro:
    # The library wants a file of voices; it gets an empty one, as each call brings its own voice.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "voices.npz"
        np.savez(path)
        kokoro: Kokoro = Kokoro.from_session(session, str(path))
        cast(NpzFile, kokoro.voices).close()
    return kokoro


def _voices(path: Path) -> dict[str, Voice]:
    if path.is_dir():
        tables = {file.stem: np.fromfile(file, "<f4") for file in sorted(path.glob("*.bin"))}
    else:
        with np.load(path, allow_pickle=False) as archive:
            tables = {name: archive[name] for name in archive.files}
    if not tables or any(table.size == 0 or table.size % STYLE for table in tables.values()):
        raise WeightsRefused(f"{path} holds no voices of {STYLE} numbers a row.")
    return {name: table.astype(np.float32).reshape(-1, 1, STYLE) for name, table in tables.items()}
