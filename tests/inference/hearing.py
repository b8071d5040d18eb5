"""Listening to what a voice said, with a real speech recogniser."""

import io
import re
import wave

import numpy as np
from pocketsphinx import Decoder

HEARD_AT = 16_000


def heard(wav: bytes) -> list[str]:
    """The words that pocketsphinx hears in a WAV file."""
    decoder = Decoder(samprate=HEARD_AT)
    decoder.start_utt()
    decoder.process_raw(_resampled(wav), full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return re.sub(r"\(\d+\)", "", hypothesis.hypstr).split() if hypothesis else []


def word_error_rate(said: str, words: list[str]) -> float:
    """Insertions, deletions and substitutions, per word said."""
    right = re.findall(r"[a-z']+", said.lower())
    row = list(range(len(words) + 1))
    for i, expected in enumerate(right, start=1):
        before, row[0] = row[0], i
        for j, word in enumerate(words, start=1):
            cost = min(row[j] + 1, row[j - 1] + 1, before + (word != expected))
            before, row[j] = row[j], cost
    return row[-1] / len(right)


def _resampled(wav: bytes) -> bytes:
    with wave.open(io.BytesIO(wav)) as reader:
        rate = reader.getframerate()
        samples = np.frombuffer(reader.readframes(reader.getnframes()), "<i2")
    count = len(samples) * HEARD_AT // rate
    # Cutting the spectrum is an exact low-pass: nothing folds back into speech.
    spectrum = np.fft.rfft(samples)
    kept = np.zeros(count // 2 + 1, complex)
    kept[: min(len(kept), len(spectrum))] = spectrum[: len(kept)]
    sound = np.fft.irfft(kept, count) * count / len(samples)
    return bytes(np.clip(sound, -32768, 32767).astype("<i2").tobytes())
