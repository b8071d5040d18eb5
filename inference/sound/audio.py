"""Encoding speech: mono 16-bit PCM into the formats that clients ask for, as it is spoken."""

import struct
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, Protocol, cast

import av
import numpy as np
import numpy.typing as npt

from inference.errors import InvalidRequest

BYTES_PER_SAMPLE = 2
# What clients of OpenAI take raw PCM to be.
PCM_RATE = 24_000
# The size in a WAV header that says "up to the end".
UNKNOWN_SIZE = 0xFFFFFFFF
WAV_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")


class Encoder(Protocol):
    """One file in the making. `sample_rate` in Hz is the file's, not always the voice's.

    What `feed` and `close` returned is, together, a file that can be played; `whole`
    makes of it the file that is kept.
    """

    sample_rate: int

    def feed(self, pcm: bytes) -> bytes: ...

    def close(self) -> bytes: ...

    def whole(self, streamed: bytes) -> bytes: ...


class Pcm:
    """Nothing but samples, at PCM_RATE."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = PCM_RATE
        self._from = sample_rate
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=PCM_RATE)

    def feed(self, pcm: bytes) -> bytes:
        if self._from == PCM_RATE:
            return pcm
        return self._bytes(self._resampler.resample(_frame(pcm, self._from)))

    def close(self) -> bytes:
        return b"" if self._from == PCM_RATE else self._bytes(self._resampler.resample(None))

    def whole(self, streamed: bytes) -> bytes:
        return streamed

    def _bytes(self, frames: list[av.AudioFrame]) -> bytes:
        return b"".join(frame.to_ndarray().astype("<i2").tobytes() for frame in frames)


class Wav:
    """RIFF. As it streams its sizes are unknown; the file that is kept has the real ones."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self._begun = False

    def feed(self, pcm: bytes) -> bytes:
        if self._begun:
            return pcm
        self._begun = True
        return self._header(UNKNOWN_SIZE, UNKNOWN_SIZE) + pcm

    def close(self) -> bytes:
        return b""

    def whole(self, streamed: bytes) -> bytes:
        size = len(streamed) - WAV_HEADER.size
        return self._header(size + WAV_HEADER.size - 8, size) + streamed[WAV_HEADER.size :]

    def _header(self, riff: int, data: int) -> bytes:
        rate, width = self.sample_rate, BYTES_PER_SAMPLE
        form = (b"fmt ", 16, 1, 1, rate, rate * width, width, 8 * width)
        return WAV_HEADER.pack(b"RIFF", riff, b"WAVE", *form, b"data", data)


class Compressed:
    """By FFmpeg, one encoder for the whole file; `rate` in Hz where a codec knows only some."""

    def __init__(
        self,
        sample_rate: int,
        *,
        container: str,
        codec: str,
        rate: int | None = None,
        options: dict[str, str] | None = None,
    ) -> None:
        self.sample_rate = rate or sample_rate
        self._from = sample_rate
        self._written = Written()
        self._output = av.open(self._written, "w", format=container, options=options or {})
        self._stream = cast(
            Any, self._output.add_stream(codec, rate=self.sample_rate, layout="mono")
        )

    def feed(self, pcm: bytes) -> bytes:
        self._output.mux(self._stream.encode(_frame(pcm, self._from)))
        return self._written.take()

    def close(self) -> bytes:
        self._output.mux(self._stream.encode(None))
        self._output.close()
        return self._written.take()

    def whole(self, streamed: bytes) -> bytes:
        return streamed


class Written:
    """What FFmpeg has written. It can't go back here, so what was taken stays true."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _frame(pcm: bytes, sample_rate: int) -> av.AudioFrame:
    samples = np.frombuffer(pcm, "<i2").reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
    frame.sample_rate = sample_rate
    frame.time_base = Fraction(1, sample_rate)
    return frame


class Start(Protocol):
    """Begins a file from the sample rate in Hz of the voice."""

    def __call__(self, sample_rate: int) -> Encoder: ...


@dataclass(frozen=True, slots=True)
class Format:
    media_type: str
    start: Start


FORMATS: dict[str, Format] = {
    "wav": Format("audio/wav", Wav),
    "mp3": Format("audio/mpeg", partial(Compressed, container="mp3", codec="libmp3lame")),
    "opus": Format(
        "audio/ogg",
        partial(
            Compressed,
            container="ogg",
            codec="libopus",
            rate=48_000,
            # Pages of a fifth of a second (in µs), as a page waits until it is full.
            options={"page_duration": "200000"},
        ),
    ),
    "flac": Format("audio/flac", partial(Compressed, container="flac", codec="flac")),
    "aac": Format("audio/aac", partial(Compressed, container="adts", codec="aac")),
    "pcm": Format("audio/pcm", Pcm),
}


def check(format: str) -> None:  # noqa: A002 - the API calls it so
    """Raise InvalidRequest if `format` is none of ours: before the work, not after it."""
    if format not in FORMATS:
        raise InvalidRequest(
            f"There is no audio format {format!r}. Choose one of {', '.join(FORMATS)}.",
            param="format",
        )


def encoder(format: str, sample_rate: int) -> Encoder:  # noqa: A002
    """The beginning of a file from a voice of `sample_rate` Hz; raises InvalidRequest."""
    check(format)
    return FORMATS[format].start(sample_rate)


def encode(pcm: bytes, sample_rate: int, format: str) -> bytes:  # noqa: A002
    """`pcm` (mono, 16-bit little-endian) as a file of `format`; raises InvalidRequest."""
    file = encoder(format, sample_rate)
    return file.whole(file.feed(pcm) + file.close())


def to_pcm(samples: npt.NDArray[np.float32]) -> bytes:
    """Float samples between -1 and 1 as 16-bit little-endian PCM."""
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def paced(pcm: bytes, sample_rate: int, speed: float) -> bytes:
    """The same speech at another pace (0.5 to 2.0 times), its pitch unchanged."""
    if speed == 1.0 or not pcm:
        return pcm
    graph = av.filter.Graph()
    source = graph.add_abuffer(
        sample_rate=sample_rate, format="s16", layout="mono", time_base=Fraction(1, sample_rate)
    )
    graph.link_nodes(
        source,
        graph.add("atempo", f"{speed:g}"),
        graph.add("aformat", "sample_fmts=s16:channel_layouts=mono"),
        graph.add("abuffersink"),
    ).configure()
    graph.push(_frame(pcm, sample_rate))
    graph.push(None)
    pieces: list[bytes] = []
    while True:
        try:
            frame = cast(av.AudioFrame, graph.pull())
        except (av.BlockingIOError, av.EOFError):
            return b"".join(pieces)
        pieces.append(frame.to_ndarray().astype("<i2").tobytes())
