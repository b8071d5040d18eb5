"""Speech by Piper: one ONNX voice on the CPU, far faster than real time."""

import json

import onnxruntime
from piper import PiperVoice, SynthesisConfig
from piper.config import PiperConfig

from inference.catalog import Card
from inference.errors import InferenceError
from inference.sound import speech
from inference.types import Device, Emit, Engine, Result, SpeechRequest
from inference.weights import Weights


def load(card: Card, weights: Weights, device: Device) -> Engine:
    """Load the voice `model` (ONNX) with its `config` (JSON)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = device.threads
    # Threads that spin while they wait take the cores from everyone else.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        str(weights.path("model")), options, providers=["CPUExecutionProvider"]
    )
    config = PiperConfig.from_dict(json.loads(weights.path("config").read_text(encoding="utf-8")))
    return Piper(card, PiperVoice(session=session, config=config))


class Piper:
    """One loaded Piper voice."""

    def __init__(self, card: Card, voice: PiperVoice) -> None:
        self.slots = card.slots
        self._card = card
        self._voice: PiperVoice | None = voice

    def generate(self, request: SpeechRequest, emit: Emit) -> Result:
        """Speak; see `speech.check` and `speech.speak` for what it emits and raises."""
        if self._voice is None:
            raise InferenceError(f"{self._card.id} is closed.")
        voice = self._voice
        speech.check(self._card, request)
        # Piper knows how long a sound lasts, which is the other way round.
        config = SynthesisConfig(length_scale=voice.config.length_scale / request.speed)

        def say(sentence: str) -> bytes:
            # Double brackets would be read as phonemes.
            chunks = voice.synthesize(sentence.replace("[[", "[ ["), config)
            return b"".join(chunk.audio_int16_bytes for chunk in chunks)

        return speech.speak(request, say, voice.config.sample_rate, emit, [])

    def close(self) -> None:
        """Free the model's memory."""
        self._voice = None
