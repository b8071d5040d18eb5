"""Every format that we offer is one that a player can play."""

import io

import av
import numpy as np
import pytest

from inference import audio
from inference.errors import InvalidRequest


def tone(rate: int, seconds: float = 1.0) -> bytes:
    times = np.arange(int(rate * seconds)) / rate
    return audio.to_pcm((0.5 * np.sin(2 * np.pi * 440 * times)).astype(np.float32))


@pytest.mark.parametrize("rate", [22_050, 24_000])
@pytest.mark.parametrize("form", [name for name in audio.FORMATS if name != "pcm"])
def test_the_tone_comes_back(form: str, rate: int) -> None:
    content = audio.encode(tone(rate), rate, form)
    with av.open(io.BytesIO(content), "r") as file:
        frames = [frame.to_ndarray() for frame in file.decode(audio=0)]
        heard_at = file.streams.audio[0].rate
    samples = np.concatenate([np.atleast_2d(frame)[0] for frame in frames]).astype(float)
    spectrum = np.abs(np.fft.rfft(samples))
    assert len(samples) / heard_at == pytest.approx(1.0, abs=0.11)
    assert np.argmax(spectrum) * heard_at / len(samples) == pytest.approx(440, abs=5)


def test_pcm_is_itself() -> None:
    assert audio.encode(tone(24_000), 24_000, "pcm") == tone(24_000)


def test_too_loud_is_clipped_and_does_not_wrap() -> None:
    loud = np.array([2.0, -2.0], np.float32)
    assert np.frombuffer(audio.to_pcm(loud), "<i2").tolist() == [32767, -32767]


def test_another_format_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="wav, mp3, opus, flac, aac, pcm"):
        audio.check("midi")
