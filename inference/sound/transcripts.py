"""What every engine that writes down speech does alike: what was said when, and the result."""

import math
import zlib
from dataclasses import asdict, dataclass, field
from typing import Any

from inference.sound.recordings import RATE, Samples
from inference.types import Result

# What OpenAI counts places in a recording in: spectra of 10 ms each.
SPECTRA_PER_SECOND = 100


@dataclass(frozen=True, slots=True)
class Word:
    """A word, and from when to when it was said, in seconds."""

    word: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of speech; times in seconds, `seek_s` where the model began to listen.

    `avg_logprob` is the mean natural logarithm of how likely its parts are. `text` begins with
    a space where one belongs between it and the text before.
    """

    start: float
    end: float
    text: str
    avg_logprob: float
    seek_s: float = 0.0
    tokens: list[int] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)


def result(segments: list[Segment], samples: Samples, language: str, temperature: float) -> Result:
    """The result of a transcription of `samples`."""
    seconds = samples.size / RATE
    return Result(
        {
            "text": "".join(segment.text for segment in segments),
            "language": language,
            "duration_s": round(seconds, 3),
            "segments": [
                _shown(number, segment, temperature) for number, segment in enumerate(segments)
            ],
            "words": [asdict(word) for segment in segments for word in segment.words],
            # Begun seconds count, as OpenAI has it.
            "usage": {"type": "duration", "seconds": math.ceil(seconds)},
        }
    )


def _shown(number: int, segment: Segment, temperature: float) -> dict[str, Any]:
    said = segment.text.encode()
    return {
        "id": number,
        "seek": round(segment.seek_s * SPECTRA_PER_SECOND),
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
        "tokens": segment.tokens,
        "temperature": temperature,
        "avg_logprob": round(segment.avg_logprob, 4),
        # Of text that repeats itself it is high.
        "compression_ratio": round(len(said) / len(zlib.compress(said)), 4),
        # What nobody said is no segment.
        "no_speech_prob": 0.0,
    }
