"""What every speech engine does alike: pick the voice, speak by the sentence, make the file."""

from collections.abc import Callable

from inference import audio, sentences
from inference.catalog import Card
from inference.errors import InferenceError, InvalidRequest
from inference.types import Emit, Progress, Result, Sound, SpeechRequest

# Silence between two sentences, which the voices leave out.
PAUSE_S = 0.25


def check(card: Card, request: SpeechRequest) -> str:
    """The card's voice that the request means; raises InvalidRequest for what cannot be done."""
    audio.check(request.format)
    speed = card.parameters["speed"]
    if not speed.min <= request.speed <= speed.max:
        raise InvalidRequest(f"speed must be {speed.min} to {speed.max}.", param="speed")
    name = request.voice or card.default_voice or ""
    name = card.voice_aliases.get(name, name)
    if name not in card.voices:
        known = ", ".join([*card.voices, *card.voice_aliases])
        raise InvalidRequest(
            f"{card.id} has no voice {name!r}. Choose one of {known}.", param="voice"
        )
    return name


def speak(
    request: SpeechRequest,
    say: Callable[[str], bytes],
    sample_rate: int,
    emit: Emit,
    warnings: list[str],
) -> Result:
    """Speak `request.text` with `say`, which turns a sentence into 16-bit mono PCM.

    Emits a Sound per sentence (together they are the file) and Progress. Raises
    InvalidRequest if there is nothing to say, InferenceError if `say` fails, and
    whatever `emit` raises.
    """
    emit(Progress(0.0))
    pieces = sentences.split(request.text)
    pause = bytes(audio.BYTES_PER_SAMPLE * int(sample_rate * PAUSE_S))
    spoken: list[bytes] = []
    for number, sentence in enumerate(pieces, start=1):
        try:
            sound = say(sentence)
        except Exception as error:
            raise InferenceError(f"The voice could not say {sentence!r}: {error}") from error
        if sound:
            spoken.append(pause + sound if spoken else sound)
            emit(Sound(spoken[-1], sample_rate))
        emit(Progress(number / len(pieces)))
    if not spoken:
        raise InvalidRequest("There is nothing in this text to speak.", param="text")
    return audio.result(b"".join(spoken), sample_rate, request.format, warnings)
