"""Speech by Chatterbox: expressive English, in PyTorch. Its packages are an optional extra."""

import base64
import importlib
import io
import tempfile
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.catalog import Card
from inference.errors import EngineUnavailable, InferenceError, InvalidRequest
from inference.sound import audio, speech
from inference.types import Device, Emit, Engine, Result, SpeechRequest
from inference.weights import Weights

# Seconds of a recording whose voice is to speak.
SHORTEST_S, LONGEST_S = 1, 60


def load(card: Card, weights: Weights, device: Device) -> Engine:
    """Load the folder `model` and learn the voice of the recording `voice`.

    Chatterbox's own voice comes as a pickle, which is never loaded here.
    """
    library = _library()
    where = "cpu" if device.kind == "cpu" else f"{device.kind}:{device.index}"
    model = library.from_local(weights.path("model"), where)
    return Chatterbox(card, model, str(weights.path("voice")))


def _library() -> Any:
    try:
        return importlib.import_module("chatterbox.tts").ChatterboxTTS
    except (ImportError, OSError) as error:
        raise EngineUnavailable(
            f"Chatterbox can't start: {error}. torch and torchaudio must be of one build; PyPI's "
            "torchaudio is for CUDA only, that for CPUs is at https://download.pytorch.org/whl/cpu."
        ) from error


class Chatterbox:
    """The loaded model. It answers one at a time, as a voice is a part of its state."""

    slots = 1

    def __init__(self, card: Card, model: Any, voice: str) -> None:
        self._card = card
        self._model: Any = model
        options = card.options
        self._manner = {
            name: float(options[name])
            for name in ("exaggeration", "cfg_weight", "temperature")
            if name in options
        }
        self._watermarker = _watermarker()
        self._learn(voice)

    def generate(self, request: SpeechRequest, emit: Emit) -> Result:
        """Speak; see `speech.check` and `speech.speak` for what it emits and raises."""
        if self._model is None:
            raise InferenceError(f"{self._card.id} is closed.")
        model = self._model
        speech.check(self._card, request)
        warnings = []
        if request.audio_prompt is not None and self._watermarker is None:
            warnings.append("This voice is cloned, and its sound carries no watermark.")

        def say(sentence: str) -> bytes:
            sound = model.generate(sentence, **self._manner)
            samples = self._marked(np.asarray(sound, np.float32).reshape(-1))
            # It has no pace of its own.
            return audio.paced(audio.to_pcm(samples), model.sr, request.speed)

        with self._voice_of(request):
            return speech.speak(request, say, model.sr, emit, warnings)

    def close(self) -> None:
        """Free the model's memory."""
        self._model = None

    @contextmanager
    def _voice_of(self, request: SpeechRequest) -> Iterator[None]:
        """Speak with the voice of the request's recording, and of nobody else's after it."""
        if request.audio_prompt is None:
            yield
            return
        recording = _recording(request.audio_prompt)
        own = self._model.conds
        try:
            with tempfile.NamedTemporaryFile(suffix=".wav") as file:
                file.write(recording)
                file.flush()
                self._learn(file.name)
            yield
        finally:
            self._model.conds = own

    def _learn(self, path: str) -> None:
        manner = {name: self._manner[name] for name in ("exaggeration",) if name in self._manner}
        try:
            self._model.prepare_conditionals(path, **manner)
        except Exception as error:
            raise InferenceError(f"Chatterbox could not learn this voice: {error}") from error

    def _marked(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self._watermarker is None:
            return samples
        marked = self._watermarker.apply_watermark(samples, sample_rate=self._model.sr)
        return np.asarray(marked, np.float32)


def _watermarker() -> Any:
    """resemble-perth's, where it is installed: chatterbox-light leaves it out."""
    try:
        return importlib.import_module("perth").PerthImplicitWatermarker()
    except (ImportError, OSError, TypeError):
        # TypeError: perth hides an import that failed behind a None.
        return None


def _recording(text: str) -> bytes:
    """The WAV file behind base64; raises InvalidRequest."""
    try:
        content = base64.b64decode(text, validate=True)
        with wave.open(io.BytesIO(content)) as file:
            seconds = file.getnframes() / file.getframerate()
            plain = file.getsampwidth() == audio.BYTES_PER_SAMPLE
    except (ValueError, EOFError, wave.Error, ZeroDivisionError) as error:
        raise InvalidRequest(
            f"audio_prompt is no WAV file in base64: {error}.", param="audio_prompt"
        ) from error
    if not plain or not SHORTEST_S <= seconds <= LONGEST_S:
        raise InvalidRequest(
            f"audio_prompt must be a 16-bit WAV of {SHORTEST_S} to {LONGEST_S} seconds.",
            param="audio_prompt",
        )
    return content
