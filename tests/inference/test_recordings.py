"""Recordings in the formats that people have, and what only looks like one."""

import io
import wave
from pathlib import Path

import numpy as np
import pytest

from inference.errors import InvalidRequest
from inference.sound import audio, recordings

TONE = (np.sin(np.arange(2 * 22_050) * 0.1) * 20_000).astype("<i2").tobytes()


@pytest.mark.parametrize("form", ["wav", "mp3", "opus", "flac", "aac"])
def test_every_format_is_16_khz_mono(form: str) -> None:
    samples = recordings.decode(audio.encode(TONE, 22_050, form), 10)
    assert samples.dtype == np.int16
    assert 1.9 < samples.size / recordings.RATE < 2.2
    assert np.abs(samples[8000:24000]).max() > 15_000


def test_stereo_becomes_mono() -> None:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.writeframes(bytes(4 * 44_100))
    assert recordings.decode(stream.getvalue(), 10).shape == (16_000,)


def test_what_is_broken_in_the_middle_is_heard_as_far_as_it_goes() -> None:
    content = bytearray(audio.encode(TONE, 22_050, "mp3"))
    content[4000:4400] = bytes(400)
    assert recordings.decode(bytes(content), 10).size > recordings.RATE


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RIFF",
        b"This is a letter, and no recording.\n" * 100,
        audio.encode(b"", 16_000, "wav"),
        audio.encode(TONE, 22_050, "flac")[:20],
        b"\x89PNG\r\n\x1a\n" + bytes(100),
    ],
)
def test_what_is_no_recording_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidRequest, match="no recording") as refused:
        recordings.decode(content, 10)
    assert refused.value.param == "file"


def test_a_playlist_opens_nothing(tmp_path: Path) -> None:
    """FFmpeg's playlists name other files: a client must not read the machine's through them."""
    there = tmp_path / "secret.wav"
    there.write_bytes(audio.encode(TONE, 22_050, "wav"))
    for content in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{there}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{there}'\n",
        f"<?xml version='1.0'?><MPD><BaseURL>{there}</BaseURL></MPD>",
    ):
        with pytest.raises(InvalidRequest):
            recordings.decode(content.encode(), 10)


def test_a_longer_one_is_refused() -> None:
    for form in ("wav", "flac"):
        content = audio.encode(bytes(2 * 16_000 * 12), 16_000, form)
        assert recordings.decode(content, 12).size == 12 * recordings.RATE
        with pytest.raises(InvalidRequest, match="longer than 11 seconds") as refused:
            recordings.decode(content, 11)
        assert refused.value.param == "file"
