"""Speech to text by PocketSphinx: small, on any CPU; English, in small letters, without marks."""

import math
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from pocketsphinx import Decoder, Endpointer

from inference.catalog import Card
from inference.errors import InferenceError, InvalidRequest
from inference.sound import recordings, transcripts
from inference.sound.recordings import RATE
from inference.sound.transcripts import Segment, Word
from inference.types import Delta, Device, Emit, Engine, Progress, Result, TranscriptionRequest
from inference.weights import Weights

BYTES_PER_SECOND = 2 * RATE
FRAMES_PER_SECOND = 100
# How sure it must be, 0 to 3, that a silence is one.
STRICTNESS = 1
# Seconds: a pause that ends a segment, and how long one may last.
PAUSE_S = 0.2
LONGEST_S = 8.0
# As little as a word's probability may be: of 0 there is no logarithm.
UNLIKELY = 1e-30
# The dictionary's other ways to say a word are `word(2)`; `<sil>` and `[NOISE]` are no words.
VARIANT = re.compile(r"\(\d+\)$")
NO_WORD = ("<", "[", "+")


def load(card: Card, weights: Weights, device: Device) -> Engine:
    """Load the folder `model`, laid out as the package has it: `en-us` and the files beside it.

    `options`: `model` is that name, `language` the one it knows, such as "en", and
    `language_name` that in English.
    """
    folder, name = weights.path("model"), card.options["model"]
    decoder = Decoder(
        hmm=str(folder / name),
        lm=str(folder / f"{name}.lm.bin"),
        dict=str(folder / f"cmudict-{name}.dict"),
        samprate=RATE,
        loglevel="FATAL",
    )
    return PocketSphinx(card, decoder)


@dataclass(frozen=True, slots=True)
class Speech:
    """Somebody speaks without a pause: 16-bit PCM that begins at `start` seconds."""

    start: float
    pcm: bytes


@dataclass(frozen=True, slots=True)
class Heard:
    """A word, and the natural logarithm of how likely it is."""

    word: Word
    logprob: float


class PocketSphinx:
    """The loaded model; it listens to one recording at a time."""

    def __init__(self, card: Card, decoder: Decoder) -> None:
        assert card.max_seconds is not None
        self.slots = card.slots
        self._card = card
        self._max_seconds = card.max_seconds
        self._decoder: Decoder | None = decoder
        self._listening = threading.Lock()

    def generate(self, request: TranscriptionRequest, emit: Emit) -> Result:
        """Write down what is said; emits a Delta for each piece of speech, and Progress.

        Raises InvalidRequest for a recording that can't be read and for what the model can't
        do, and whatever `emit` raises.
        """
        self._check(request)
        # Before anything is told: a stream that has begun could not be refused any more.
        samples = recordings.decode(request.audio, self._max_seconds)
        emit(Progress(0.0))
        pcm = samples.astype("<i2").tobytes()
        with self._listening:
            segments = self._listen(pcm, request, emit)
        return transcripts.result(segments, samples, self._card.options["language_name"], 0.0)

    def close(self) -> None:
        """Free the model's memory."""
        self._decoder = None

    def _check(self, request: TranscriptionRequest) -> None:
        known = self._card.options["language"]
        if request.language not in (None, known):
            raise InvalidRequest(
                f"{self._card.id} knows no 'language' but {known!r}.", param="language"
            )
        if request.prompt:
            raise InvalidRequest(
                f"{self._card.id} can't use a 'prompt'. Leave it out.", param="prompt"
            )
        if request.temperature:
            raise InvalidRequest(
                f"{self._card.id} has no 'temperature'. Leave it out.", param="temperature"
            )

    def _listen(self, pcm: bytes, request: TranscriptionRequest, emit: Emit) -> list[Segment]:
        decoder = self._decoder
        if decoder is None:
            raise InferenceError(f"{self._card.id} is closed.")
        # Else it would go on from the noise and the voice of the recording before.
        decoder.reinit_feat()
        segments: list[Segment] = []
        for speech in _spoken(pcm):
            for phrase in _phrases(_heard(decoder, speech, len(pcm), emit)):
                text = " ".join(heard.word.word for heard in phrase)
                segments.append(
                    Segment(
                        phrase[0].word.start,
                        phrase[-1].word.end,
                        f" {text}" if segments else text,
                        sum(heard.logprob for heard in phrase) / len(phrase),
                        seek_s=speech.start,
                        words=[heard.word for heard in phrase] if request.words else [],
                    )
                )
                emit(Delta(segments[-1].text, tokens=len(phrase)))
        return segments


def _heard(decoder: Decoder, speech: Speech, total: int, emit: Emit) -> list[Heard]:
    decoder.start_utt()
    try:
        for at in range(0, len(speech.pcm), BYTES_PER_SECOND):
            decoder.process_raw(speech.pcm[at : at + BYTES_PER_SECOND])
            emit(Progress(min(1.0, (speech.start * BYTES_PER_SECOND + at) / total)))
    finally:
        decoder.end_utt()
    words: list[Heard] = []
    for found in decoder.seg() or ():
        if found.word.startswith(NO_WORD):
            continue
        start = speech.start + found.start_frame / FRAMES_PER_SECOND
        end = speech.start + (found.end_frame + 1) / FRAMES_PER_SECOND
        word = Word(VARIANT.sub("", found.word), round(start, 2), round(end, 2))
        # It counts with logarithms in integers, so a certain word may have a little over 1.
        words.append(Heard(word, math.log(min(1.0, max(found.prob, UNLIKELY)))))
    return words


def _phrases(words: list[Heard]) -> Iterator[list[Heard]]:
    """The words between short pauses, and no more than can be read as one subtitle."""
    phrase: list[Heard] = []
    for heard in words:
        if phrase and (
            heard.word.start - phrase[-1].word.end >= PAUSE_S
            or heard.word.end - phrase[0].word.start > LONGEST_S
        ):
            yield phrase
            phrase = []
        phrase.append(heard)
    if phrase:
        yield phrase


def _spoken(pcm: bytes) -> Iterator[Speech]:
    """The pieces of speech between silences."""
    endpointer = Endpointer(vad_mode=STRICTNESS, sample_rate=RATE)
    size = endpointer.frame_bytes
    parts: list[bytes] = []
    if len(pcm) % size == 0:
        # It hears of the end by a frame that is shorter, and not empty.
        pcm += b"\0\0"
    for at in range(0, len(pcm), size):
        frame = pcm[at : at + size]
        part = endpointer.process(frame) if len(frame) == size else endpointer.end_stream(frame)
        if part is not None:
            parts.append(part)
        if parts and not endpointer.in_speech:
            yield Speech(endpointer.speech_start, b"".join(parts))
            parts = []
