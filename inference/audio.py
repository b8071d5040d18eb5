"""Encoding speech: mono 16-bit PCM into the formats that clients ask for."""

import io
import wave
from fractions import Fraction
from functools import partial
from typing import Any, Protocol, cast

import av
import numpy as np
import numpy.typing as npt

from inference.errors import InvalidRequest
from inference.types import File, Result

BYTES_PER_SAMPLE = 2


class Encoder(Protocol):
    """From PCM and its sample rate in Hz to a finished file."""

    def __call__(self, pcm: bytes, sample_rate: int) -> bytes: ...


def check(format: str) -> None:  # noqa: A002 - the API calls it so
    """Raise InvalidRequest if `format` is none of ours: before the work, not after it."""
    if format not in FORMATS:
        raise InvalidRequest(
            f"There is no audio format {format!r}. Choose one of {', '.join(FORMATS)}.",
            param="format",
        )


def encode(pcm: bytes, sample_rate: int, format: str) -> bytes:  # noqa: A002
    """`pcm` (mono, 16-bit little-endian) as a file of `format`; raises InvalidRequest."""
    check(format)
    return FORMATS[format][1](pcm, sample_rate)


def result(pcm: bytes, sample_rate: int, format: str, warnings: list[str]) -> Result:  # noqa: A002
    """The finished speech: one file `speech.<format>`, its rate in Hz and length in seconds."""
    file = File(f"speech.{format}", FORMATS[format][0], encode(pcm, sample_rate, format))
    duration = len(pcm) / BYTES_PER_SAMPLE / sample_rate
    return Result({"sample_rate": sample_rate, "duration_s": round(duration, 3)}, [file], warnings)


def to_pcm(samples: npt.NDArray[np.float32]) -> bytes:
    """Float samples between -1 and 1 as 16-bit little-endian PCM."""
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def _wav(pcm: bytes, sample_rate: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(BYTES_PER_SAMPLE)
        writer.setframerate(sample_rate)
        writer.writeframes(pcm)
    return file.getvalue()


def _pcm(pcm: bytes, sample_rate: int) -> bytes:
    return pcm


def _compressed(
    pcm: bytes, sample_rate: int, *, container: str, codec: str, rate: int | None = None
) -> bytes:
    """By FFmpeg; `rate` in Hz where a codec knows only some."""
    file = io.BytesIO()
    samples = np.frombuffer(pcm, "<i2").reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
    frame.sample_rate = sample_rate
    frame.time_base = Fraction(1, sample_rate)
    with av.open(file, "w", format=container) as output:
        stream = cast(Any, output.add_stream(codec, rate=rate or sample_rate, layout="mono"))
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(packet)
    return file.getvalue()


FORMATS: dict[str, tuple[str, Encoder]] = {
    "wav": ("audio/wav", _wav),
    "mp3": ("audio/mpeg", partial(_compressed, container="mp3", codec="libmp3lame")),
    "opus": ("audio/ogg", partial(_compressed, container="ogg", codec="libopus", rate=48_000)),
    "flac": ("audio/flac", partial(_compressed, container="flac", codec="flac")),
    "aac": ("audio/aac", partial(_compressed, container="adts", codec="aac")),
    "pcm": ("audio/L16", _pcm),
}
