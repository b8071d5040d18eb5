"""What every speech engine does alike: speak by the sentence, and make the file meanwhile."""

from collections.abc import Callable

from inference.catalog import Card
from inference.errors import InferenceError, InvalidRequest
from inference.sound import audio, sentences, voices
from inference.types import Emit, File, Progress, Result, Sound, SpeechRequest

# Silence between two sentences, which the voices leave out.
PAUSE_S = 0.25


def check(card: Card, request: SpeechRequest) -> dict[str, float]:
    """The voices that the request means, with their shares of 1; raises InvalidRequest."""
    audio.check(request.format)
    return voices.check(card, request.voice, request.speed, request.audio_prompt)


def speak(
    request: SpeechRequest,
    say: Callable[[str], bytes],
    sample_rate: int,
    emit: Emit,
    warnings: list[str],
) -> Result:
    """Speak `request.text` with `say`, which turns a sentence into 16-bit mono PCM.

    Emits a Sound per sentence (what lacks of the file then is a few last bytes) and
    Progress. The kept file is what was emitted, byte for byte; only a WAV has its real
    sizes. Raises InvalidRequest if there is nothing to say, InferenceError if `say`
    fails, and whatever `emit` raises.
    """
    emit(Progress(0.0))
    pieces = sentences.split(request.text)
    encoder = audio.encoder(request.format, sample_rate)
    pause = bytes(audio.BYTES_PER_SAMPLE * int(sample_rate * PAUSE_S))
    contents: list[bytes] = []
    spoken = 0
    for number, sentence in enumerate(pieces, start=1):
        try:
            sound = say(sentence)
        except Exception as error:
            raise InferenceError(f"The voice could not say {sentence!r}: {error}") from error
        if sound:
            sound = pause + sound if spoken else sound
            spoken += len(sound)
            contents.append(encoder.feed(sound))
            emit(Sound(contents[-1], encoder.sample_rate, warnings, len(sentence)))
        emit(Progress(number / len(pieces)))
    if not spoken:
        raise InvalidRequest("There is nothing in this text to speak.", param="text")
    contents.append(encoder.close())
    file = File(
        f"speech.{request.format}",
        audio.FORMATS[request.format].media_type,
        encoder.whole(b"".join(contents)),
    )
    seconds = spoken / audio.BYTES_PER_SAMPLE / sample_rate
    data = {"sample_rate": encoder.sample_rate, "duration_s": round(seconds, 3)}
    return Result(data, [file], warnings)
