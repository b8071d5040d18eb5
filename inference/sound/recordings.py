"""Recordings that come with a request: any format that people have, as plain samples."""

import io
from typing import Any, cast

import av
import av.error
import numpy as np
import numpy.typing as npt

from inference.errors import InvalidRequest

# What speech recognisers listen to, in Hz.
RATE = 16_000
# What FFmpeg may open. Not its playlists, above all: these name other files and addresses.
CONTAINERS = "wav,w64,mp3,flac,ogg,mov,matroska,webm,aac,aiff,amr,caf,mpeg,mpegts"

Samples = npt.NDArray[np.int16]


def decode(content: bytes, max_seconds: float) -> Samples:
    """The first sound track of a file: mono, 16 bits, at RATE.

    Raises InvalidRequest naming `file` if there is none, or if it is longer than `max_seconds`:
    no more than that is ever decoded.
    """
    try:
        with av.open(
            io.BytesIO(content), options={"format_whitelist": CONTAINERS, "protocol_whitelist": ""}
        ) as container:
            samples = _decoded(cast(Any, container), max_seconds)
    except (av.error.FFmpegError, ValueError, OverflowError):
        raise _unreadable() from None
    if not samples.size:
        raise _unreadable()
    return samples


def _decoded(container: Any, max_seconds: float) -> Samples:
    if not container.streams.audio:
        raise _unreadable()
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    most = int(max_seconds * RATE)
    pieces: list[Samples] = []
    count = 0
    for packet in container.demux(container.streams.audio[0]):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            # A broken part of a file is left out, as players do.
            continue
        for frame in frames:
            for part in resampler.resample(frame):
                pieces.append(_flat(part))
                count += pieces[-1].size
        if count > most:
            raise InvalidRequest(
                f"'file' is longer than {max_seconds:g} seconds, the longest that this model "
                "takes. Split it.",
                param="file",
            )
    pieces += [_flat(part) for part in resampler.resample(None)]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)


def _flat(frame: av.AudioFrame) -> Samples:
    return cast(Samples, frame.to_ndarray().reshape(-1))


def _unreadable() -> InvalidRequest:
    return InvalidRequest(
        "'file' is no recording that can be read. Send wav, mp3, flac, ogg, m4a, mp4 or webm.",
        param="file",
    )
